"""What ``ventes_clean`` says of a range of the total order, in pieces: only files that have some of it are opened."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from salesviews import lake
from salesviews.lake import Lake
from salesviews.tables import files
from salesviews.tables.files import Span

_PIECE_ROWS = 1_000_000
_BATCH_ROWS = 50_000

Batches: TypeAlias = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Piece:
    """A range of the total order, with some ``_PIECE_ROWS`` sales.

    :param last: its last place
    :param batches: its sales, in any order; to be read before the next piece
    """

    last: int
    batches: Batches


class History:
    """One version of ``ventes_clean``.

    :raises LakeError: if it cannot be read, here or later
    """

    def __init__(self, source: Lake) -> None:
        self._lake = source
        handle = source.open(lake.CLEAN)
        self._listing = files.of_handle(handle, lake.CLEAN)
        self._spans = files.spans(handle, lake.CLEAN, "sequence")

    @property
    def origin(self) -> str:
        """Names the table: one that was deleted and created again is another."""
        return self._listing.table_id

    def pieces(self, first: int, before: int, columns: Sequence[str]) -> Iterator[Piece]:
        """The sales from a place on, and before another, piece by piece in the total order."""
        spans = [span for span in self._spans if span.low < before and span.high >= first]
        for start, end in pairwise(_cuts(spans, first, before)):
            yield Piece(end - 1, self._batches(spans, start, end, columns))

    def _batches(self, spans: Sequence[Span], first: int, before: int, columns: Sequence[str]) -> Batches:
        wanted = tuple(dict.fromkeys((*columns, "sequence")))
        for span in spans:
            if span.low >= before or span.high < first:
                continue
            for batch in files.batches_within(
                self._lake, self._listing, span, wanted, "sequence", (first, before - 1), _BATCH_ROWS
            ):
                sequences = batch.column("sequence").to_numpy()
                is_within = (sequences >= first) & (sequences < before)
                yield batch if is_within.all() else batch.filter(pa.array(is_within))


def _cuts(spans: Sequence[Span], first: int, before: int) -> list[int]:
    """Places, from the first one on, between which some ``_PIECE_ROWS`` sales are.

    The sales of a file count as if they were evenly spread over its span. A cut is made after a whole file where that
    is near, so that few files are read twice.
    """
    known = [span for span in spans if span.is_known]
    lowest = min((span.low for span in known), default=first)
    lows = np.array([span.low for span in known], np.float64)
    widths = np.array([span.high - span.low + 1 for span in known], np.float64)
    counts = np.array([span.rows for span in known], np.float64)

    def rows_before(place: int) -> float:
        return float((counts * np.clip((place - lows) / widths, 0, 1)).sum())

    cuts = [first]
    ends = sorted({min(span.high + 1, before) for span in known} | {before})
    while cuts[-1] < before:
        target = rows_before(cuts[-1]) + _PIECE_ROWS
        end = ends[bisect_left(ends, target, hi=len(ends) - 1, key=rows_before)]
        inside = range(max(cuts[-1], lowest) + 1, end)
        if rows_before(end) > target + _PIECE_ROWS and inside:
            end = inside[bisect_left(inside, target, hi=len(inside) - 1, key=rows_before)]
        cuts.append(end)
    return cuts
