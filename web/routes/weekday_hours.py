"""The week's shape: sales by day of the week and hour, as for a heat map."""

from typing import Any

import pyarrow as pa
from flask import Blueprint

from salesviews import money
from web import grouping, periods
from web.endpoints import Column, Endpoint
from web.grouping import AMOUNT, PANIER_MOYEN, Grouping
from web.routes import across
from web.rows import Query, Rows
from web.snapshot import Snapshot

WEEKDAY_HOURS = Endpoint(
    "/api/weekday_hours",
    "sales by day of the week and hour: always 168 rows",
    parameters=grouping.filter_parameters(across.KEYS),
    columns=(
        Column("jour_semaine", pa.int32(), "day of the week (UTC): 1 is Monday, 7 is Sunday"),
        Column("heure", pa.int32(), "hour of the day (UTC), from 0 to 23"),
        Column("ventes_count", pa.int64(), "sales", "count"),
        Column("revenue_total", money.SUM_ARROW, "sum of montant", AMOUNT),
        PANIER_MOYEN.column,
        Column("heures", pa.int64(), "how many such hours the period has", "count"),
        Column(
            "ventes_par_heure", pa.float64(), "mean number of sales in such an hour; null without one", "count", True
        ),
    ),
    about=grouping.ABOUT,
    failures=grouping.NO_VIEW,
    doc=(
        "The period: from `from`, or the first hour with sales (of any key), to `to`, or the end of the last such "
        "hour. 422 `no_view` for filters that no view has by hour."
    ),
)

_SQL = """
    WITH trouvees AS (
        SELECT isodow(make_timestamp(epoch_us(heure)))::INTEGER AS jour_semaine,
               hour(make_timestamp(epoch_us(heure)))::INTEGER AS heure,
               sum(ventes_count)::BIGINT AS ventes_count, sum(revenue_total)::DECIMAL(38,2) AS revenue_total
        FROM ({found}) GROUP BY 1, 2
    ),
    durees AS (
        SELECT isodow(debut)::INTEGER AS jour_semaine, hour(debut)::INTEGER AS heure, count(*) AS heures
        FROM (
            SELECT unnest(generate_series(
                make_timestamp(epoch_us(coalesce({start}, min(heure)))),
                make_timestamp(epoch_us(coalesce({end}, max(heure) + INTERVAL 1 HOUR))) - INTERVAL 1 HOUR,
                INTERVAL 1 HOUR)) AS debut
            FROM hourly_sales WHERE ventes_count > 0
        ) GROUP BY 1, 2
    ),
    cases AS (
        SELECT jour_semaine::INTEGER AS jour_semaine, heure::INTEGER AS heure
        FROM (SELECT unnest(range(1, 8)) AS jour_semaine), (SELECT unnest(range(24)) AS heure)
    ),
    sommes AS (
        SELECT jour_semaine, heure, coalesce(ventes_count, 0) AS ventes_count,
               coalesce(revenue_total, 0)::DECIMAL(38,2) AS revenue_total, coalesce(heures, 0) AS heures
        FROM cases LEFT JOIN trouvees USING (jour_semaine, heure) LEFT JOIN durees USING (jour_semaine, heure)
    )
    SELECT *, CASE WHEN ventes_count > 0 THEN {mean} END AS panier_moyen,
           CASE WHEN heures > 0 THEN ventes_count / heures END AS ventes_par_heure
    FROM sommes
"""


def routes(rows: Rows) -> Blueprint:
    blueprint = Blueprint("weekday_hours", __name__)

    @rows.get(blueprint, WEEKDAY_HOURS)
    def weekday_hours(values: dict[str, Any], snapshot: Snapshot) -> Query:
        start, end = grouping.bounds(values)
        asked = Grouping((), periods.HOUR, grouping.filters(values, across.KEYS), start, end)
        found = asked.query(across.smallest(asked, snapshot), only=("ventes_count", "revenue_total"))
        given = [*found.parameters, start, end]
        places = {name: f"${len(found.parameters) + place}::TIMESTAMPTZ" for place, name in ((1, "start"), (2, "end"))}
        sql = _SQL.format(found=found.sql, mean=PANIER_MOYEN.sql, **places)
        return Query(sql, "jour_semaine, heure", given, about=found.about)

    return blueprint
