"""What the view tables hold now, in an in-process DuckDB: changes go in, changed months and roll-ups come out.

Amounts are cents here. The tables are small (keys times windows, never sales), and are loaded from a snapshot at start.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import duckdb
import pyarrow as pa

from salesviews import money
from salesviews.lake import Lake, Table, of_view
from salesviews.views import VIEWS, Dimension, Measure, RollUp, View

Month: TypeAlias = tuple[int, int]
"""Year and month."""

_DAY_MS = timedelta(days=1) // timedelta(milliseconds=1)


@dataclass(frozen=True)
class Change:
    """The current sums of a key in a window.

    :param key: values of the view's key columns
    :param start_ms: start of the window, milliseconds since 1970 UTC
    :param measures: values of the view's measures; amounts in cents
    """

    key: tuple[str, ...]
    start_ms: int
    measures: Sequence[int]


class Contents:
    """The view tables. Not for use by two threads at once."""

    def __init__(self, declared: Sequence[View] = VIEWS) -> None:
        self._connection = duckdb.connect(config={"threads": 1})
        self._connection.execute("SET TimeZone = 'UTC'")
        for view in declared:
            self._connection.execute(f"CREATE TABLE {_name(view)} ({_columns_sql(view)})")

    def load(self, source: Lake, versions: Mapping[str, int]) -> None:
        """Fill the empty tables from the versions of a snapshot."""
        for view in VIEWS:
            table = of_view(view)
            columns = [*view.key_names, view.window.column, *map(_from_table_sql, view.measures), "annee", "mois"]
            scan = source.scan_sql(table, versions[table.name])
            self._connection.execute(f"INSERT INTO {_name(view)} SELECT {', '.join(columns)} FROM {scan}")

    def put(self, view: View, changes: Sequence[Change]) -> list[Month]:
        """Replace the sums of keys and windows. Gives the months that changed, in order."""
        self._connection.register("changes", _changes_table(view, changes))
        keys = " AND ".join(f"held.{name} = changes.{name}" for name in (*view.key_names, view.window.column))
        sets = ", ".join(f"{_column(measure)} = changes.{_column(measure)}" for measure in view.measures)
        names = [*view.key_names, view.window.column, *map(_column, view.measures)]
        self._connection.execute(
            f"MERGE INTO {_name(view)} AS held USING changes ON ({keys}) "
            f"WHEN MATCHED THEN UPDATE SET {sets} "
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}, annee, mois) "
            f"VALUES ({', '.join(f'changes.{name}' for name in names)}, "
            f"year(changes.{view.window.column}), month(changes.{view.window.column}))"
        )
        months = self._connection.execute(
            f"SELECT DISTINCT year({view.window.column}), month({view.window.column}) FROM changes ORDER BY ALL"
        ).fetchall()
        self._connection.unregister("changes")
        return months

    def of_view(self, view: View, months: Iterable[Month]) -> pa.Table:
        """The rows of some months, as the view's table has them."""
        columns = [*view.key_names, view.window.column, *map(_to_table_sql, view.measures), "annee", "mois"]
        return self._arrow(
            f"SELECT {', '.join(columns)} FROM {_name(view)} WHERE {months_sql(months)} "
            f"ORDER BY {', '.join((view.window.column, *view.key_names))}",
            of_view(view),
        )

    def of_roll_up(self, roll_up: RollUp, table: Table, months: Iterable[Month]) -> pa.Table:
        """The roll-up's rows: of some months where it is partitioned, else all."""
        columns = [*roll_up.group, *(f"{sql} AS {name}" for name, sql, _ in roll_up.columns)]
        where = f"WHERE {months_sql(months)}" if roll_up.partitioned else ""
        group = ", ".join(roll_up.group)
        return self._arrow(
            f"SELECT {', '.join(columns)} FROM {_name(roll_up.view)} {where} GROUP BY {group} ORDER BY {group}", table
        )

    def _arrow(self, query: str, table: Table) -> pa.Table:
        return self._connection.sql(query).to_arrow_table().cast(table.schema)


def months_sql(months: Iterable[Month]) -> str:
    """A condition on the partition columns, for DuckDB and for Delta's overwrite alike."""
    return " OR ".join(f"(annee = {year} AND mois = {month})" for year, month in months)


def _name(view: View) -> str:
    return f"contenu_{view.name}"


def _column(measure: Measure) -> str:
    return f"{measure.name}_cents" if measure.is_money else measure.name


def _to_table_sql(measure: Measure) -> str:
    return f"{money.decimal_sql(_column(measure))} AS {measure.name}" if measure.is_money else measure.name


def _from_table_sql(measure: Measure) -> str:
    return f"({measure.name} * {money.CENTS_A_UNIT})::BIGINT" if measure.is_money else measure.name


def _window_sql(view: View) -> str:
    return "DATE" if pa.types.is_date32(view.window.arrow) else "TIMESTAMPTZ"


def _columns_sql(view: View) -> str:
    def dimension_sql(dimension: Dimension) -> str:
        return f"{dimension.name} {'BIGINT' if pa.types.is_integer(dimension.arrow) else 'VARCHAR'}"

    columns = [
        *map(dimension_sql, view.key),
        f"{view.window.column} {_window_sql(view)}",
        *(f"{_column(measure)} BIGINT" for measure in view.measures),
        "annee INTEGER",
        "mois INTEGER",
    ]
    return ", ".join(columns)


def _changes_table(view: View, changes: Sequence[Change]) -> pa.Table:
    columns = {
        dimension.name: pa.array([change.key[place] for change in changes], dimension.arrow)
        for place, dimension in enumerate(view.key)
    }
    starts = pa.array([change.start_ms for change in changes], pa.int64())
    if pa.types.is_date32(view.window.arrow):
        columns[view.window.column] = pa.array([change.start_ms // _DAY_MS for change in changes], pa.int32()).cast(
            pa.date32()
        )
    else:
        columns[view.window.column] = starts.cast(pa.timestamp("ms", tz="UTC")).cast(view.window.arrow)
    for place, measure in enumerate(view.measures):
        columns[_column(measure)] = pa.array([change.measures[place] for change in changes], pa.int64())
    return pa.table(columns)
