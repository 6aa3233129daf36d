"""The messages behind a figure that counts messages (``qualite``), as tables of a ``Queries``.

- ``behind``: ``sequence``, ``number`` and ``offset`` of the messages that the figure sums
- ``messages``: the same rows, with the columns that a view's expressions read (``views.Source.MESSAGES``)
- ``judged``: their outcomes

Such a figure has windows of Kafka's time, which Silver has of rejections only; of a sale that counts Bronze alone knows
it. Which fields are null, and whether an amount was rounded, is what the payload gives, parsed again.
"""

from datetime import datetime

from salesviews import classification, event, lake, views
from salesviews.audit.differences import name
from salesviews.lineage.behind import (
    OF_SOURCE,
    all_of,
    between,
    bronze_sql,
    counted_sql,
    expressions,
    mentions,
    rejected_sql,
)
from salesviews.lineage.figures import Address
from salesviews.lineage.queries import Queries
from salesviews.tables import files

_ROUNDED = "montant_arrondi"
_NULL = "nul_"
_PARSED = (_ROUNDED, *(f"{_NULL}{each}" for each in event.FIELD_NAMES))
"""Columns of ``messages`` that the payload gives."""


def of_messages(queries: Queries, address: Address, *, everywhere: bool) -> bool:
    """Make ``messages`` and ``behind`` of the messages with an outcome, and ``judged``, which also has the outcomes.

    ``lost`` are the positions that ``qualite`` says Kafka deleted before they were read: rows of ``messages`` without a
    place, as there is no message.

    :param everywhere: look for the sales in every month, and not only in those that Bronze's timestamps name: they are
        what the program read that archived them, and a later one may have read more
    :return: whether sales that count can be behind the figure
    """
    address.ask(queries)
    view, times, conditions = address.of.view, address.times, address.conditions.values()
    by_outcome = all_of(each for each in conditions if not mentions([each], view.clock, _ROUNDED, _NULL))
    has_sales = bool(queries.value(f"SELECT {by_outcome} FROM (SELECT '{event.VALIDE}' AS motif, 1 AS messages)"))
    _make_rejected(queries, times, by_outcome)
    _make_received(queries, times, all_of_them=has_sales)
    unparsed = all_of(each for each in conditions if not mentions([each], _ROUNDED, _NULL))
    _make_judged(queries, unparsed, with_sales=has_sales, everywhere=everywhere)
    _make_parsed(queries, is_needed=mentions(expressions(view), _ROUNDED, _NULL))
    _make_lost(queries, times)
    parsed = ", ".join(f"coalesce(p.{each}, false)::BIGINT AS {each}" for each in _PARSED)
    zeros = ", ".join(f"0 AS {each}" for each in _PARSED)
    queries.run(
        f'CREATE OR REPLACE TEMP VIEW {view.source} AS SELECT * FROM (SELECT j.sequence, j.number, j."offset", '
        f"j.motif, j.kafka_timestamp, 1::BIGINT AS messages, {parsed} FROM judged AS j LEFT JOIN parsed AS p "
        'ON p.number = j.number AND p."offset" = j."offset" UNION ALL BY NAME '
        f"SELECT '{event.PERDU}' AS motif, kafka_timestamp, messages, {zeros} FROM lost) WHERE {all_of(conditions)}"
    )
    queries.run(
        'CREATE OR REPLACE TEMP TABLE behind AS SELECT sequence, number, "offset" FROM messages '
        "WHERE sequence IS NOT NULL"
    )
    return has_sales


def counted_without_raw(queries: Queries) -> int:
    """How many of all sales that count Bronze lacks."""
    counted = counted_sql(queries, None)
    return int(
        queries.value(f'SELECT count(*) FROM ({counted}) ANTI JOIN ({bronze_sql(queries)}) USING (number, "offset")')
    )


def _make_received(queries: Queries, times: tuple[datetime, datetime] | None, *, all_of_them: bool) -> None:
    """Bronze's messages of some Kafka time, or those of them that were rejected. A sale's day is at most a day later.

    One that Bronze has twice is there twice, and makes a figure too large: it is a damage.
    """
    chosen = "" if all_of_them else 'SEMI JOIN rejected AS r ON r.number = s.number AND r."offset" = b."offset"'
    bronze = queries.relation(
        lake.BRONZE, lambda day: times is None or day[0] <= (times[1] + event.LATEST_AFTER_KAFKA).date()
    )
    queries.run(
        'CREATE OR REPLACE TEMP TABLE received AS SELECT s.number, b."offset", b.kafka_timestamp, '
        f'b."timestamp"::DATE AS day FROM {bronze} AS b {OF_SOURCE} {chosen} '
        f"WHERE {between('b.kafka_timestamp', times)}"
    )


def _make_rejected(queries: Queries, times: tuple[datetime, datetime] | None, condition: str) -> None:
    queries.run(
        f"CREATE OR REPLACE TEMP TABLE rejected AS SELECT *, 1 AS messages FROM "
        f"({rejected_sql(queries, between('r.kafka_timestamp', times))}) WHERE {condition}"
    )


def _make_judged(queries: Queries, condition: str, *, with_sales: bool, everywhere: bool) -> None:
    columns = 'sequence, number, "offset", motif, kafka_timestamp'
    outcomes = f"SELECT {columns}, compte_number, compte_offset FROM rejected"
    if with_sales:
        months = {
            (row["year"], row["month"])
            for row in queries.rows("SELECT DISTINCT year(day)::INT AS year, month(day)::INT AS month FROM received")
        }
        clean = queries.relation(lake.CLEAN, lambda partition: everywhere or partition in months)
        outcomes += (
            f" UNION ALL BY NAME SELECT c.sequence, b.number, b.\"offset\", '{event.VALIDE}' AS motif, "
            f"b.kafka_timestamp FROM {clean} AS c {OF_SOURCE} "
            'JOIN received AS b ON b.number = s.number AND b."offset" = c."offset" '
            f"WHERE c.sequence <= {queries.snapshot.sequence}"
        )
    queries.run(
        "CREATE OR REPLACE TEMP TABLE judged AS SELECT * FROM (SELECT o.*, 1 AS messages, "
        f"b.number IS NOT NULL AS has_raw FROM ({outcomes}) AS o LEFT JOIN received AS b "
        f'ON b.number = o.number AND b."offset" = o."offset") WHERE {condition}'
    )


def _make_parsed(queries: Queries, *, is_needed: bool) -> None:
    days = {
        row["day"] for row in queries.rows("SELECT DISTINCT unnest([day, kafka_timestamp::DATE]) AS day FROM received")
    }
    bronze = queries.relation(lake.BRONZE, lambda partition: is_needed and partition[0] in days)
    payloads = (
        f'(SELECT s.number, b."offset", b.payload, b.kafka_timestamp FROM {bronze} AS b {OF_SOURCE} '
        'SEMI JOIN judged AS j ON j.number = s.number AND j."offset" = b."offset")'
    )
    nulls = ", ".join(f"{name(each)} IS NULL AS {_NULL}{each}" for each in event.FIELD_NAMES)
    queries.run(
        f'CREATE OR REPLACE TEMP TABLE parsed AS SELECT number, "offset", {_ROUNDED}, {nulls} FROM '
        f"({classification.sql(payloads, ('number', 'offset'))})"
    )


def _make_lost(queries: Queries, times: tuple[datetime, datetime] | None) -> None:
    view = views.QUALITE
    table = lake.of_view(view)
    listing = queries.listing(table)
    queries.hold("quality", files.rows(queries.lake, listing, listing.files))
    queries.run(
        f"CREATE OR REPLACE TEMP TABLE lost AS SELECT {view.window.column} AS kafka_timestamp, messages FROM quality "
        f"WHERE motif = '{event.PERDU}' AND {between(view.window.column, times)}"
    )
