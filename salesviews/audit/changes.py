"""What a rebuild changes: the views and roll-ups of the snapshot before, compared with the new ones.

It is for the review of a change of rules or views: how many keys of each table, how much money, which keys the most.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from salesviews.audit.differences import name
from salesviews.views import Combination, RollUp, Unit, View


@dataclass(frozen=True)
class Total:
    """A measure of all rows of a view together; None where the view did not have it, or does not exist.

    A roll-up has none: means and distinct clients do not add up.
    """

    measure: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Example:
    """A value that is another one now; None where that side has no such row."""

    key: dict[str, Any]
    measure: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ViewChange:
    """
    :param view: a view's name, or a roll-up's
    :param is_comparable: both sides have the same key columns: otherwise all rows count as removed and added
    :param examples: the largest changes of the measure that changed the most
    """

    view: str
    is_comparable: bool
    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int
    totals: tuple[Total, ...]
    examples: tuple[Example, ...]

    @property
    def is_change(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True)
class Compared:
    """
    :param removed_keys: key columns and window of the rows that are no longer there
    """

    change: ViewChange
    removed_keys: pa.Table


def compare(of: View | RollUp, before: pa.Table | None, after: pa.Table, shown: int) -> Compared:
    """
    :param before: the rows that its table had; None where it did not exist, or cannot be read
    :param after: the rows of its table now
    :param shown: how many examples
    """
    keys, columns_of = (
        ([*of.key_names, of.window.column], of.measure_names)
        if isinstance(of, View)
        else (list(of.group), of.column_names)
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        is_comparable = before is not None and set(keys) <= set(before.column_names)
        held = before if before is not None else after.schema.empty_table()
        connection.register("before", held if is_comparable else after.schema.empty_table())
        connection.register("after", after)
        measures = [each for each in columns_of if each in held.column_names or not is_comparable]
        same = " AND ".join(f"b.{name(key)} = a.{name(key)}" for key in keys)
        differs = " OR ".join(f"b.{name(each)} IS DISTINCT FROM a.{name(each)}" for each in measures) or "false"
        columns = [f"coalesce(b.{name(key)}, a.{name(key)}) AS {name(key)}" for key in keys] + [
            f"{side}.{name(each)} AS {name(f'{side}_{each}')}" for each in measures for side in "ba"
        ]
        connection.execute(
            f"CREATE TEMP TABLE compared AS SELECT {', '.join(columns)}, "
            f"b.{name(keys[-1])} IS NULL AS is_added, a.{name(keys[-1])} IS NULL AS is_removed "
            f"FROM before AS b FULL OUTER JOIN after AS a ON {same} "
            f"WHERE b.{name(keys[-1])} IS NULL OR a.{name(keys[-1])} IS NULL OR {differs}"
        )
        [(added, removed, total)] = connection.execute(
            "SELECT count(*) FILTER (is_added), count(*) FILTER (is_removed), count(*) FROM compared"
        ).fetchall()
        change = ViewChange(
            of.name,
            is_comparable,
            0 if before is None else before.num_rows,
            after.num_rows,
            added,
            removed if is_comparable else held.num_rows if before is not None else 0,
            total - added - removed,
            tuple(_totals(connection, of, before, after)) if isinstance(of, View) else (),
            tuple(_examples(connection, keys, measures, of, shown)) if is_comparable else (),
        )
        gone = connection.sql(f"SELECT {', '.join(map(name, keys))} FROM compared WHERE is_removed").to_arrow_table()
        return Compared(change, gone)


def _totals(
    connection: duckdb.DuckDBPyConnection, view: View, before: pa.Table | None, after: pa.Table
) -> Iterator[Total]:
    for measure in view.measures:
        sums: list[str | None] = []
        for rows in (before, after):
            if rows is None or measure.name not in rows.column_names:
                sums.append(None)
                continue
            connection.register("rows", rows.select([measure.name]))
            combined = f"{measure.combination}({name(measure.name)})"
            nothing = ", 0" if measure.combination is Combination.SUM else ""
            [(total,)] = connection.execute(f"SELECT coalesce({combined}{nothing})::VARCHAR FROM rows").fetchall()
            connection.unregister("rows")
            sums.append(total)
        if sums[0] != sums[1]:
            yield Total(measure.name, *sums)


def _examples(
    connection: duckdb.DuckDBPyConnection,
    keys: Sequence[str],
    measures: Sequence[str],
    of: View | RollUp,
    shown: int,
) -> Iterator[Example]:
    if not measures:
        return
    money = of.money_names
    moments = {each.name for each in of.measures if each.unit is Unit.MOMENT_US} if isinstance(of, View) else set()

    def number(side: str, measure: str) -> str:
        column = name(f"{side}_{measure}")
        return f"coalesce({f'epoch_us({column})' if measure in moments else column}, 0)::DECIMAL(38,2)"

    sizes = {each: f"abs({number('a', each)} - {number('b', each)})" for each in measures}
    # Money first: a change of an amount says more than one of a count.
    [changed] = connection.execute(
        f"SELECT {', '.join(f'max({size})' for size in sizes.values())} FROM compared"
    ).fetchall()
    largest = [each for each, size in zip(measures, changed, strict=True) if size]
    if not largest:
        return
    measure = next((each for each in largest if each in money), largest[0])
    rows = connection.execute(
        f"SELECT {', '.join(f'{name(key)}::VARCHAR' for key in keys)}, {name(f'b_{measure}')}::VARCHAR, "
        f"{name(f'a_{measure}')}::VARCHAR FROM compared WHERE {sizes[measure]} > 0 "
        f"ORDER BY {sizes[measure]} DESC, {', '.join(map(name, keys))} LIMIT {shown}"
    ).fetchall()
    for *key, old, new in rows:
        yield Example(dict(zip(keys, key, strict=True)), measure, old, new)


def lines(changes: Sequence[ViewChange]) -> Iterator[str]:
    """The changes for a person."""
    if not any(change.is_change for change in changes):
        yield "No figure changes."
        return
    for change in changes:
        if not change.is_change:
            yield f"{change.view}: {change.rows_after:,} rows, no change"
            continue
        note = "" if change.is_comparable or not change.rows_before else " (its key columns are others now)"
        yield (
            f"{change.view}: {change.rows_before:,} -> {change.rows_after:,} rows{note}: "
            f"{change.added:,} added, {change.removed:,} removed, {change.changed:,} changed"
        )
        for total in change.totals:
            yield f"  {total.measure}: {_shown(total.before)} -> {_shown(total.after)} in all"
        for example in change.examples:
            key = ", ".join(f"{column} {value}" for column, value in example.key.items())
            yield f"  {key}: {example.measure} {_shown(example.before)} -> {_shown(example.after)}"


def _shown(value: str | None) -> str:
    return "none" if value is None else value
