"""What rows of a take add to a view: its rows, by columns."""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from processors import key_digests
from salesviews.arrays import Measures
from salesviews.view_rows import ViewRows
from salesviews.views import View


def of_relation(connection: duckdb.DuckDBPyConnection, view: View, relation: str) -> ViewRows:
    """What the rows of a relation add.

    :param relation: with the columns of the view's source
    """
    found = connection.sql(view.sums_sql(relation)).to_arrow_table()
    return of_table(view, found)


def touched(connection: duckdb.DuckDBPyConnection, view: View, relation: str) -> ViewRows:
    """The rows to which the rows of a relation would add, without measures."""
    columns = [f'{dimension.sql} AS "{dimension.name}"' for dimension in view.key]
    found = connection.sql(
        f"SELECT DISTINCT {', '.join([*columns, f'{view.start_ms_sql} AS start_ms'])} FROM {relation}"
    )
    return of_table(view, found.to_arrow_table())


def of_table(view: View, rows: pa.Table) -> ViewRows:
    """
    :param rows: the key columns, ``start_ms``, and the measures as integers; or without measures. Each row once.
    """
    keys = rows.select(view.key_names)
    starts_ms = rows.column("start_ms").to_numpy()
    digests = key_digests.of_columns(keys.columns) if view.key else key_digests.of_nothing(len(rows))
    names = [name for name in view.measure_names if name in rows.column_names]
    measures = _integers([rows.column(name) for name in names]) if names else None
    return ViewRows(view, keys, starts_ms, key_digests.at_starts(digests, starts_ms), measures).by_day()


def _integers(columns: Sequence[pa.ChunkedArray]) -> Measures:
    try:
        narrow: list[Any] = [column.cast(pa.int64()).to_numpy() for column in columns]
        return np.stack(narrow)
    except pa.ArrowInvalid:  # one does not fit
        wide = np.empty((len(columns), len(columns[0])), object)
        for row, column in enumerate(columns):
            wide[row] = list(map(int, column.to_pylist()))
        return wide
