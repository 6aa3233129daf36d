"""Whatever bytes arrive, each message gets one outcome, and it is the one that the plain-Python witness gives it."""

import itertools
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import duckdb
import oracle
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import Outcome

from salesviews import classification, event
from salesviews.event import Kind, Motif

KAFKA = datetime(2025, 12, 22, 14, 35, 30, tzinfo=UTC)
MESSAGES = pa.schema(
    [
        pa.field("offset", pa.int64()),
        pa.field("payload", pa.binary()),
        pa.field("kafka_timestamp", pa.timestamp("us", tz="UTC")),
    ]
)

# The fields of a valid sale, each as JSON text.
SALE = {
    "vente_id": "42",
    "client_id": "3",
    "produit_id": "101",
    "timestamp": '"2025-12-22T14:35:27.123456"',
    "quantite": "2",
    "montant": "1799.98",
    "client_nom": '"John Smith"',
    "produit_nom": '"Ordinateur portable"',
    "categorie": '"Electronique"',
    "pays": '"UK"',
    "segment": '"Entreprise"',
}


def document(**changes: str | None) -> bytes:
    """A valid sale but for some fields, given as JSON text; None leaves the field out."""
    fields = {name: text for name, text in (SALE | changes).items() if text is not None}
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}").encode()


@cache
def _classifier() -> classification.Classifier:
    return classification.Classifier(MESSAGES, ["offset"])


def _table(payloads: list[bytes | None], kafka_timestamps: list[datetime] | None = None) -> pa.Table:
    kafka_timestamps = kafka_timestamps or [KAFKA] * len(payloads)
    return pa.table([range(len(payloads)), payloads, kafka_timestamps], schema=MESSAGES)


def _outcomes(rows: pa.Table) -> list[Outcome]:
    return [
        Outcome(
            {
                name: row[name].replace(tzinfo=UTC) if name == "timestamp" and row[name] else row[name]
                for name in event.FIELD_NAMES
            },
            row["motif"],
            row["montant_arrondi"],
            row["jour"],
        )
        for row in rows.to_pylist()
    ]


def classify(*payloads: bytes | None, kafka_timestamp: datetime = KAFKA) -> list[Outcome]:
    return _outcomes(_classifier()(_table(list(payloads), [kafka_timestamp] * len(payloads))))


def of_field(name: str, text: str) -> tuple[Any, str | None]:
    """The typed value of a field that is written like that, and the motif of its message."""
    (outcome,) = classify(document(**{name: text}))
    return outcome.fields[name], outcome.motif


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class TestShape:
    def test_columns_are_the_declared_ones(self):
        """What is passed through comes first, then each declared field, motif, montant_arrondi and jour."""
        rows = _classifier()(_table([document()]))
        naive = {Kind.TIMESTAMP: pa.timestamp("us")}
        assert rows.schema == pa.schema(
            [pa.field("offset", pa.int64())]
            + [pa.field(field.name, naive.get(field.kind, field.arrow.type)) for field in event.FIELDS]
            + [
                pa.field("motif", pa.string()),
                pa.field("montant_arrondi", pa.bool_()),
                pa.field("jour", pa.date32()),
            ]
        )

    def test_a_valid_sale_is_typed_exactly(self):
        """Each field of a valid sale has its value."""
        (outcome,) = classify(document())
        assert outcome == Outcome(
            {
                "vente_id": 42,
                "client_id": 3,
                "produit_id": 101,
                "timestamp": datetime(2025, 12, 22, 14, 35, 27, 123456, tzinfo=UTC),
                "quantite": 2,
                "montant": Decimal("1799.98"),
                "client_nom": "John Smith",
                "produit_nom": "Ordinateur portable",
                "categorie": "Electronique",
                "pays": "UK",
                "segment": "Entreprise",
            },
            None,
            False,
            date(2025, 12, 22),
        )

    @pytest.mark.parametrize("threads", [1, 4])
    def test_rows_come_out_in_order(self, threads):
        """Rows have the order of the relation, by any number of threads."""
        payloads = [document(vente_id=str(number)) if number % 7 else b"{" for number in range(300_000)]
        rows = classification.Classifier(MESSAGES, ["offset"], threads)(_table(payloads))
        assert rows.column("offset").to_numpy().tolist() == list(range(len(payloads)))

    def test_each_batch_is_its_own(self):
        """A query that is planned once answers with the batch at hand, of any size, and with that alone."""
        for count in (0, 3, 5_000, 1):
            payloads = [document(vente_id=str(count + number)) for number in range(count)]
            ids = [outcome.fields["vente_id"] for outcome in classify(*payloads)]
            assert ids == list(range(count, 2 * count))

    @pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
    @pytest.mark.parametrize("kafka", ["TIMESTAMPTZ '2025-12-22 14:35:30+00'", "TIMESTAMP '2025-12-22 14:35:30'"])
    def test_neither_time_zone_nor_timestamp_type_matters(self, zone, kafka):
        """The query alone gives UTC whatever the session's zone is, over a query as relation."""
        connection = duckdb.connect()
        classification.prepare(connection)
        connection.execute(f"SET TimeZone = '{zone}'")
        connection.execute("CREATE TABLE messages (payload BLOB)")
        texts = ['"2025-12-23T14:35:30"', '"2025-12-23T14:35:30.000001"', '"2025-12-23T16:35:30+02:00"']
        connection.executemany("INSERT INTO messages VALUES (?)", [[document(timestamp=text)] for text in texts])
        query = classification.sql(f"(SELECT payload, {kafka} AS kafka_timestamp FROM messages)")
        outcomes = _outcomes(connection.sql(query).to_arrow_table())
        assert [outcome.motif for outcome in outcomes] == [None, "timestamp_hors_bornes", None]
        assert [outcome.jour for outcome in outcomes] == [date(2025, 12, 23), date(2025, 12, 22), date(2025, 12, 23)]
        assert outcomes[2].fields["timestamp"] == datetime(2025, 12, 23, 14, 35, 30, tzinfo=UTC)


class TestDocuments:
    @pytest.mark.parametrize("payload", [None, b""])
    def test_no_bytes_are_an_empty_message(self, payload):
        """A tombstone and an empty payload are message_vide, under the day of Kafka."""
        assert classify(payload) == [Outcome(dict.fromkeys(event.FIELD_NAMES), "message_vide", False, KAFKA.date())]

    @pytest.mark.parametrize(
        "payload",
        [
            b" ",
            b"\n\t",
            b"{",
            b"null",
            b"1",
            b'"text"',
            b"[]",
            b"true",
            b"[" + document() + b"]",
            document()[:-1],
            document()[:100],
            document() + b"x",
            document() + document(),
            document() + b"\x00",
            b"\x00" + document(),
            b"\xef\xbb\xbf" + document(),
            document().decode().encode("utf-16"),
            document().replace(b"UK", b"\xff"),
            document().replace(b"UK", b"\xed\xa0\x80"),
            document().replace(b"UK", b"\xc0\x80"),
            document(pays=r'"\ud800"'),
            document(pays=r'"\udc00\ud800"'),
            document(autre=r'"\ud800x"'),
            document(autre=r'{"\udfff": 1}'),
            document(pays='"\x01"'),
            document(pays='"\n"'),
            document(pays=r'"\x41"'),
            document(pays="'UK'"),
            document(montant="NaN"),
            document(montant="Infinity"),
            document(montant="-Infinity"),
            document(autre="nan"),
            document(autre="-iNf"),
            document(autre="[1, INFINITY]"),
            document(autre="[[ nAn]]"),
            document(autre='{ "a" :\n\t-inf }'),
            document(autre="[1,]"),
            document(autre='{"a": 1,\n}'),
            document()[:-1] + b",}",
            document()[:-1] + b" , }",
            document(montant="01"),
            document(montant="+1"),
            document(montant=".5"),
            document(montant="5."),
            document(montant="1e"),
            document(montant="0x10"),
            document(montant="tru"),
            document(pays='"UK" // commentaire\n'),
            document(pays='/* commentaire */ "UK"'),
            b"{vente_id: 42}",
            document()[:-1] + b"\x0c}",
            b"z" + document(montant="1.1647089151883847"),
            document(autre="[1e-0,]", montant="1.1647089151883847"),
        ],
        ids=lambda payload: repr(payload[-40:]),
    )
    def test_what_is_no_json_object_is_invalid(self, payload):
        """Anything but UTF-8 text of one RFC 8259 object is json_invalide, and has no field."""
        assert classify(payload) == [Outcome(dict.fromkeys(event.FIELD_NAMES), "json_invalide", False, KAFKA.date())]

    @pytest.mark.parametrize(
        "payload",
        [
            b" \r\n\t" + document() + b"\n",
            document().replace(b", ", b"\n\t,\r "),
            document().replace(b": ", b":"),
            document(autre='"NaN, Infinity,}"'),
            document(autre='": nan"'),
            document(autre=r'"\", nan\\"'),
            document(autre='["Informatique", "nantais"]'),
            document(autre='[{"a": [null, true, -0, 1e400, 1e-400]}]'),
            document(autre='"\x7f\u2028"'),
            document(autre=r'"\ud83d\ude00\/"'),
            document().replace(b'"pays"', rb'"p\u0061ys"'),
        ],
        ids=lambda payload: repr(payload[-40:]),
    )
    def test_what_is_json_is_valid(self, payload):
        """All of JSON is taken, and what only looks like an extension of it inside a string."""
        assert classify(payload) == classify(document())

    @pytest.mark.parametrize(
        ("payload", "pays"),
        [
            (document()[:-1] + b', "pays": "France"}', "UK"),
            (document(pays="null")[:-1] + b', "pays": "France"}', None),
            (document(pays=None)[:-1] + b', "PAYS": "France"}', None),
            (document(pays=None)[:-1] + rb', "\u0070ays": "France", "pays": "UK"}', "France"),
        ],
    )
    def test_the_first_of_duplicate_keys_counts(self, payload, pays):
        """Of equal keys the first counts, even a null, after unescaping; read exactly or not."""
        doubtful = payload.replace(b'"UK"', b'"[UK]"')
        for outcome in classify(payload):
            assert (outcome.fields["pays"], outcome.motif) == (pays, None)
        for outcome in classify(doubtful):
            assert outcome.fields["pays"] == (pays if pays != "UK" else "[UK]")

    @pytest.mark.parametrize(
        ("payload", "motif"),
        [
            (document(autre="[" * 200_000 + "]" * 200_000), None),
            (document(autre='{"a":' * 200_000 + "NaN" + "}" * 200_000), "json_invalide"),
            (document(autre="[" * 200_000 + "]" * 199_999), "json_invalide"),
            (document(pays="[" * 200_000 + "]" * 200_000), "type_invalide"),
            (document(vente_id="[" * 200_000 + "]" * 200_000), "type_invalide"),
            (b"[" * 1_000_000, "json_invalide"),
            (document(**{f"autre_{number}": "1.5e3" for number in range(50_000)}), None),
            (document(autre='"' + "\\" * 1_000_000 + '"'), None),
            (document(autre='"' + "x" * 1_000_001), "json_invalide"),
            (document(montant="0." + "0" * 1_000_000 + "1"), None),
            (document(montant="9" * 1_000_000), "type_invalide"),
            (document(montant="1" + "0" * 1_000_000 + "e-1000000"), None),
            (document(quantite="0." + "0" * 999_999 + "1e1000000"), None),
            (document(montant="1e" + "9" * 100_000), "type_invalide"),
            (document(quantite="1e-" + "9" * 100_000), "type_invalide"),
            (document(vente_id='"' + "1" * 1_000_000 + '"'), "type_invalide"),
            (document(timestamp='"2025-12-22T14:35:27.' + "0" * 1_000_000 + '"'), None),
        ],
        ids=lambda value: repr(value[80:120]) if isinstance(value, bytes) else "",
    )
    def test_size_and_depth_break_nothing(self, payload, motif):
        """Large and deep messages get their outcome, and their neighbours get theirs."""
        neighbour = classify(document())[0]
        first, outcome, last = classify(document(), payload, document())
        assert (first, outcome.motif, last) == (neighbour, motif, neighbour)


class TestFields:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("0", 0),
            ("-0", 0),
            ("-7", -7),
            ("2.0", 2),
            ("2.000000000000000000000000000000", 2),
            ("1e3", 1000),
            ("1E+3", 1000),
            ("1500e-2", 15),
            ("0e999999999999999999999", 0),
            ("1e0000000000000000000000000000000000000000000002", 100),
            ('"42"', 42),
            ('"2.0"', 2),
            ('"1e3"', 1000),
            ('"-0"', 0),
            (r'"\u0034\u0032"', 42),
            ("9223372036854775807", 2**63 - 1),
            ("-9223372036854775808", -(2**63)),
            ("9223372036854775807.0", 2**63 - 1),
            ("922337203685477580700e-2", 2**63 - 1),
            ("9.223372036854775807e18", 2**63 - 1),
            ("9007199254740993", 2**53 + 1),
            ("9007199254740993.0", 2**53 + 1),
        ],
    )
    def test_a_whole_number_is_an_integer(self, text, value):
        """An integer is taken however it is written."""
        assert of_field("produit_id", text) == (value, None)

    @pytest.mark.parametrize(
        "text",
        [
            "2.5",
            "42.0000000000000000000000000000000001",
            "9007199254740993.5",
            "1e-400",
            "1e400",
            "9223372036854775808",
            "-9223372036854775809",
            "9223372036854775808.0",
            "18446744073709551615",
            "1e19",
            "true",
            "false",
            '""',
            '" 12"',
            '"12 "',
            '"+12"',
            '"012"',
            '"1_000"',
            '"12."',
            '"0x10"',
            '"NaN"',
            '"\u0661"',
            r'"12\u0000"',
            r'"12\n"',
            '"<42>"',
            '"<>42"',
            "[]",
            "[42]",
            "{}",
        ],
    )
    def test_anything_else_is_no_integer(self, text):
        """What a 64-bit integer does not hold exactly is type_invalide, in a field that may be absent too."""
        assert of_field("produit_id", text) == (None, "type_invalide")

    @pytest.mark.parametrize(
        ("text", "value", "rounded"),
        [
            ("0", "0.00", False),
            ("5", "5.00", False),
            ("5.0", "5.00", False),
            ("5.1", "5.10", False),
            ('"5.10"', "5.10", False),
            ("5.100000000000000000000000000000000", "5.10", False),
            ("-0.0", "0.00", False),
            ("-0.001", "0.00", True),
            ("1799.985", "1799.99", True),
            ('"1799.985"', "1799.99", True),
            ("1799.984999999999999999", "1799.98", True),
            ("1799.98000000000000001", "1799.98", True),
            ("17999800000000000001e-16", "1799.98", True),
            ("17999800000000000001E-16", "1799.98", True),
            ("1799980000000000000000e-18", "1799.98", False),
            ("90000000.120000001", "90000000.12", True),
            ("59.980000000000004", "59.98", True),
            ("0.005", "0.01", True),
            ("0.0049999999999999999999999999", "0.00", True),
            ("1e-400", "0.00", True),
            ("0e-400", "0.00", False),
            ("1e2", "100.00", False),
            ("1.5E+1", "15.00", False),
            ("5e-3", "0.01", True),
            ("1234567.89", "1234567.89", False),
            ("1234567890123.0001", "1234567890123.00", True),
            ("1234567890.1230001e3", "1234567890123.00", True),
            ("9.99999999999999999999999e14", "1000000000000000.00", True),
            ("9999999999999999.99", "9999999999999999.99", False),
            ("9999999999999999.994", "9999999999999999.99", True),
        ],
    )
    def test_money_is_rounded_to_the_cent_from_its_text(self, text, value, rounded):
        """The exact decimal is rounded half away from zero, and only a change of the value counts as rounding."""
        (outcome,) = classify(document(montant=text))
        assert (outcome.fields["montant"], outcome.rounded, outcome.motif) == (Decimal(value), rounded, None)

    @pytest.mark.parametrize(("text", "value"), [("-1799.985", "-1799.99"), ("-0.005", "-0.01"), ("-1", "-1.00")])
    def test_negative_money_is_typed_and_rejected(self, text, value):
        """Rounding goes away from zero below it too; the sign is judged after it."""
        assert of_field("montant", text) == (Decimal(value), "montant_negatif")

    @pytest.mark.parametrize(
        "text",
        [
            "10000000000000000",
            "9999999999999999.995",
            "1e16",
            "1e400",
            "true",
            '""',
            '"12,5"',
            '"5."',
            '".5"',
            '"$5"',
            "{}",
        ],
    )
    def test_anything_else_is_no_money(self, text):
        """More than 16 digits before the point, or no number, is type_invalide."""
        assert of_field("montant", text) == (None, "type_invalide")

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("2025-12-22T14:35:27.123456", "2025-12-22T14:35:27.123456"),
            ("2025-12-22 14:35", "2025-12-22T14:35:00"),
            ("2025-12-22T14:35:27Z", "2025-12-22T14:35:27"),
            ("2025-12-22T14:35:27.5", "2025-12-22T14:35:27.500000"),
            ("2025-12-22T14:35:27.1234560000Z", "2025-12-22T14:35:27.123456"),
            ("2025-12-22T14:35:27+02:00", "2025-12-22T12:35:27"),
            ("2025-12-22T14:35+0230", "2025-12-22T12:05:00"),
            ("2025-12-22 14:35:27.123456000-11", "2025-12-23T01:35:27.123456"),
            ("2024-02-29T23:59:59.999999", "2024-02-29T23:59:59.999999"),
            ("2000-01-01T00:00:00", "2000-01-01T00:00:00"),
            ("2000-01-01T05:30:00+05:30", "2000-01-01T00:00:00"),
            ("2025-12-23T14:35:30", "2025-12-23T14:35:30"),
        ],
    )
    def test_a_timestamp_is_an_instant_of_utc(self, text, value):
        """Without an offset it is UTC; an offset is taken off."""
        assert of_field("timestamp", f'"{text}"') == (utc(value), None)

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("0001-01-01T00:00:00", "0001-01-01T00:00:00"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00"),
            ("1999-12-31T23:59:59.999999", "1999-12-31T23:59:59.999999"),
            ("2000-01-01T05:29:59+05:30", "1999-12-31T23:59:59"),
            ("2025-12-23T14:35:30.000001", "2025-12-23T14:35:30.000001"),
            ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999"),
        ],
    )
    def test_a_timestamp_out_of_bounds_is_typed_and_rejected(self, text, value):
        """Before 2000 or more than a day after Kafka's: typed, rejected, and kept under the day of Kafka."""
        (outcome,) = classify(document(timestamp=f'"{text}"'))
        assert outcome.fields["timestamp"] == utc(value)
        assert (outcome.motif, outcome.jour) == ("timestamp_hors_bornes", KAFKA.date())

    @pytest.mark.parametrize(
        "text",
        [
            '"2025-12-22"',
            '"2025-12-22T14"',
            '"2025-12-22T24:00:00"',
            '"2025-12-22T14:60:00"',
            '"2025-12-22T14:35:60"',
            '"2025-02-29T00:00:00"',
            '"2025-13-01T00:00:00"',
            '"2025-00-01T00:00:00"',
            '"2025-12-22T14:35:27.1234567"',
            '"2025-12-22T14:35:27."',
            '"2025-12-22T14:35:27,5"',
            '"2025-12-22t14:35:27z"',
            '"2025-12-22T14:35:27 Z"',
            '"2025-12-22T14:35:27+24:00"',
            '"2025-12-22T14:35:27+02:60"',
            '"2025-12-22T14:35:27+2"',
            '"2025-12-22T14:35:27 UTC"',
            '" 2025-12-22T14:35:27"',
            r'"2025-12-22T14:35:27\n"',
            r'"2025-12-22T14:35:27\u0000"',
            '"0000-01-01T00:00:00"',
            '"0001-01-01T00:00:00+00:01"',
            '"9999-12-31T23:59:59-00:01"',
            '"10000-01-01T00:00:00"',
            '"-2025-12-22T14:35:27"',
            '"now"',
            '"infinity"',
            '""',
            "1766414127",
            "true",
            "{}",
            '["2025-12-22T14:35:27"]',
        ],
    )
    def test_anything_else_is_no_timestamp(self, text):
        """What is no date and time of a day that exists, to the microsecond, is type_invalide."""
        assert of_field("timestamp", text) == (None, "type_invalide")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\x00",
            "a\x00b\x00",
            "\x01<>",
            "<42>",
            "<>",
            "42",
            "-1.5e3",
            "true",
            "false",
            "null",
            "{}",
            "[1, 2]",
            '{"a": "b"}',
            "4K écran",
            "\u0301accent",
            "🇫🇷",
            '"\\\b\f\n\r\t/',
            "NaN",
            "x" * 1_000_000,
            "é" * 500_000 + "\x00",
        ],
        ids=lambda text: repr(text[:10]),
    )
    @pytest.mark.parametrize("is_ascii", [True, False])
    def test_a_string_is_kept_exactly(self, text, is_ascii):
        """Every character of a text survives, read exactly or not, whatever the text looks like."""
        payload = document(pays=json.dumps(text, ensure_ascii=is_ascii))
        for outcome in classify(payload, payload.replace(b"1799.98", b"1.79998e3")):
            assert (outcome.fields["pays"], outcome.motif) == (text, None)

    @pytest.mark.parametrize("text", ["12", "-0", "1.5", "1e400", "1e5", "true", "false", "[]", '["UK"]', "{}"])
    @pytest.mark.parametrize("name", [field.name for field in event.FIELDS if field.kind is Kind.TEXT])
    def test_anything_else_is_no_text(self, name, text):
        """Only a string is a text."""
        assert of_field(name, text) == (None, "type_invalide")

    def test_nul_characters_survive_parquet_and_another_engine(self, tmp_path):
        """From the query through Parquet to polars, NUL characters stay."""
        texts = ["a\x00b", "\x00", "é\x00" * 20]
        rows = _classifier()(_table([document(pays=json.dumps(text)) for text in texts]))
        pq.write_table(rows, tmp_path / "rows.parquet")
        assert pl.read_parquet(tmp_path / "rows.parquet")["pays"].to_list() == texts


# A defect of each motif that a field can have.
DEFECTS = {
    **{field.absent: {field.name: None} for field in event.FIELDS if field.absent},
    Motif.TYPE_INVALIDE: {"pays": "12"},
    Motif.MONTANT_NEGATIF: {"montant": "-1"},
    Motif.QUANTITE_NON_POSITIVE: {"quantite": "0"},
    Motif.TIMESTAMP_HORS_BORNES: {"timestamp": '"1970-01-01T00:00:00"'},
}


class TestMotifs:
    @pytest.mark.parametrize(("motif", "defect"), DEFECTS.items())
    def test_a_defect_has_its_motif(self, motif, defect):
        """A null is as absent as a missing key."""
        nulls = {name: text or "null" for name, text in defect.items()}
        assert [outcome.motif for outcome in classify(document(**defect), document(**nulls))] == [motif, motif]

    def test_the_first_motif_that_applies_is_the_motif(self):
        """Of any two defects, the motif that is declared first wins."""
        pairs = [
            (first, second)
            for first, second in itertools.combinations(sorted(DEFECTS, key=list(Motif).index), 2)
            if not DEFECTS[first].keys() & DEFECTS[second].keys()
        ]
        outcomes = classify(*(document(**DEFECTS[first], **DEFECTS[second]) for first, second in pairs))
        assert [outcome.motif for outcome in outcomes] == [first for first, _ in pairs]

    @pytest.mark.parametrize("field", event.FIELDS, ids=lambda field: field.name)
    def test_any_field_can_be_of_the_wrong_type(self, field):
        """A value of the wrong type rejects the message, and the other fields stay typed."""
        expected, outcome = classify(document(), document(**{field.name: "{}"}))
        assert outcome.motif == "type_invalide"
        assert outcome.fields == expected.fields | {field.name: None}


# ---- Every input ---------------------------------------------------------------------------------------------------


def naive(year: int) -> datetime:
    """The first instant of a year; Hypothesis takes bounds without a zone."""
    return datetime(year, 1, 1)  # noqa: DTZ001


NUMBERS = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,22})?([eE][-+]?[0-9]{1,4})?", fullmatch=True),
    st.builds("{}.{}".format, st.integers(-(10**7), 10**7), st.from_regex(r"[0-9]{1,3}0{0,12}[0-9]?", fullmatch=True)),
    st.integers(-(2**64), 2**64).map(str),
    st.integers(-3, 3).map(lambda delta: str(2**63 + delta)),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(0, 10_000).map(repr),
    st.decimals(-(10**17), 10**17, places=3, allow_nan=False, allow_infinity=False).map(str),
    st.builds("{}{}e-{}".format, st.integers(1, 10**6), st.from_regex("0{0,25}", fullmatch=True), st.integers(0, 30)),
)
TIMESTAMPS = st.one_of(
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(
            ["2025-12-22", "2025-12-23", "1999-12-31", "0001-01-01", "9999-12-31", "2023-02-29", "0000-01-01"]
        ),
        st.sampled_from(["T", " ", "t", ""]),
        st.sampled_from(
            ["14:35:30", "23:59:59", "00:00", "24:00:00", "14:35:60", "14", "23:59:59.999999", "14:35:30.0000010"]
        ),
        st.sampled_from(["", "Z", "+02:00", "-0230", "+14", "-23:59", "+24:00", "z", " Z", "+2"]),
    ),
    st.datetimes(timezones=st.timezones() | st.none()).map(lambda value: value.isoformat()),
    st.datetimes(naive(1999), naive(2026)).map(str),
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["", "UK", "France", "true", "NaN", "[", "{}", "<>", "<1>", ", nan", ",}", "-", "\x00", "\\", '"']),
)
STRINGS = st.builds(json.dumps, TEXTS | NUMBERS | TIMESTAMPS, ensure_ascii=st.booleans())
VALUES = st.recursive(
    st.one_of(
        NUMBERS,
        STRINGS,
        st.sampled_from(
            ["null", "true", "false", "NaN", "nan", "-Infinity", "inf", "-", "01", "1.", "'a'", r'"\ud800"']
        ),
    ),
    lambda values: st.one_of(
        st.lists(values, max_size=3).map(lambda items: "[" + ",".join(items) + "]"),
        st.dictionaries(TEXTS.map(json.dumps), values, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key} : {value}" for key, value in items.items()) + "}"
        ),
        values.map(lambda value: f"[{value},]"),
    ),
    max_leaves=4,
)
OF_KIND = {Kind.INTEGER: NUMBERS, Kind.MONEY: NUMBERS, Kind.TIMESTAMP: TIMESTAMPS.map(json.dumps), Kind.TEXT: STRINGS}
SPACES = st.sampled_from(["", " ", "\n", "\t\r\n "])


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Sales with some fields changed, of which most are near to valid: keys repeated, escaped or new, odd spaces."""
    fields = list(SALE.items())
    for _ in range(draw(st.integers(0, 3))):
        field = draw(st.sampled_from(event.FIELDS))
        key = draw(
            st.sampled_from(
                [field.name] * 4 + ["autre", field.name.upper(), rf"\u{ord(field.name[0]):04x}{field.name[1:]}"]
            )
        )
        change = (key, draw(OF_KIND[field.kind] | STRINGS | VALUES))
        place = draw(st.integers(0, len(fields)))
        if draw(st.booleans()):
            fields = [change if name == field.name else (name, text) for name, text in fields]
        else:
            fields.insert(place, change)
    space = draw(SPACES)
    text = f"{space},{space}".join(f'"{key}"{space}:{space}{text}' for key, text in fields)
    return f"{space}{{{space}{text}{space}}}{space}".encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Documents with a few bytes lost, changed or put in."""
    payload = bytearray(draw(documents()))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(payload)))
        match draw(st.sampled_from(["cut", "flip", "insert", "delete"])):
            case "cut":
                del payload[place:]
            case "flip" if place < len(payload):
                payload[place] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                payload[place:place] = draw(
                    st.sampled_from([b",", b"}", b'"', b"0", b"e", b"-", b".", b"\\", b"\x00", b" ", b"\xc3", b"["])
                )
            case "delete":
                del payload[place : place + 1]
    return bytes(payload)


PAYLOADS = st.one_of(
    documents(),
    documents(),
    damaged(),
    st.binary(max_size=50),
    VALUES.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.none(),
)
KAFKA_TIMESTAMPS = st.one_of(
    st.just(KAFKA),
    st.datetimes(naive(1970), naive(2262), timezones=st.just(UTC)),
    st.sampled_from([KAFKA + timedelta(microseconds=step) for step in (-1, 0, 1)]),
)


@settings(deadline=None)
@given(st.lists(st.tuples(PAYLOADS, KAFKA_TIMESTAMPS), min_size=1, max_size=40))
@example([(document(montant=f'"{number}"'), KAFKA) for number in ("1e99999999999", "0e99999999999", "1e-99999999999")])
def test_every_message_has_the_outcome_that_the_witness_gives_it(messages):
    """For any bytes, in any batch, query and witness agree on every field, motif, rounding and day."""
    payloads, kafka_timestamps = map(list, zip(*messages, strict=True))
    outcomes = _outcomes(_classifier()(_table(payloads, kafka_timestamps)))
    for payload, kafka_timestamp, outcome in zip(payloads, kafka_timestamps, outcomes, strict=True):
        assert (payload, outcome) == (payload, oracle.classify(payload, kafka_timestamp))
