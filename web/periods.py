"""The periods over which figures are summed: what `granularity` may be.

A period is named by its first instant, in UTC. Weeks are those of ISO 8601: they begin on Monday.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from salesviews import views
from web.endpoints import Column


@dataclass(frozen=True)
class Granularity:
    """
    :param sql: the start of the period of a row, from ``{start}``, its window's start as a TIMESTAMP of UTC
    :param column: of the rows, the period's start; None: one period for all time
    :param longest_window: of the views that allow it
    """

    name: str
    sql: str | None
    column: Column | None
    longest_window: timedelta


_INSTANT = pa.timestamp("s", tz="UTC")

HOUR = Granularity(
    "hour",
    "timezone('UTC', date_trunc('hour', {start}))",
    Column(views.HOUR.column, _INSTANT, "start of the hour (UTC)"),
    views.HOUR.duration,
)
DAY = Granularity("day", "{start}::DATE", Column(views.DAY.column, pa.date32(), "day (UTC)"), views.DAY.duration)
WEEK = Granularity(
    "week",
    "date_trunc('week', {start})::DATE",
    Column("debut_semaine", pa.date32(), "Monday of the week (ISO 8601, UTC)"),
    views.DAY.duration,
)
MONTH = Granularity(
    "month",
    "make_date(annee, mois, 1)",
    Column(views.MONTH.column, pa.date32(), "first day of the month (UTC)"),
    views.MONTH.duration,
)
YEAR = Granularity(
    "year",
    "make_date(annee, 1, 1)",
    Column("debut_annee", pa.date32(), "first day of the year (UTC)"),
    views.MONTH.duration,
)
ALL = Granularity("all", None, None, views.MONTH.duration)

GRANULARITIES = (HOUR, DAY, WEEK, MONTH, YEAR, ALL)
BY_NAME = {each.name: each for each in GRANULARITIES}


def of_window(window: views.Window) -> Granularity:
    """The granularity of a view's own windows."""
    return next(each for each in GRANULARITIES if each.longest_window == window.duration)


def allowed(window: views.Window) -> tuple[Granularity, ...]:
    """Those that windows add up to."""
    return tuple(each for each in GRANULARITIES if window.duration <= each.longest_window)


def start_sql(window: views.Window) -> str:
    """SQL for the start of a row's window as a TIMESTAMP of UTC."""
    # Of an instant by its microseconds: a time zone's rules would be looked up for each row otherwise.
    return (
        f"{window.column}::TIMESTAMP"
        if pa.types.is_date32(window.arrow)
        else f"make_timestamp(epoch_us({window.column}))"
    )


def is_start_of_window(moment: datetime, window: views.Window) -> bool:
    return moment == window.start(moment)


def is_start_of_month(moment: datetime) -> bool:
    return is_start_of_window(moment, views.MONTH)


def within(
    bounds: tuple[datetime | None, datetime | None], column: str, places: int = 0
) -> tuple[list[str], list[Any]]:
    """Conditions for a column of dates: it starts at or after the first bound, and before the second.

    :param places: how many parameters the query has already
    :return: the conditions, and the parameters that they add
    """
    conditions: list[str] = []
    given: list[Any] = []
    for sign, bound in zip((">=", "<"), bounds, strict=True):
        if bound is not None:
            given.append(bound)
            conditions.append(f"timezone('UTC', {column}::TIMESTAMP) {sign} ${places + len(given)}::TIMESTAMPTZ")
    return conditions, given
