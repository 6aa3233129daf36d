"""The figures of a snapshot, each by its address: a view or roll-up, its key, and its window.

Everything is derived from the declarations in ``salesviews/views.py``. A question comes as texts (from the command line
or from a web address); what it cannot mean is a ``ParameterError`` that names what is there.
"""

import difflib
import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from salesviews import lake, money, views
from salesviews.errors import LakeError, ParameterError
from salesviews.lake import Table
from salesviews.lineage.queries import Queries
from salesviews.tables import files

Value = int | float | Decimal | datetime | None
"""A measure: a Decimal is an amount."""

WINDOW = "window"
"""The parameter that names the start of a window."""

_SHOWN = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class FigureTable:
    """A view or a roll-up as a table of figures."""

    declared: views.View | views.RollUp

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def view(self) -> views.View:
        return self.declared if isinstance(self.declared, views.View) else self.declared.view

    @property
    def window(self) -> views.Window | None:
        """None where the figures are over all windows, or over those of a month or year."""
        has_windows = isinstance(self.declared, views.View) or self.view.window.column in self.declared.group
        return self.view.window if has_windows else None

    @property
    def key(self) -> tuple[pa.Field, ...]:
        """The columns that a figure's address has beside its window."""
        names = self.declared.key_names if isinstance(self.declared, views.View) else self.declared.group
        return tuple(self.declared.schema.field(name) for name in names if name != self.view.window.column)

    @property
    def columns(self) -> tuple[str, ...]:
        """The figures of a row."""
        if isinstance(self.declared, views.View):
            return self.declared.measure_names
        return self.declared.column_names

    @property
    def money(self) -> frozenset[str]:
        """Those of them that are amounts."""
        return self.declared.money_names

    @property
    def table(self) -> Table:
        return lake.of_view(self.declared) if isinstance(self.declared, views.View) else lake.of_roll_up(self.declared)

    def rows_sql(self, relation: str) -> str:
        """The query that computes its rows from the relation of its view's source, amounts in cents."""
        rows = self.view.rows_sql(relation)
        return rows if isinstance(self.declared, views.View) else self.declared.rows_sql(f"({rows})")

    def computed(self, row: Mapping[str, Any]) -> dict[str, Value]:
        """The figures of a row that ``rows_sql`` gave."""
        return {name: _amount(row[name]) if name in self.money else _number(row[name]) for name in self.columns}

    def held(self, row: Mapping[str, Any]) -> dict[str, Value]:
        """The figures of a row of the table."""
        return {name: row[name] if name in self.money else _number(row[name]) for name in self.columns}


@dataclass(frozen=True)
class Address:
    """Where a figure is.

    :param key: value of each key column
    :param start: of the window; None where the table has no windows
    """

    of: FigureTable
    key: Mapping[str, Any]
    start: datetime | None

    @property
    def values(self) -> dict[str, Any]:
        """Every column of the table that the address gives a value."""
        if self.start is None or self.of.window is None:
            return dict(self.key)
        return dict(self.key) | {self.of.window.column: _window_value(self.of.window, self.start)}

    @property
    def starts(self) -> tuple[datetime, datetime] | None:
        """The windows that the figure sums: those that start at or after the first and before the second; None: all."""
        if self.start is not None:
            return self.start, self.of.view.window.end(self.start)
        year, month = self.key.get("annee"), self.key.get("mois")
        if year is None or not 1 <= year < 9999 or not 1 <= (month or 1) <= 12:
            return None
        if month is None:
            return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
        first = datetime(year, month, 1, tzinfo=UTC)
        return first, (first + timedelta(days=31)).replace(day=1)

    @property
    def times(self) -> tuple[datetime, datetime] | None:
        """The time that these windows cover: from the first to before the second; None: all of it."""
        if self.starts is None:
            return None
        window = self.of.view.window
        first, end = self.starts
        return first, window.end(window.start(end - timedelta(microseconds=1)))

    @property
    def conditions(self) -> dict[str, str]:
        """SQL for: a row of the source is behind this figure; by column. The values are in the table ``asked``."""
        view = self.of.view
        start = view.start_ms_sql
        expressions = {dimension.name: dimension.sql for dimension in view.key} | {
            "annee": f"year(make_timestamp({start} * 1000))",
            "mois": f"month(make_timestamp({start} * 1000))",
        }
        asked = {name: f"{expressions[name]} = (SELECT asked.{name} FROM asked)" for name in self.key}
        if self.start is not None:
            asked[view.window.column] = f"{start} = {(self.start - _EPOCH) // timedelta(milliseconds=1)}"
        return asked

    def ask(self, queries: Queries) -> None:
        """Make the table ``asked``, of one row."""
        columns = {field.name: pa.array([self.key[field.name]], field.type) for field in self.of.key}
        queries.hold("asked", pa.table(columns or {"nothing": pa.array([0])}))


@dataclass(frozen=True)
class Figure:
    """A row of figures as the snapshot's table holds it."""

    address: Address
    values: Mapping[str, Value]


def tables() -> dict[str, FigureTable]:
    """The views and the roll-ups, by name."""
    declared: list[views.View | views.RollUp] = [*views.VIEWS, *views.ROLL_UPS]
    return {each.name: FigureTable(each) for each in declared}


def named(name: str | None) -> FigureTable:
    """:raises ParameterError: if there is none of that name"""
    known = tables()
    if name not in known:
        what = "Which view is missing" if name is None else f"There is no view {name!r}"
        raise ParameterError("view", f"{what}: {_choices(name, known)}.")
    return known[name]


def find(queries: Queries, name: str | None, key: Mapping[str, str], window: str | None) -> Figure:
    """The figure that texts ask for.

    :param key: text of each key column
    :raises ParameterError: if a text is missing, unknown or cannot be read, or there is no such figure
    """
    of = named(name)
    for column in key:
        if column not in {field.name for field in of.key}:
            known = ", ".join(field.name for field in of.key)
            raise ParameterError(column, f"{of.name} has no key {column!r}: {f'it has {known}' if known else 'none'}.")
    if window is not None and of.window is None:
        raise ParameterError(WINDOW, f"{of.name} has no windows, but {WINDOW}={window!r} is given.")
    values = {field.name: _read(field, key[field.name]) for field in of.key if field.name in key}
    start = None if window is None or of.window is None else _read_start(of.window, window)
    address = Address(of, values, start)
    missing = [*(field.name for field in of.key if field.name not in key)]
    if of.window is not None and start is None:
        missing.append(WINDOW)
    row = None if missing else look_up(queries, address)
    if row is None:
        raise _no_figure(queries, address, missing)
    return Figure(address, of.held(row))


def look_up(queries: Queries, address: Address) -> dict[str, Any] | None:
    """The table's row of a complete address.

    :raises LakeError: if it has two, or cannot be read
    """
    of = address.of
    listing = queries.listing(of.table)
    if of.table.partition_by and address.starts is not None:
        listing = listing.only(months(*address.starts).__contains__)
    found = _matching(files.rows(queries.lake, listing, listing.files), address.values).to_pylist()
    if len(found) > 1:
        raise LakeError(
            f"{of.table.name} has {len(found)} rows of {_given(address.values)} instead of one: it is damaged, or "
            "something else writes to it. `salesviews audit` names every difference."
        )
    row: dict[str, Any] | None = found[0] if found else None
    return row


def _no_figure(queries: Queries, address: Address, missing: Sequence[str]) -> ParameterError:
    """What is wrong with an address that leads nowhere: the first part of it that is missing or not there."""
    of = address.of
    listing = queries.listing(of.table)
    rows = files.rows(queries.lake, listing, listing.files)
    if not rows.num_rows:
        return ParameterError("view", f"{of.name} has no figures yet in snapshot {queries.snapshot.id}.")
    given: dict[str, Any] = {}
    for field in of.key:
        known = pc.unique(rows.column(field.name)).to_pylist()
        among = f" with {_given(given)}" if given else ""
        if field.name in missing:
            return ParameterError(
                field.name, f"{of.name} needs {field.name}: {_choices(None, known)}{among} (its key: {_key_text(of)})."
            )
        value = given[field.name] = address.key[field.name]
        rows = _matching(rows, {field.name: value})
        if not rows.num_rows:
            return ParameterError(
                field.name, f"{of.name} has no {field.name}={value!r}{among}: {_choices(value, known)}."
            )
    assert of.window is not None
    starts = sorted(pc.unique(rows.column(of.window.column)).to_pylist())
    among = f" with {_given(given)}" if given else ""
    there = f"it has {len(starts)}{among}, from {window_text(starts[0])} to {window_text(starts[-1])}"
    if address.start is None:
        return ParameterError(WINDOW, f"{of.name} needs a {WINDOW}, the start of its {of.window.column}: {there}.")
    asked = _window_value(of.window, address.start)
    near = [
        window_text(each) for each in (*[e for e in starts if e < asked][-1:], *[e for e in starts if e > asked][:1])
    ]
    return ParameterError(
        WINDOW,
        f"{of.name} has no {of.window.column} {window_text(asked)}{among}: none of the {of.view.source} is in it, and "
        f"its figures are 0. The nearest: {' and '.join(near)}; {there}.",
    )


def _read(field: pa.Field, text: str) -> Any:
    if not pa.types.is_integer(field.type):
        return text
    try:
        return pa.scalar(int(text), field.type).as_py()
    except (ValueError, OverflowError, pa.ArrowInvalid):
        raise ParameterError(field.name, f"{field.name}={text!r} cannot be used: it takes a whole number.") from None


def _read_start(window: views.Window, text: str) -> datetime:
    is_day = pa.types.is_date32(window.arrow)
    example = "2025-12-01" if is_day else "2025-12-22T10:00"
    try:
        start = datetime.fromisoformat(text)
        start = start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)
        before = window.start(start)
        after = window.end(before)
    except (ValueError, OverflowError):
        raise ParameterError(
            WINDOW, f"{WINDOW}={text!r} cannot be used: it takes the start of a {window.column} in UTC, as {example}."
        ) from None
    if start != before:
        raise ParameterError(
            WINDOW,
            f"{WINDOW}={text!r} is not the start of a {window.column}: those near it start at "
            f"{window_text(_window_value(window, before))} and {window_text(_window_value(window, after))}.",
        )
    return start


def _matching(rows: pa.Table, values: Mapping[str, Any]) -> pa.Table:
    conditions = [pc.field(name) == pa.scalar(value, rows.schema.field(name).type) for name, value in values.items()]
    return rows.filter(functools.reduce(operator.and_, conditions, pc.scalar(True)))


def months(first: datetime, end: datetime) -> set[tuple[int, int]]:
    """Year and month of every moment from the first to before the second."""
    last = end - timedelta(microseconds=1)
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return {(number // 12, number % 12 + 1) for number in numbers}


def _window_value(window: views.Window, start: datetime) -> datetime | date:
    return start.date() if pa.types.is_date32(window.arrow) else start


def _choices(asked: Any, known: Iterable[Any]) -> str:
    """What there is: what is close to the text that was asked for, or the first of it."""
    known = list(known)
    folded = {each.casefold(): each for each in known if isinstance(each, str)}
    close = difflib.get_close_matches(asked.casefold(), folded, 5) if isinstance(asked, str) else []
    if close:
        return f"close to it {'is' if len(close) == 1 else 'are'} {', '.join(repr(folded[each]) for each in close)}"
    values = sorted(known)
    more = f", and {len(values) - _SHOWN:,} more" if len(values) > _SHOWN else ""
    return f"there {'is' if len(values) == 1 else 'are'} {', '.join(map(repr, values[:_SHOWN]))}{more}"


def _key_text(of: FigureTable) -> str:
    return ", ".join([*(field.name for field in of.key), *([WINDOW] if of.window else [])])


def _given(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value!r}" if isinstance(value, str) else f"{name}={window_text(value)}"
        for name, value in values.items()
    )


def window_text(start: Any) -> str:
    """The start of a window as ``find`` reads it: ``2025-12-22T10:00``, or a date."""
    return f"{start:%Y-%m-%dT%H:%M}" if isinstance(start, datetime) else str(start)


def _amount(cents: Any) -> Decimal | None:
    return None if cents is None else Decimal(money.text_of(int(cents)))


def _number(value: Any) -> int | float | datetime | None:
    return int(value) if isinstance(value, Decimal) else value
