"""What the tables of the views that are kept in windows hold now, in an in-process DuckDB.

Changes go in, changed months and roll-ups come out.
Amounts are cents here. The tables are small (keys times windows, never sales), and are loaded from a snapshot at start.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import duckdb
import pyarrow as pa

from salesviews import event, money
from salesviews.lake import Lake, Table, of_roll_up, of_view
from salesviews.manifest import Manifest
from salesviews.tables import files
from salesviews.view_rows import ViewRows
from salesviews.views import MOTIF, QUALITE, Kept, RollUp, Source, Unit, View, kept

Month: TypeAlias = tuple[int, int]
"""Year and month."""

_PIECE_ROWS = 300_000


@dataclass(frozen=True)
class Put:
    """What was put into a view.

    :param months: those that changed, in order
    :param gained: how many sales, or messages that were received, it has more than before; None where it counts none
    """

    months: list[Month]
    gained: int | None


class Contents:
    """The view tables. Not for use by two threads at once."""

    def __init__(self, declared: Sequence[View] | None = None) -> None:
        self._connection = duckdb.connect(config={"threads": 1})
        self._connection.execute("SET TimeZone = 'UTC'")
        for view in kept(Kept.IN_WINDOWS) if declared is None else declared:
            columns = ", ".join(f"{name} {kind}" for name, kind in _columns(view).items())
            self._connection.execute(f"CREATE TABLE {_name(view)} ({columns})")

    def load(self, source: Lake, snapshot: Manifest, view: View) -> None:
        """Fill the empty table of a view from a snapshot."""
        listed = snapshot.listing(source, of_view(view))
        self._connection.register("rows", with_cents(files.rows(source, listed, listed.files), view))
        moments = {measure.name for measure in view.measures if measure.unit is Unit.MOMENT_US}
        names = ", ".join(f"epoch_us({each})" if each in moments else each for each in _columns(view))
        self._connection.execute(f"INSERT INTO {_name(view)} SELECT {names} FROM rows")
        self._connection.unregister("rows")

    def outcomes(self) -> tuple[int, int]:
        """How many messages counted, and how many were received and did not."""
        [(valid, others)] = self._connection.execute(
            f"SELECT coalesce(sum(messages) FILTER (motif = '{event.VALIDE}'), 0)::BIGINT, "
            f"coalesce(sum(messages) FILTER (motif NOT IN ('{event.VALIDE}', '{event.PERDU}')), 0)::BIGINT "
            f"FROM {_name(QUALITE)}"
        ).fetchall()
        return valid, others

    def put(self, rows: ViewRows) -> Put:
        """Replace the sums of keys and windows."""
        view = rows.view
        self._connection.register("changes", rows.to_arrow())
        window = f"changes.{view.window.column}"
        keys = " AND ".join(f"held.{name} = changes.{name}" for name in (*view.key_names, view.window.column))
        gained = None
        if view.count_name and (view.source is Source.SALES or MOTIF in view.key):
            received = f"changes.{MOTIF.name} <> '{event.PERDU}'" if MOTIF in view.key else "true"
            [(gained,)] = self._connection.execute(
                f"SELECT sum(changes.{view.count_name} - coalesce(held.{view.count_name}, 0))::BIGINT "
                f"FROM changes LEFT JOIN {_name(view)} AS held ON {keys} WHERE {received}"
            ).fetchall()
        sets = ", ".join(f"{name} = changes.{name}" for name in view.measure_names)
        names = [*view.key_names, view.window.column, *view.measure_names]
        self._connection.execute(
            f"MERGE INTO {_name(view)} AS held USING changes ON ({keys}) "
            f"WHEN MATCHED THEN UPDATE SET {sets} "
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}, annee, mois) "
            f"VALUES ({', '.join(f'changes.{name}' for name in names)}, year({window}), month({window}))"
        )
        months = self._connection.execute(
            f"SELECT DISTINCT year({window}), month({window}) FROM changes ORDER BY ALL"
        ).fetchall()
        self._connection.unregister("changes")
        return Put(months, gained)

    def pieces(self, view: View, months: Sequence[Month]) -> Iterator[list[Month]]:
        """Months in pieces of some rows: at least one month each."""
        held = dict(
            self._connection.execute(
                f"SELECT (annee, mois), count(*) FROM {_name(view)} WHERE {months_sql(months)} GROUP BY 1"
            ).fetchall()
        )
        piece: list[Month] = []
        rows = 0
        for month in months:
            if piece and rows + held[month] > _PIECE_ROWS:
                yield piece
                piece, rows = [], 0
            piece.append(month)
            rows += held[month]
        yield piece

    def of_view(self, view: View, months: Iterable[Month]) -> pa.Table:
        """The rows of some months, as the view's table has them."""
        order = ", ".join((view.window.column, *view.key_names))
        rows = self._connection.sql(f"SELECT * FROM {_name(view)} WHERE {months_sql(months)} ORDER BY {order}")
        return as_declared(rows.to_arrow_table(), of_view(view), view.money_names)

    def of_roll_up(self, roll_up: RollUp, months: Iterable[Month]) -> pa.Table:
        """The roll-up's rows: of some months where it is partitioned, else all."""
        held = _name(roll_up.view)
        relation = f"(FROM {held} WHERE {months_sql(months)})" if roll_up.partitioned else held
        rows = self._connection.sql(f"{roll_up.rows_sql(relation)} ORDER BY {', '.join(roll_up.group)}")
        return as_declared(rows.to_arrow_table(), of_roll_up(roll_up), roll_up.money_names)


def months_sql(months: Iterable[Month]) -> str:
    """A condition on the partition columns, for DuckDB and for Delta's overwrite alike."""
    return " OR ".join(f"(annee = {year} AND mois = {month})" for year, month in months)


def as_declared(rows: pa.Table, table: Table, is_money: Container[str]) -> pa.Table:
    """DuckDB's columns (a HUGEINT comes as DECIMAL(38,0)) as the table's; raises where a value does not fit."""
    columns = []
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        declared = table.schema.field(name).type
        if name in is_money:
            column = money.amounts_of(column)
        elif pa.types.is_timestamp(declared) and pa.types.is_decimal(column.type):
            column = column.cast(pa.int64())
        columns.append(column.cast(declared))
    return pa.table(columns, schema=table.schema)


def with_cents(rows: pa.Table, view: View) -> pa.Table:
    """The rows of a view's table, amounts in cents."""
    for name in view.money_names:
        place = rows.column_names.index(name)
        rows = rows.set_column(place, name, money.cents_column_of(rows.column(place)))
    return rows


def _name(view: View) -> str:
    return f"contenu_{view.name}"


def _columns(view: View) -> dict[str, str]:
    """The columns of a view's table here, in the order of its declaration."""
    return {
        **{dimension.name: "BIGINT" if pa.types.is_integer(dimension.arrow) else "VARCHAR" for dimension in view.key},
        view.window.column: "DATE" if pa.types.is_date32(view.window.arrow) else "TIMESTAMPTZ",
        **dict.fromkeys(view.measure_names, "HUGEINT"),
        "annee": "INTEGER",
        "mois": "INTEGER",
    }
