r"""What a raw message is: the one SQL definition of how a payload is parsed, typed and judged.

Ingest runs it on micro-batches, audit and rebuild run it on Bronze. Whatever bytes arrive, the query succeeds and gives
each message exactly one outcome. The rules, in the order in which motifs apply:

- ``message_vide``: no payload (a tombstone), or one of zero bytes. White space alone is ``json_invalide``.
- ``json_invalide``: not UTF-8, not RFC 8259 (so no NaN, Infinity, trailing comma, comment, byte order mark, raw control
  character in a string, nor anything after the document), an escape of a lone surrogate (no UTF-8 text can hold it), or
  not an object.
- ``..._absent``: the key is missing, or its value is null. Of duplicate keys the *first* counts, even where it is null.
  Keys are compared after unescaping, and their case matters.
- ``type_invalide``: any declared field, required or not, holds what its column cannot hold exactly:

  - *number*: a JSON number, or a string that is one by JSON's grammar (no spaces, no plus sign). Its exact decimal
    value counts, however it is written.
  - *integer*: a number that is whole and within 64 bits: ``2.0``, ``1e3`` and ``"42"`` are, ``2.5`` and 2^63 are not.
  - *money*: a number rounded to the cent, half away from zero, which then has at most 16 digits before the point. Where
    it had more than two decimals (other than zeros), ``montant_arrondi`` is true. A negative zero is zero.
  - *timestamp*: a string ``YYYY-MM-DD[T or space]HH:MM[:SS[.f...]]``, then ``Z``, ``±HH``, ``±HHMM``, ``±HH:MM`` or
    nothing (UTC). Decimals beyond microseconds are zeros. The instant is in the years 0001 to 9999 of UTC.
  - *text*: a string, exactly; an empty one is a text, and NUL characters are kept.

- ``montant_negatif``, ``quantite_non_positive`` and ``timestamp_hors_bornes`` are judged on the typed values.

Fields of a rejected message that could be typed are typed.

How it is fast: DuckDB parses each document once, into texts. On the way it turns numbers into doubles, writes any value
like a string, and takes NaN, Infinity and trailing commas. So cheap tests find every message where that can matter (and
some where it does not), and only those are read again exactly: a regular expression turns each number of the document
into a string of its digits, and puts a mark on each string. DuckDB evaluates a branch of CASE, and the next operand of
AND and OR in its condition, only for the rows that reach it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
import pyarrow as pa

from salesviews import event, money
from salesviews.event import Kind, Motif


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


# DuckDB takes NaN and infinities in any case, and trailing commas. Each of these begins with a literal character, which
# RE2 finds with memchr; one pattern for all takes longer than the three.
_MAYBE_NOT_JSON = (r",\s*(?:[}\]]|-?(?i:nan|inf))", r":\s*-?(?i:nan|inf)", r"\[\s*-?(?i:nan|inf)")
_STRING = r'"((?:[^"\\]|\\.)*)"'
_NOT_JSON_OUTSIDE_STRINGS = r"(?i)nan|inf|,\s*[}\]]"

# A marked document has "<42>" for the number 42 and "<>abc" for the string "abc"; other values are as they were.
_MARKED_STRING = "<>"
_STRING_OR_NUMBER = _STRING + r"|(-?[0-9][-+.0-9eE]*)"
_MARKED = r'"<\2>\1"'

_NUMBER = r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([-+]?[0-9]+))?"

# A double that is written with 15 digits at most is the number that was sent, unless that has 17 characters or more, or
# an exponent below -99. With 6 digits at most before the point, such a number also has ten decimals or a negative
# exponent, which are quick to find. What is written without a point was an integer or a string, and is exact.
_ORDINARY_AMOUNT = r"-?(?:(?:0|[1-9][0-9]{0,5})\.[0-9]{1,2}|0|[1-9][0-9]{0,14})"
_MAYBE_INEXACT = r"contains(_text, 'e-') OR contains(_text, 'E-') OR regexp_matches(_text, '\.[0-9]{10}')"
_INEXACT = r"[0-9][-+.0-9eE]{16}|[eE]-[0-9]{3}"

_NOT_A_STRING = r"^(?:[\[{]|-?[0-9][-+.0-9eE]*$|(?:true|false)$)"
"""What any text looks like that was not a string in the document."""

_LOCAL_TIMESTAMP = (
    r"(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-[0-9]{2}-[0-9]{2}"
    r"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6}0*)?)?"
)
_OFFSET = r"[-+](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?"

# From a value of a marked document to its plain number: exact decimal text, without exponent or trailing zeros; NULL
# where it is no number, or one too large for any column. In between it is 0.digits * 10^point. What is too small for
# any column becomes 0.0001, which is rounded the same.
_PLAIN_STEPS = (
    f"""lambda marked: CASE
        WHEN starts_with(marked, '{_MARKED_STRING}') THEN substring(marked, 3)
        WHEN starts_with(marked, '<') THEN marked[2:-2]
    END""",
    f"lambda text: regexp_extract(text, '^{_NUMBER}$', ['sign', 'units', 'decimals', 'exponent'])",
    """lambda part: CASE WHEN part.units <> '' THEN {
        sign: part.sign,
        digits: ltrim(part.units || part.decimals, '0'),
        point: strlen(ltrim(part.units || part.decimals, '0')) - strlen(part.decimals) + CASE part.exponent
            WHEN '' THEN 0
            ELSE coalesce(try_cast(part.exponent AS INTEGER), (part.exponent[1] || '9999999999')::BIGINT)
        END
    } END""",
    """lambda part: part.sign || CASE
        WHEN part.digits = '' THEN '0'
        WHEN part.point > 19 THEN NULL
        WHEN part.point < -2 THEN '0.0001'
        WHEN part.point <= 0 THEN '0.' || repeat('0', -part.point) || part.digits
        ELSE rpad(part.digits[:part.point], part.point::INTEGER, '0') || '.' || part.digits[part.point + 1:]
    END""",
    r"lambda text: regexp_replace(text, '\.0*$|(\.[0-9]*[1-9])0+$', '\1')",
)


@dataclass(frozen=True)
class _Kind:
    """How a kind is read, as functions from SQL to SQL.

    :param quick: text of the parsed document -> value
    :param doubtful: text, quick value -> whether the message must be read exactly; false or NULL if not
    :param exact: value of the marked document (for a number, its plain number) -> value; None: the quick value is exact
    """

    quick: Callable[[str], str]
    doubtful: Callable[[str, str], str] | None = None
    exact: Callable[[str], str] | None = None
    is_number: bool = False


def _quick_timestamp(text: str) -> str:
    # A cast to TIMESTAMP ignores an offset; one to TIMESTAMPTZ does not, and where there is an offset, the time zone of
    # the session has no part in it.
    utc = f"make_timestamp(epoch_us(try_cast({text} AS TIMESTAMPTZ)))"
    return f"""CASE
        WHEN regexp_full_match({text}, '{_LOCAL_TIMESTAMP}Z?') THEN try_cast({text} AS TIMESTAMP)
        WHEN regexp_full_match({text}, '{_LOCAL_TIMESTAMP}{_OFFSET}') AND year({utc}) BETWEEN 1 AND 9999 THEN {utc}
    END"""


_KINDS: dict[Kind, _Kind] = {
    Kind.INTEGER: _Kind(
        quick=lambda text: f"try_cast({text} AS BIGINT)",
        doubtful=lambda text, value: f"{value}::VARCHAR IS DISTINCT FROM {text}",
        # The cast of a fraction would round it.
        exact=lambda plain: f"CASE WHEN NOT contains({plain}, '.') THEN try_cast({plain} AS BIGINT) END",
        is_number=True,
    ),
    Kind.MONEY: _Kind(
        # The cast rounds half away from zero.
        quick=lambda text: f"try_cast({text} AS {money.DECIMAL_SQL})",
        doubtful=lambda text, _: (
            f"NOT regexp_full_match({text}, {_literal(_ORDINARY_AMOUNT)}) "
            f"OR (({_MAYBE_INEXACT}) AND regexp_matches(_text, {_literal(_INEXACT)}))"
        ),
        exact=lambda plain: f"try_cast({plain} AS {money.DECIMAL_SQL})",
        is_number=True,
    ),
    # Only a string can look like a timestamp.
    Kind.TIMESTAMP: _Kind(quick=_quick_timestamp),
    Kind.TEXT: _Kind(
        quick=lambda text: text,
        doubtful=lambda text, _: f"regexp_matches({text}, {_literal(_NOT_A_STRING)})",
        exact=lambda marked: f"CASE WHEN starts_with({marked}, '{_MARKED_STRING}') THEN substring({marked}, 3) END",
    ),
}

_NUMBERS = [field.name for field in event.FIELDS if _KINDS[field.kind].is_number]


def _from_json(text: str, prefix: str) -> str:
    keys = ", ".join(f'"{prefix}{name}": "VARCHAR"' for name in event.FIELD_NAMES)
    return f"from_json({text}, {_literal('{' + keys + '}')})"


def _is_object() -> str:
    ordinary = " AND ".join(f"NOT regexp_matches(_text, {_literal(pattern)})" for pattern in _MAYBE_NOT_JSON)
    outside_strings = f"regexp_replace(_text, {_literal(_STRING)}, '\"\"', 'g')"
    return (
        r"(starts_with(_text, '{') OR regexp_matches(_text, '^[ \t\n\r]*\{')) AND json_valid(_text) "
        f"AND ({ordinary} OR NOT regexp_matches({outside_strings}, {_literal(_NOT_JSON_OUTSIDE_STRINGS)}))"
    )


def _is_doubtful() -> str:
    return " OR ".join(
        f"({kind.doubtful(f'_text_{field.name}', f'_quick_{field.name}')})"
        for field in event.FIELDS
        if (kind := _KINDS[field.kind]).doubtful
    )


def _marked(name: str) -> str:
    return f"_marked.{_name(_MARKED_STRING + name)}"


def _plain_numbers() -> str:
    """SQL for the list of the plain numbers of ``_NUMBERS``."""
    numbers = "[" + ", ".join(map(_marked, _NUMBERS)) + "]"
    for step in _PLAIN_STEPS:
        numbers = f"list_transform({numbers}, {step})"
    return numbers


def _plain(name: str) -> str:
    return f"_plain[{_NUMBERS.index(name) + 1}]"


def _value(field: event.Field) -> str:
    kind = _KINDS[field.kind]
    quick = f"_quick_{field.name}"
    if kind.exact is None:
        return quick
    exact = kind.exact(_plain(field.name) if kind.is_number else _marked(field.name))
    return f"CASE WHEN _is_doubtful THEN {exact} ELSE {quick} END"


def _motif() -> str:
    conditions = {field.absent: f"_text_{field.name} IS NULL" for field in event.FIELDS if field.absent}
    conditions |= {
        Motif.MESSAGE_VIDE: "_is_empty",
        Motif.JSON_INVALIDE: "_parsed IS NULL",
        Motif.TYPE_INVALIDE: " OR ".join(
            f"(_value_{name} IS NULL AND _text_{name} IS NOT NULL)" for name in event.FIELD_NAMES
        ),
        Motif.MONTANT_NEGATIF: "_value_montant < 0",
        Motif.QUANTITE_NON_POSITIVE: "_value_quantite <= 0",
        Motif.TIMESTAMP_HORS_BORNES: "NOT _is_in_bounds",
    }
    return "CASE " + " ".join(f"WHEN {conditions[motif]} THEN '{motif}'" for motif in Motif) + " END"


def _columns(prefix: str, expression: Callable[[event.Field], str]) -> str:
    return ", ".join(f"{expression(field)} AS {prefix}{field.name}" for field in event.FIELDS)


def sql(relation: str, passthrough: Sequence[str] = ()) -> str:
    """The query that classifies the messages of a relation, in its order.

    Planning it takes as long as running it on some thousand messages; ``Classifier`` plans it once.

    :param relation: a table name, or a query in parentheses, with ``payload`` (BLOB, NULL for a tombstone) and
        ``kafka_timestamp`` (TIMESTAMP in UTC or TIMESTAMPTZ, never NULL)
    :param passthrough: columns of the relation to give unchanged, first
    :return: a query of the ``passthrough`` columns; the fields (a timestamp is a TIMESTAMP in UTC; NULL where absent or
        not exactly holdable); ``motif`` (VARCHAR, NULL where valid); ``montant_arrondi`` (BOOLEAN); ``jour`` (DATE: of
        the sale if it is in bounds, else of the Kafka timestamp)
    """
    kept = "".join(f"{_name(column)}, " for column in passthrough)
    marked_text = f"regexp_replace(_text, {_literal(_STRING_OR_NUMBER)}, {_literal(_MARKED)}, 'g')"
    return rf"""
WITH _decoded AS (
    SELECT {kept}epoch_us(kafka_timestamp) AS _kafka_us, coalesce(octet_length(payload), 0) = 0 AS _is_empty,
        try(decode(payload)) AS _text
    FROM {relation}
), _documents AS (
    SELECT *, CASE WHEN {_is_object()} THEN {_from_json("_text", "")} END AS _parsed
    FROM _decoded
), _texts AS (
    SELECT *, {_columns("_text_", lambda field: f"_parsed.{_name(field.name)}")}
    FROM _documents
), _quick AS (
    SELECT *, {_columns("_quick_", lambda field: _KINDS[field.kind].quick(f"_text_{field.name}"))}
    FROM _texts
), _doubted AS (
    SELECT *, CASE WHEN _parsed IS NOT NULL AND ({_is_doubtful()}) THEN true ELSE false END AS _is_doubtful
    FROM _quick
), _marked_documents AS (
    SELECT *, CASE WHEN _is_doubtful THEN {_from_json(marked_text, _MARKED_STRING)} END AS _marked
    FROM _doubted
), _plain_numbers AS (
    SELECT *, CASE WHEN _is_doubtful THEN {_plain_numbers()} END AS _plain
    FROM _marked_documents
), _values AS (
    SELECT *, {_columns("_value_", _value)}
    FROM _plain_numbers
), _judged AS (
    SELECT *,
        coalesce({in_bounds_sql("_value_timestamp", "_kafka_us")}, false) AS _is_in_bounds
    FROM _values
)
SELECT {kept}{", ".join(f"_value_{name} AS {_name(name)}" for name in event.FIELD_NAMES)},
    {_motif()} AS motif,
    _is_doubtful AND _value_montant IS NOT NULL AND regexp_matches({_plain("montant")}, '\.[0-9]{{3}}')
        AS montant_arrondi,
    CASE WHEN _is_in_bounds THEN _value_timestamp ELSE make_timestamp(_kafka_us) END::DATE AS jour
FROM _judged"""


def in_bounds_sql(timestamp: str, kafka_us: str) -> str:
    """Whether a sale's timestamp is in bounds: else its message is ``timestamp_hors_bornes``.

    :param timestamp: an expression of a TIMESTAMP in UTC, or of a TIMESTAMPTZ where the session's zone is UTC
    :param kafka_us: of the message's Kafka timestamp, microseconds since 1970
    """
    earliest = f"TIMESTAMP '{event.EARLIEST:%Y-%m-%d %H:%M:%S}'"
    latest_us = f"{kafka_us} + {event.LATEST_AFTER_KAFKA // timedelta(microseconds=1)}"
    return f"{timestamp} >= {earliest} AND epoch_us({timestamp}) <= {latest_us}"


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make a connection fit for the query: rows come out in the order of the relation."""
    connection.execute("SET preserve_insertion_order = true")


class _Source:
    """A relation that answers with the table that it holds when it is scanned."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


class Classifier:
    """The query, planned once and run on one batch of messages after the other.

    It has a connection of its own and is not for several threads at once.

    :param schema: of every batch: ``payload``, ``kafka_timestamp`` and whatever is passed through
    :param passthrough: as for ``sql``
    """

    def __init__(self, schema: pa.Schema, passthrough: Sequence[str] = (), threads: int = 1) -> None:
        self._schema = schema
        self._source = _Source(schema.empty_table())
        self._connection = duckdb.connect(config={"threads": threads})
        prepare(self._connection)
        self._connection.register("messages", self._source)
        self._connection.execute(f"PREPARE classify AS {sql('messages', passthrough)}")

    def __call__(self, messages: pa.Table) -> pa.Table:
        """The messages classified, in their order: the columns of ``sql``."""
        self._source.table = messages.select(self._schema.names)
        try:
            return self._connection.sql("EXECUTE classify").to_arrow_table()
        finally:
            self._source.table = self._schema.empty_table()

    def close(self) -> None:
        self._connection.close()
