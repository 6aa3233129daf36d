"""A tumbling window whose value is a table: Quix Streams' windowed state, with all that a take adds as one row.

Quix Streams has a window a key, at tens of microseconds a key each time; real catalogues have one to three keys a sale.
Here a window is of a view and a day, and its value is the view's rows of that day, in pages (``processors.pages``). The
store, its transactions, changelogs and recovery are Quix Streams' own; a page is a window of the key ``<view>/<page>``,
and the window of the key ``<view>`` says how many pages and rows there are.

The windows of a view may be shorter than a day: then their starts are a part of the rows' digests.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import orjson
from quixstreams.dataframe.windows.time_based import FixedTimeWindow

from processors import pages
from processors.pages import Rows
from salesviews.arrays import Int64s, Measures, Words
from salesviews.view_rows import DAY_MS, ViewRows
from salesviews.views import View

_NEVER_MS = 10**15
"""Grace of the windows: longer than any data, as late sales always count."""


class Windows(Protocol):
    """What is asked of Quix Streams' ``WindowedPartitionTransaction``."""

    def get_window(self, start_ms: int, end_ms: int, prefix: bytes, default: Any = None) -> Any: ...

    def update_window(self, start_ms: int, end_ms: int, value: Any, timestamp_ms: int, prefix: bytes) -> None: ...


def dumps(value: Any) -> bytes:
    """What Quix Streams keeps: pages are bytes already, all else is JSON."""
    return value if isinstance(value, bytes) else orjson.dumps(value)


def loads(data: bytes) -> Any:
    return data if data.startswith(pages.TAG) else orjson.loads(data)


def update(gained: ViewRows, windows: Windows) -> tuple[ViewRows, int]:
    """Add rows, in the order of ``ViewRows.by_day``, to the windows of their days.

    :return: the same rows with the measures that are held now, and how many pages were written. Where nothing is added:
        those of the rows that are held.
    """
    days = gained.starts_ms // DAY_MS
    bounds = [*np.flatnonzero(np.diff(days, prepend=days[:1] - 1)).tolist(), len(days)]
    held: list[Measures] = []
    is_held = np.ones(len(days), np.bool_)
    written = 0
    for start, end in pairwise(bounds):
        window = _Window(gained.view, int(days[start]) * DAY_MS, windows)
        digests = gained.digests[:, start:end]
        if gained.measures is None:
            is_held[start:end], measures = window.read(digests)
            held.append(measures)
        else:
            held.append(window.add(Rows(digests, gained.measures[:, start:end])))
            written += window.written
    measures = np.concatenate(held, axis=1) if held else pages.no_rows(len(gained.view.measures)).measures
    return gained.chosen(is_held, measures), written


class _Window:
    """The table of a view and a day."""

    def __init__(self, view: View, start_ms: int, windows: Windows) -> None:
        self._view = view
        self._combinations = [measure.combination for measure in view.measures]
        self._prefix = view.name.encode()
        self._start_ms = start_ms
        self._windows = windows
        self._depth: int
        self._rows: int
        self._depth, self._rows = self._get(self._prefix) or (0, 0)
        self.written = 0
        """How many pages were."""

    def read(self, digests: Words) -> tuple[Any, Measures]:
        """Which of the rows are there, and the measures of each (of any, where it is not)."""
        numbers = pages.numbers(digests, self._depth)
        held = self._joined(np.unique(numbers), self._depth)
        is_held, places = pages.found(held, digests)
        if not len(held):
            return is_held, np.zeros((len(self._combinations), digests.shape[1]), np.int64)
        return is_held, held.measures[:, places]

    def add(self, gained: Rows) -> Measures:
        """Add rows; gives what is held of them then."""
        numbers = np.unique(pages.numbers(gained.digests, self._depth))
        held = self._joined(numbers, self._depth)
        total, places = pages.merged(held, gained, self._combinations)
        rows = self._rows + len(total) - len(held)
        depth = pages.depth_for(rows, self._depth)
        if depth == self._depth:
            self._write(total, depth)
        else:  # the pages that gained nothing are cut too
            others = np.setdiff1d(np.arange(1 << self._depth), numbers)
            whole, _ = pages.merged(total, self._joined(others, self._depth), self._combinations)
            self._write(whole, depth)
            self._empty(np.setdiff1d(np.arange(1 << self._depth), pages.numbers(whole.digests, depth)))
        if (depth, rows) != (self._depth, self._rows):
            self._set(self._prefix, (depth, rows))
        return total.measures[:, places]

    def _joined(self, numbers: Int64s, depth: int) -> Rows:
        """The rows of some pages, in order of their digests."""
        order = np.argsort(pages.reversed_bits(numbers, depth))
        found = [self._get(self._page(int(number))) for number in numbers[order]]
        width = len(self._combinations)
        parts = [pages.decode(page, width) for page in found if page is not None]
        return pages.joined(parts) if parts else pages.no_rows(width)

    def _write(self, rows: Rows, depth: int) -> None:
        """Write the pages that hold these rows: all rows of each such page."""
        numbers = pages.numbers(rows.digests, depth)
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            self._set(self._page(int(numbers[start])), pages.encode(rows.part(int(start), int(end))))
        self.written += len(starts)

    def _empty(self, numbers: Int64s) -> None:
        """Write pages without rows over those whose rows are all in others now."""
        for number in numbers.tolist():
            self._set(self._page(number), pages.encode(pages.no_rows(len(self._combinations))))
        self.written += len(numbers)

    def _page(self, number: int) -> bytes:
        return b"%s/%d" % (self._prefix, number)

    def _get(self, prefix: bytes) -> Any:
        return self._windows.get_window(self._start_ms, self._start_ms + DAY_MS, prefix)

    def _set(self, prefix: bytes, value: Any) -> None:
        self._windows.update_window(self._start_ms, self._start_ms + DAY_MS, value, self._start_ms, prefix)


class PagedWindow(FixedTimeWindow):
    """Quix Streams' tumbling windows of a day, to which a row of the dataframe brings what a take adds to all views.

    ``current()`` gives under ``prise`` the take with the rows that it touched, as they are then.

    :param name: of the store
    """

    def __init__(self, name: str, dataframe: Any) -> None:
        super().__init__(DAY_MS, _NEVER_MS, name, dataframe)

    def process_window(
        self,
        value: Any,
        key: Any,
        timestamp_ms: int,
        headers: Any,  # noqa: ARG002 - of the base
        transaction: Any,
    ) -> tuple[Iterable[tuple[Any, dict[str, Any]]], Iterable[tuple[Any, dict[str, Any]]]]:
        """
        :param value: has ``gains``, a sequence of ``ViewRows``, and ``held``, which gives what goes on
        """
        changed = [update(gained, transaction) for gained in value.gains]
        held = value.held([rows for rows, _ in changed], sum(written for _, written in changed))
        return [(key, {"start": timestamp_ms, "end": timestamp_ms + DAY_MS, "prise": held})], ()

    # What the base asks of windows whose values are combined one by one; none of it is called.

    collect = False
    aggregate = True

    def _initialize_value(self) -> Any:
        raise NotImplementedError

    def _aggregate_value(self, state_value: Any, value: Any, timestamp: int) -> Any:
        raise NotImplementedError

    def _merge_values(self, a: Any, b: Any) -> Any:
        raise NotImplementedError

    def _collect_value(self, value: Any) -> Any:
        raise NotImplementedError

    def _results(self, aggregated: Any, collected: Sequence[Any], start: int, end: int) -> dict[str, Any]:
        raise NotImplementedError
