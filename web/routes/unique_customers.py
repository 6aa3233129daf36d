"""How many different customers bought in a period, and in the period before it: exactly, with any filters.

Distinct counts do not add, so only whole months without filters are a view's to answer; all else counts single sales.
"""

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from flask import Blueprint

from salesviews import views
from salesviews.errors import ParameterError
from salesviews.lineage import behind
from salesviews.lineage.queries import Queries
from web import grouping, periods, reading
from web.endpoints import Column, Endpoint
from web.grouping import FROM
from web.reading import LakeReader
from web.routes import across
from web.rows import Query, Rows
from web.snapshot import Snapshot

LONGEST = timedelta(days=366)
_INSTANT = pa.timestamp("s", tz="UTC")

UNIQUE_CUSTOMERS = Endpoint(
    "/api/unique_customers",
    "distinct customers of a period, and of the period before it",
    parameters=grouping.filter_parameters(across.KEYS),
    columns=(
        Column("debut", _INSTANT, "start of the period"),
        Column("fin", _INSTANT, "where it ends"),
        Column("clients", pa.int64(), "distinct customers", "count"),
        Column("debut_precedent", _INSTANT, "start of the period before, which ends where this one starts"),
        Column("clients_precedents", pa.int64(), "distinct customers of that", "count"),
        Column("ecart", pa.int64(), "how many more", "count"),
        Column("ecart_pct", pa.float64(), "that as a share of the period before; null if it has none", "%", True),
    ),
    doc=(
        "One row. Default: `to` is the end of the day of the latest sale, `from` the start of that day's month. The "
        "period before has the same number of months where both bounds are starts of months, else the same length. "
        f"At most {LONGEST.days} days, but for whole months without filters, which have no limit."
    ),
)


def routes(rows: Rows, reader: LakeReader) -> Blueprint:
    blueprint = Blueprint("unique_customers", __name__)

    @rows.get(blueprint, UNIQUE_CUSTOMERS)
    def unique_customers(values: dict[str, Any], snapshot: Snapshot) -> Query:
        start, end = reading.period(values, snapshot, _start_of_month, views.DAY)
        before = _before(start, end)
        filters = grouping.filters(values, across.KEYS)
        tables = {}
        if not filters and all(map(periods.is_start_of_month, (before, start, end))):
            counted = _FROM_VIEW
        else:
            if end - start > LONGEST:
                raise ParameterError(
                    FROM.name,
                    f"From {start:%Y-%m-%d} to {end:%Y-%m-%d} is more than the {LONGEST.days} days that may be counted "
                    "from single sales: give a later from, an earlier to, or whole months without filters.",
                )
            counted = "SELECT * FROM comptes"
            tables = {
                "comptes": reader.table(snapshot.manifest, lambda queries: _count(queries, filters, before, start, end))
            }
        sql = f"""
            WITH nombres AS ({counted})
            SELECT $2::TIMESTAMPTZ AS debut, $3::TIMESTAMPTZ AS fin, clients, $1::TIMESTAMPTZ AS debut_precedent,
                   clients_precedents, clients - clients_precedents AS ecart,
                   CASE WHEN clients_precedents > 0
                        THEN 100 * (clients - clients_precedents) / clients_precedents END AS ecart_pct
            FROM nombres
        """
        return Query(sql, "debut", [before, start, end], tables=tables, depends_on=filters)

    return blueprint


_FROM_VIEW = """
    SELECT count(DISTINCT client_id) FILTER (debut >= $2::TIMESTAMPTZ) AS clients,
           count(DISTINCT client_id) FILTER (debut < $2::TIMESTAMPTZ) AS clients_precedents
    FROM (SELECT client_id, timezone('UTC', debut_mois::TIMESTAMP) AS debut FROM ventes_par_client)
    WHERE debut >= $1::TIMESTAMPTZ AND debut < $3::TIMESTAMPTZ
"""


def _start_of_month(end: datetime) -> datetime:
    """Of the month that has the last day of a period."""
    return views.MONTH.start(end - timedelta(days=1))


def _count(
    queries: Queries, filters: dict[str, tuple[Any, ...]], before: datetime, start: datetime, end: datetime
) -> pa.Table:
    expressions = {key.name: key.sql for key in across.KEYS}
    conditions = [f"{expressions[name]} IN ${place + 2}" for place, name in enumerate(filters)]
    return queries.table(
        "SELECT count(DISTINCT client_id) FILTER (timestamp >= $1) AS clients, "
        "count(DISTINCT client_id) FILTER (timestamp < $1) AS clients_precedents "
        f"FROM ({behind.counted_sql(queries, (before, end))}) WHERE {behind.all_of(conditions)}",
        [start, *filters.values()],
    )


def _before(start: datetime, end: datetime) -> datetime:
    """The start of the period before.

    :raises ParameterError: if that is before all time
    """
    try:
        if not (periods.is_start_of_month(start) and periods.is_start_of_month(end)):
            return start - (end - start)
        first = 2 * _month_number(start) - _month_number(end)
        return start.replace(year=first // 12, month=first % 12 + 1)
    except (ValueError, OverflowError):
        raise ParameterError(
            FROM.name, f"From {start:%Y-%m-%d} to {end:%Y-%m-%d} has no period before it: give a later from."
        ) from None


def _month_number(start: datetime) -> int:
    return start.year * 12 + start.month - 1
