"""Hours that leave the band that is expected for that hour of the week.

The method. A number of sales y is seen as a = 2 sqrt(y + 3/8) (Anscombe), whose standard deviation is about 1 where
sales come independently of one another, however many they are. For each hour:

1. What is expected is the median m of a in the same hour of the up to 8 weeks before; a single odd week does not move
   it. With fewer than 4 weeks the hour is not judged. Hours without sales are zeros.
2. Its error is r = (a - m) / sqrt(1 + pi / 2n) for n weeks, as a median of n values is uncertain too.
3. Where sales scatter more than chance (campaigns, trends, weather), errors grow with the expected sales mu = (m/2)^2:
   their standard deviation is s = sqrt(1 + phi mu), where phi is the median of (r^2 / 0.4549 - 1) / mu over the 4 weeks
   before, at least 0. (0.4549 is the median of the square of a standard normal error, so that outliers do not count.)
4. An hour is an anomaly where r is beyond 4 s on either side.

Measured (``benchmarks/anomalies.py``, 40 weeks): of the generator's own sales 1 hour of 18,144 was a false alarm; of
random ones from 2 to 5,000 an hour at most 0.01 % where they scatter by chance alone, 0.02 % with 10 % more, 0.04 %
with 30 %, and 0.01 % where they grow by 1 % a week. Of hours multiplied by 0.2 and by 3, in a history that has one of
them each week, 99 % and more were found from 50 sales an hour on (97 % with 10 % more scatter), 38 % and 70 % at 10,
hardly any at 2; with 30 % more scatter 6 % and 60 %.
"""

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from flask import Blueprint

from salesviews import views
from salesviews.errors import ParameterError
from web import grouping, parameters, periods, reading, schemas
from web.endpoints import Column, Endpoint
from web.grouping import FROM, Grouping
from web.parameters import Parameter
from web.routes import across
from web.rows import Query, Rows
from web.snapshot import Snapshot

WEEKS = 8
LEAST_WEEKS = 4
SCALE_WEEKS = 4
BAND = 4.0
"""Of errors, in their own standard deviations."""
DEFAULT = timedelta(days=7)
LONGEST = timedelta(days=366)
_WEEK_HOURS = 168
_LOOK_BACK = timedelta(weeks=WEEKS + SCALE_WEEKS)

METHOD = (
    f"Expected: the median of the same hour in the {LEAST_WEEKS} to {WEEKS} weeks before, on the scale 2 sqrt(y + 3/8)."
    f" Outside: by more than {BAND:g} standard deviations, of chance and of the scatter beyond chance in the "
    f"{SCALE_WEEKS} weeks before. False alarms, on generated sales: at most 4 in 10,000 hours. A drop to a fifth, or "
    "the threefold, is found from some 50 sales an hour on."
)

ANOMALIES = Endpoint(
    "/api/anomalies",
    "hours whose number of sales leaves the band that is expected for that hour of the week",
    parameters=(
        *grouping.filter_parameters(across.KEYS),
        Parameter(
            "show",
            parameters.one_of(("anomalies", "all")),
            "only the hours outside of their band, or every hour that is judged",
            default="anomalies",
        ),
    ),
    columns=(
        Column("heure", pa.timestamp("s", tz="UTC"), "start of the hour (UTC)"),
        Column("ventes_count", pa.int64(), "sales", "count"),
        Column("attendu", pa.float64(), "expected sales", "count"),
        Column("bas", pa.float64(), "lower end of the band", "count"),
        Column("haut", pa.float64(), "upper end of the band", "count"),
        Column("ecart", pa.float64(), "distance from what is expected", "standard deviations"),
        Column("sens", pa.string(), "bas: below the band; haut: above it; null: within", is_nullable=True),
    ),
    about={**grouping.ABOUT, "method": schemas.TEXT | {"description": "how hours are judged"}},
    failures=grouping.NO_VIEW,
    doc=(
        f"{METHOD} Only hours that were over when the snapshot was made are judged. Default: the "
        f"{DEFAULT.days} days that end with the latest sale; at most {LONGEST.days}. 422 `no_view` for filters that no "
        "view has by hour."
    ),
)

_SQL = """
    WITH comptees AS ({found}),
    heures AS (
        SELECT unnest(generate_series(
            greatest(make_timestamp(epoch_us(min(heure))), make_timestamp(epoch_us({first}))),
            make_timestamp(epoch_us({end})) - INTERVAL 1 HOUR, INTERVAL 1 HOUR)) AS debut
        FROM hourly_sales WHERE ventes_count > 0
    ),
    suite AS (
        SELECT debut, coalesce(ventes_count, 0) AS ventes_count, 2 * sqrt(coalesce(ventes_count, 0) + 0.375) AS a
        FROM heures LEFT JOIN comptees ON make_timestamp(epoch_us(comptees.heure)) = debut
    ),
    voisines AS (SELECT *, [{lags}] AS avant FROM suite WINDOW ordre AS (ORDER BY debut)),
    erreurs AS (
        SELECT *, list_count(avant) AS semaines, list_median(avant) AS m,
               sqrt(1 + pi() / 2 / list_count(avant)) AS doute
        FROM voisines WHERE list_count(avant) > 0
    ),
    echelles AS (
        SELECT *, (a - m) / doute AS r, greatest((m / 2) ** 2, 1) AS mu FROM erreurs
    ),
    dispersions AS (
        SELECT *, sqrt(1 + mu * greatest(0, coalesce(median((r ** 2 / 0.4549 - 1) / mu) OVER (
            ORDER BY debut ROWS BETWEEN {scale} PRECEDING AND 1 PRECEDING), 0))) AS s
        FROM echelles
    ),
    bandes AS (
        SELECT debut, ventes_count, (m / 2) ** 2 - 0.375 AS attendu,
               greatest((greatest(m - {band} * s * doute, 0) / 2) ** 2 - 0.375, 0) AS bas,
               ((m + {band} * s * doute) / 2) ** 2 - 0.375 AS haut, r / s AS ecart,
               CASE WHEN r < -{band} * s THEN 'bas' WHEN r > {band} * s THEN 'haut' END AS sens
        FROM dispersions
        WHERE semaines >= {least_weeks} AND debut >= make_timestamp(epoch_us({start}))
    )
    SELECT timezone('UTC', debut) AS heure, ventes_count, greatest(attendu, 0) AS attendu, bas, haut, ecart, sens
    FROM bandes {where}
"""


def judged_sql(found: str, first: str, start: str, end: str, *, shows_all: bool = False) -> str:
    """The query that judges hours.

    :param found: the query of the hours with sales that are judged
    :param first: SQL of the first hour that is looked back to
    :param start: SQL of the first hour that is judged
    :param end: SQL of the end of the last one
    """
    return _SQL.format(
        found=found,
        first=first,
        start=start,
        end=end,
        lags=", ".join(f"lag(a, {week * _WEEK_HOURS}) OVER ordre" for week in range(1, WEEKS + 1)),
        scale=SCALE_WEEKS * _WEEK_HOURS,
        band=BAND,
        least_weeks=LEAST_WEEKS,
        where="" if shows_all else "WHERE sens IS NOT NULL",
    )


def routes(rows: Rows) -> Blueprint:
    blueprint = Blueprint("anomalies", __name__)

    @rows.get(blueprint, ANOMALIES)
    def anomalies(values: dict[str, Any], snapshot: Snapshot) -> Query:
        start, end = _hours(values, snapshot)
        first = start - _LOOK_BACK
        asked = Grouping((), periods.HOUR, grouping.filters(values, across.KEYS), first, None)
        found = asked.query(across.smallest(asked, snapshot), only=("ventes_count",))
        count = len(found.parameters)
        places = [f"${count + place}::TIMESTAMPTZ" for place in (1, 2, 3)]
        sql = judged_sql(found.sql, *places, shows_all=values["show"] == "all")
        given = [*found.parameters, first, start, end]
        return Query(sql, "heure", given, about={**found.about, "method": METHOD})

    return blueprint


def _hours(values: dict[str, Any], snapshot: Snapshot) -> tuple[datetime, datetime]:
    """The hours that are judged: those that start in the period, and were over when the snapshot was made."""
    start, end = reading.period(values, snapshot, lambda end: end - DEFAULT, views.HOUR)
    if end - start > LONGEST:
        raise ParameterError(
            FROM.name,
            f"From {start:%Y-%m-%d} to {end:%Y-%m-%d} is more than {LONGEST.days} days: give a later from, or an "
            "earlier to.",
        )
    over = views.HOUR.start(snapshot.manifest.created_at)
    return _first_hour(start), min(_first_hour(end), over)


def _first_hour(moment: datetime) -> datetime:
    """The first hour that starts at or after a moment."""
    start = views.HOUR.start(moment)
    return start if start == moment else views.HOUR.end(start)
