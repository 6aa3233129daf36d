"""Checkpoints and snapshots of a Silver sink, without Kafka: what views does around it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from processors import gains, paged_windows
from salesviews import manifest
from salesviews.view_rows import ViewRows
from salesviews.views import View
from sinks.silver import Reached, SilverSink

NOTHING = Reached(manifest.EMPTY_SEQUENCE, {}, False)


class MemoryWindows:
    """Windowed state in memory: bytes, as Quix Streams has them."""

    def __init__(self, held: Mapping[Any, bytes] | None = None) -> None:
        self.held: dict[Any, bytes] = dict(held or {})

    def get_window(self, start_ms: int, end_ms: int, prefix: bytes, default: Any = None) -> Any:
        value = self.held.get((start_ms, end_ms, prefix))
        return default if value is None else paged_windows.loads(value)

    def update_window(self, start_ms: int, end_ms: int, value: Any, timestamp_ms: int, prefix: bytes) -> None:
        assert start_ms <= timestamp_ms < end_ms
        self.held[start_ms, end_ms, prefix] = paged_windows.dumps(value)


class Published:
    """A ``Publisher`` that keeps what it gets."""

    def __init__(self) -> None:
        self.rows: list[ViewRows] = []
        self.sequence = manifest.EMPTY_SEQUENCE

    def publish(self, rows: ViewRows) -> None:
        self.rows.append(rows)

    def finish(self, sequence: int) -> None:
        self.sequence = sequence


def rows_of(view: View, *rows: tuple[tuple[Any, ...], int, Sequence[int]]) -> ViewRows:
    """Rows of a view: key, start of the window, and measures."""
    columns = {
        dimension.name: pa.array([key[place] for key, _, _ in rows], dimension.arrow)
        for place, dimension in enumerate(view.key)
    }
    columns["start_ms"] = pa.array([start_ms for _, start_ms, _ in rows], pa.int64())
    for place, name in enumerate(view.measure_names):
        columns[name] = pa.array([measures[place] for _, _, measures in rows], pa.decimal128(38, 0))
    return gains.of_table(view, pa.table(columns))


def write_snapshot(sink: SilverSink) -> None:
    """A checkpoint that Kafka commits, and the snapshot of it."""
    sink.flush()
    sink.committed()
    for _ in sink.snapshot():
        pass
