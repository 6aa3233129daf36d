"""Figures of a view, grouped by some of its keys and by period, filtered by any of them.

Measures add, so any grouping of a view's rows is exact; but for one that is ``distinct`` only within certain keys and a
month (``views.Distinct``). Where a grouping goes beyond that, such a measure is left out of the rows, and the answer
says so in ``omitted``: a sum would count the same client again.

A bound of time that cuts a window of the view in two cannot be answered by it, and is refused.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from salesviews import money, views
from salesviews.errors import ParameterError, SalesviewsError
from salesviews.views import Dimension, Measure, View
from web import parameters, periods, schemas
from web.answers import instant
from web.endpoints import Column
from web.parameters import Moment, Parameter
from web.periods import Granularity
from web.rows import Page, Query

LARGEST_PAGE = 100_000
DEFAULT_PAGE = 1000
_LARGEST_OFFSET = 10**9

AMOUNT = "amount"
"""The unit of money as it is given: a decimal with two places."""

_TYPES_SQL = {
    views.Unit.COUNT: "BIGINT",
    views.Unit.QUANTITY: "DECIMAL(38,0)",
    views.Unit.CENTS: "DECIMAL(38,2)",
    views.Unit.MOMENT_US: "TIMESTAMPTZ",
}
_UNITS = {
    views.Unit.COUNT: "count",
    views.Unit.QUANTITY: "quantity",
    views.Unit.CENTS: AMOUNT,
    views.Unit.MOMENT_US: None,
}

FROM = Parameter("from", parameters.moment, "the start: windows that start at or after it", example="2025-12-22")
TO = Parameter(
    "to",
    parameters.moment,
    "the end: windows that start before it; of a date, the end of that day",
    example="2025-12-22",
)
ABOUT = {
    "view": schemas.TEXT | {"description": "the view or roll-up that the figures are from"},
    "omitted": schemas.by_name(schemas.TEXT, "measures that cannot be summed over this grouping, and why"),
    "page": {"$ref": "#/components/schemas/Page"},
}
"""What an answer says beside its rows."""

NO_VIEW = {422: "no view has together what is asked for: the answer names what can be combined"}
"""``Endpoint.failures`` of questions that some view must answer."""

LIMIT = Parameter("limit", parameters.whole_number(1, LARGEST_PAGE), "how many rows", default=DEFAULT_PAGE)
OFFSET = Parameter("offset", parameters.whole_number(0, _LARGEST_OFFSET), "how many rows to leave out first", default=0)


class NoViewError(SalesviewsError):
    """No view has everything that a question needs."""


@dataclass(frozen=True)
class Mean:
    """A figure over the sums of a group.

    :param sql: from the names of the measures, over a positive number of sales
    """

    name: str
    sql: str
    arrow: pa.DataType
    doc: str
    unit: str | None = None

    @property
    def column(self) -> Column:
        return Column(self.name, self.arrow, self.doc, self.unit, is_nullable=True)


PANIER_MOYEN = Mean(
    "panier_moyen",
    f"({money.mean_cents_sql('revenue_total * 100', 'ventes_count')})::DECIMAL(38,0) * 0.01",
    money.DECIMAL_ARROW,
    "mean montant of a sale, rounded to the cent; null where there are no sales",
    AMOUNT,
)


def bounds(values: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """The start and the end that ``FROM`` and ``TO`` give.

    :raises ParameterError: if ``to`` is not after ``from``
    """
    first: Moment | None = values[FROM.name]
    last: Moment | None = values[TO.name]
    if first is not None and last is not None and first.start >= last.end:
        raise ParameterError(
            TO.name, f"to ({last.end:%Y-%m-%dT%H:%M:%SZ}) is not after from ({first.start:%Y-%m-%dT%H:%M:%SZ})."
        )
    return None if first is None else first.start, None if last is None else last.end


def filters(values: Mapping[str, Any], keys: Sequence[views.Dimension]) -> dict[str, tuple[Any, ...]]:
    """What the parameters of key columns ask for."""
    return {key.name: values[key.name] for key in keys if values[key.name]}


def key_column(dimension: views.Dimension) -> Column:
    return Column(dimension.name, dimension.arrow, dimension.doc, example=_example(dimension))


def measure_column(measure: Measure) -> Column:
    is_sum = measure.combination is views.Combination.SUM
    return Column(measure.name, measure.arrow, measure.doc, _UNITS[measure.unit], is_nullable=not is_sum)


def key_parameter(dimension: views.Dimension) -> Parameter:
    return Parameter(
        dimension.name,
        parameters.integer if pa.types.is_integer(dimension.arrow) else parameters.text,
        f"{dimension.doc}, exactly; repeatable",
        is_repeatable=True,
        example=_example(dimension),
    )


def _example(dimension: views.Dimension) -> str | int:
    return int(dimension.example) if pa.types.is_integer(dimension.arrow) else dimension.example


def group_by_parameter(names: Sequence[str], default: str) -> Parameter:
    return Parameter(
        "group_by",
        parameters.some_of(names),
        f"the key columns to sum by, with commas between, or repeated; empty: totals; default: {default}",
        is_repeatable=True,
        example=",".join(names[:2]),
    )


def granularity_parameter(choices: Sequence[Granularity], default: Granularity) -> Parameter:
    return Parameter(
        "granularity",
        parameters.one_of([each.name for each in choices]),
        "the periods to sum by; weeks begin on Monday; all: one for all time",
        default=default.name,
    )


def order_parameter(columns: Sequence[Column]) -> Parameter:
    return Parameter(
        "order",
        parameters.some_of([column.name for column in columns], prefix="-"),
        "columns of the answer by which its rows are ordered, with commas between; - before one: descending; "
        "default: by period, then by key",
        example=f"-{columns[-1].name}",
    )


def filter_parameters(keys: Sequence[Dimension]) -> tuple[Parameter, ...]:
    """Which sales: by key columns and by time."""
    return (*map(key_parameter, keys), FROM, TO)


def grouping_parameters(
    keys: Sequence[Dimension],
    choices: Sequence[Granularity],
    period: Granularity,
    groups: str,
    columns: Sequence[Column],
) -> tuple[Parameter, ...]:
    """All that can be asked of rows that are grouped.

    :param period: by which they are grouped where nothing is said
    :param groups: what is said of the key columns by which they are grouped then
    """
    return (
        *filter_parameters(keys),
        granularity_parameter(choices, period),
        group_by_parameter([key.name for key in keys], groups),
        order_parameter(columns),
        LIMIT,
        OFFSET,
    )


@dataclass(frozen=True)
class Grouping:
    """What is asked of a view.

    :param group_by: key columns, in the order in which rows have them
    :param filters: values of key columns, any of which a row must have
    :param start: windows that start at or after it
    :param end: windows that start before it
    """

    group_by: tuple[str, ...]
    granularity: Granularity
    filters: Mapping[str, tuple[Any, ...]]
    start: datetime | None
    end: datetime | None

    @classmethod
    def of(cls, values: Mapping[str, Any], keys: Sequence[views.Dimension], default: tuple[str, ...]) -> "Grouping":
        """:param values: of the parameters that this module declares, and of those of the keys
        :param default: keys by which figures are grouped if the request does not say

        :raises ParameterError: if ``to`` is not after ``from``, or ``group_by`` is given twice over
        """
        named = [name for names in values["group_by"] for name in names] if values["group_by"] else default
        if len(set(named)) < len(named):
            raise ParameterError("group_by", "group_by names a column twice.")
        start, end = bounds(values)
        return cls(
            tuple(key.name for key in keys if key.name in named),
            periods.BY_NAME[values["granularity"]],
            filters(values, keys),
            start,
            end,
        )

    @property
    def needed(self) -> frozenset[str]:
        """The key columns without which a view cannot answer."""
        return frozenset(self.group_by) | frozenset(self.filters)

    def cut_by(self, view: View) -> str | None:
        """Which of ``from`` and ``to`` cuts a window of the view in two; None: neither."""
        for name, bound in ((FROM.name, self.start), (TO.name, self.end)):
            if bound is not None and not periods.is_start_of_window(bound, view.window):
                return name
        return None

    def bound(self, name: str) -> str:
        """``from`` or ``to`` as text."""
        moment = self.start if name == FROM.name else self.end
        return "" if moment is None else instant(moment)

    def omitted(self, view: View) -> dict[str, str]:
        """The measures that cannot be summed over this grouping, with the reason."""
        return {
            measure.name: reason for measure in view.measures if (reason := self._unsummable(measure, view)) is not None
        }

    def _unsummable(self, measure: Measure, view: View) -> str | None:
        distinct = measure.distinct
        if distinct is None:
            return None
        pinned = {name for name, values in self.filters.items() if len(set(values)) == 1}
        open_keys = [name for name in distinct.keys if name not in self.group_by and name not in pinned]
        is_own = self.granularity is periods.of_window(view.window)
        if not open_keys and (is_own or self._has_whole_months()):
            return None
        keys = ", ".join(distinct.keys)
        return (
            f"{measure.name} counts each client once within one {keys} and one whole {distinct.period}: a sum beyond "
            f"that would count clients again. Group by {keys} (or filter by one value), with granularity "
            f"{distinct.period} or {periods.of_window(view.window).name}, and from and to at the start of a "
            f"{distinct.period}."
        )

    def _has_whole_months(self) -> bool:
        bounds = [each for each in (self.start, self.end) if each is not None]
        if not all(map(periods.is_start_of_month, bounds)):
            return False
        if self.granularity is periods.MONTH:
            return True
        # A single month, asked for by its bounds.
        if self.granularity is not periods.ALL or self.start is None or self.end is None:
            return False
        return (self.end.year * 12 + self.end.month) - (self.start.year * 12 + self.start.month) == 1

    def query(
        self,
        view: View,
        order: Sequence[str] = (),
        page: Page | None = None,
        means: Sequence[Mean] = (),
        only: Collection[str] | None = None,
    ) -> Query:
        """The query that answers it from a view that has all that it needs.

        :param order: names of columns, ``-`` before those that descend; completed to a total order
        :param only: names of measures; None: all of the view
        :raises ParameterError: if ``order`` names what the answer does not have, or a bound cuts a window
        """
        self._check_bounds(view)
        omitted = self.omitted(view)
        measures = [each for each in view.measures if each.name not in omitted and (only is None or each.name in only)]
        by_name = {each.name: each for each in view.key}
        keys = [by_name[name] for name in self.group_by]
        period = self.granularity.column
        columns = (
            *map(key_column, keys),
            *([] if period is None else [period]),
            *map(measure_column, measures),
            *(mean.column for mean in means),
        )
        place = [*([] if period is None else [period.name]), *(each.name for each in keys)]
        where, given = self._where(view)
        return Query(
            self._sql(view, keys, measures, means, where),
            order=order_sql(order, columns, place, omitted),
            parameters=given,
            columns=columns,
            page=page,
            about={"view": view.name} | ({"omitted": omitted} if omitted else {}),
        )

    def _check_bounds(self, view: View) -> None:
        name = self.cut_by(view)
        if name is not None:
            raise ParameterError(
                name,
                f"{name} ({self.bound(name)}) cuts a window of {view.name} in two: give the start of a "
                f"{view.window.column} (UTC).",
            )

    def _where(self, view: View) -> tuple[str, list[Any]]:
        conditions: list[str] = []
        given: list[Any] = []
        for name, values in self.filters.items():
            given.append(values)
            conditions.append(f'"{name}" IN ${len(given)}')
        is_day = pa.types.is_date32(view.window.arrow)
        for sign, bound in ((">=", self.start), ("<", self.end)):
            if bound is not None:
                given.append(bound.date() if is_day else bound)
                conditions.append(f"{view.window.column} {sign} ${len(given)}::{'DATE' if is_day else 'TIMESTAMPTZ'}")
        return f"WHERE {' AND '.join(conditions)}" if conditions else "", given

    def _sql(
        self,
        view: View,
        keys: Sequence[views.Dimension],
        measures: Sequence[Measure],
        means: Sequence[Mean],
        where: str,
    ) -> str:
        groups = [f'"{key.name}"' for key in keys]
        period, period_sql = self.granularity.column, self.granularity.sql
        is_own = self.granularity is periods.of_window(view.window)
        if period is not None and period_sql is not None:
            start = period.name if is_own else period_sql.format(start=periods.start_sql(view.window))
            groups.append(f'{start} AS "{period.name}"')
        if is_own and len(keys) == len(view.key):
            # Each row is a group of its own.
            sums = [f'"{measure.name}"' for measure in measures]
            sql = f'SELECT {", ".join([*groups, *sums])} FROM "{view.name}" {where}'
        else:
            sums = [f'{_combined_sql(measure)}::{_TYPES_SQL[measure.unit]} AS "{measure.name}"' for measure in measures]
            by = f"GROUP BY {', '.join(str(place + 1) for place in range(len(groups)))}" if groups else ""
            sql = f'SELECT {", ".join([*groups, *sums])} FROM "{view.name}" {where} {by}'
        if not means:
            return sql
        figures = ", ".join(f'CASE WHEN ventes_count > 0 THEN {mean.sql} END AS "{mean.name}"' for mean in means)
        return f"SELECT *, {figures} FROM ({sql})"


def _combined_sql(measure: Measure) -> str:
    """SQL for a measure over rows of its view; there may be none."""
    combined = f'{measure.combination}("{measure.name}")'
    return f"coalesce({combined}, 0)" if measure.combination is views.Combination.SUM else combined


def order_sql(
    asked: Sequence[str],
    columns: Sequence[Column],
    place: Sequence[str],
    omitted: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """SQL for a total order: what is asked for, then the columns of which no two rows have the same values."""
    names = [column.name for column in columns]
    parts = []
    for each in asked:
        name = each.removeprefix("-")
        if name not in names:
            why = omitted.get(name, f"the columns are {', '.join(names)}")
            raise ParameterError("order", f"order names {name}, which this answer does not have: {why}.")
        parts.append(f'"{name}" {"DESC" if each.startswith("-") else "ASC"}')
    rest = [f'"{name}"' for name in place if name not in {each.removeprefix("-") for each in asked}]
    # Totals are one row, in any order.
    return ", ".join([*parts, *rest]) or "1"
