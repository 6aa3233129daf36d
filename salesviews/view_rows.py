"""Rows of a view on their way from a take to a snapshot, by columns; a digest stands for a row's key and start.

Two rows are one if their digests are equal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from salesviews.arrays import Int64s, Measures, Words
from salesviews.views import View

DAY_MS = timedelta(days=1) // timedelta(milliseconds=1)


@dataclass(frozen=True, eq=False)
class ViewRows:
    """
    :param keys: the key columns
    :param starts_ms: where their windows start, milliseconds since 1970
    :param digests: of the keys at these starts
    :param measures: what is added, or what is held; amounts in cents. None where only the rows are named
    """

    view: View
    keys: pa.Table
    starts_ms: Int64s
    digests: Words
    measures: Measures | None

    def __len__(self) -> int:
        return len(self.starts_ms)

    def by_day(self) -> "ViewRows":
        """The rows in the order of the days of their starts, and then of their digests."""
        return self._at(np.lexsort((self.digests[1], self.digests[0], self.starts_ms // DAY_MS)))

    def chosen(self, mask: Any, measures: Measures) -> "ViewRows":
        """Some of the rows, with other measures."""
        if mask.all():
            return replace(self, measures=measures)
        return replace(self, measures=measures)._at(np.flatnonzero(mask))

    def part(self, start: int, end: int) -> "ViewRows":
        return self._at(np.arange(start, min(end, len(self))))

    def _at(self, places: Int64s) -> "ViewRows":
        return ViewRows(
            self.view,
            self.keys.take(pa.array(places)) if self.keys.num_columns else self.keys,
            self.starts_ms[places],
            self.digests[:, places],
            None if self.measures is None else self.measures[:, places],
        )

    def to_arrow(self) -> pa.Table:
        """Key columns, the window, and the measures as integers."""
        window = self.view.window
        if pa.types.is_date32(window.arrow):
            starts = pa.array((self.starts_ms // DAY_MS).astype(np.int32), pa.int32()).cast(pa.date32())
        else:
            starts = pa.array(self.starts_ms, pa.timestamp("ms", tz="UTC")).cast(window.arrow)
        columns = {name: self.keys.column(name) for name in self.view.key_names}
        columns[window.column] = starts
        if self.measures is not None:
            for name, measure in zip(self.view.measure_names, self.measures, strict=True):
                is_wide = measure.dtype == object
                columns[name] = pa.array(measure.tolist(), pa.decimal128(38, 0)) if is_wide else pa.array(measure)
        return pa.table(columns)

    def rows(self) -> Iterator[tuple[tuple[Any, ...], int, list[int]]]:
        """Key, start and measures, row by row."""
        keys = zip(*(column.to_pylist() for column in self.keys.columns), strict=True) if self.view.key else None
        measures = self.measures.T.tolist() if self.measures is not None else [[]] * len(self)
        for place, start_ms in enumerate(self.starts_ms.tolist()):
            yield next(keys) if keys is not None else (), start_ms, measures[place]


def newest(parts: Sequence[ViewRows]) -> ViewRows:
    """The rows of parts of one view, in which a later one replaces an earlier one."""
    if len(parts) == 1:
        return parts[0]
    whole = ViewRows(
        parts[0].view,
        pa.concat_tables([part.keys for part in parts]),
        np.concatenate([part.starts_ms for part in parts]),
        np.concatenate([part.digests for part in parts], axis=1),
        np.concatenate([part.measures for part in parts if part.measures is not None], axis=1),
    )
    first, second = whole.digests
    order = np.lexsort((np.arange(len(whole)), second, first))
    is_last = np.append((first[order][1:] != first[order][:-1]) | (second[order][1:] != second[order][:-1]), True)
    return whole._at(np.sort(order[is_last]))
