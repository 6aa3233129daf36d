"""The Bronze sink: every raw message, as received, appended exactly once.

When it is called: ``add`` for each parsed batch; ``flush`` first thing in a checkpoint, before the offsets are
committed, and once more when a partition is taken away. What a failure does: the checkpoint is not committed and the
process ends; its successor reads the same messages again, and this sink skips the positions that the table records.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from quixstreams.sinks import BaseSink

from salesviews import generation, lake
from salesviews.errors import GapError
from salesviews.typed import Interval, SourcePartition
from sinks.appends import Stream, append_once, covered


@dataclass(frozen=True)
class BronzeBatch:
    """Rows of ``lake.BRONZE`` of one source partition, and the interval of its positions that they cover."""

    interval: Interval
    rows: pa.Table


def stream_name(source: SourcePartition) -> str:
    """The application transaction under which Bronze records a source partition's positions."""
    return f"bronze/{source.topic_id}/{source.partition}"


class BronzeSink(BaseSink):
    """Gathers ``BronzeBatch`` values, and appends them in one Delta commit a checkpoint.

    :param before_append: returns when everything that was produced of the batches is in Kafka; an error of it is a
        failure of the flush
    :param mine: the generation of the figures for which the same batches are typed
    """

    def __init__(self, target: lake.Lake, before_append: Callable[[], object], mine: int = 0) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self._lake = target
        self._before_append = before_append
        self._generation = mine
        self._batches: dict[SourcePartition, list[BronzeBatch]] = defaultdict(list)

    def setup(self) -> None:
        self._lake.create(lake.BRONZE)

    def add(self, value: BronzeBatch, **_message: Any) -> None:  # type: ignore[override] # the message is in the value
        self._batches[value.interval.source].append(value)

    def flush(self) -> None:
        """Append what was gathered.

        1. ``before_append``.
        2. Append, with the positions.

        A crash between them leaves batches in Kafka that Bronze does not have, and that are produced again. The other
        way round, Bronze could record positions that ``views`` never gets, once the group's offsets are reset.

        :raises GapError: if positions between the table's and these are missing
        :raises FencedError: if another generation has taken over, which does not read the typed batches of this one;
            what was gathered is in the table by then
        """
        batches, self._batches = self._batches, defaultdict(list)
        if not batches:
            return
        for source in batches:
            self.check_joins_on(source, batches[source][0].interval.start)
        self._before_append()
        append_once(self._lake, lake.BRONZE, [_stream(source, batches[source]) for source in sorted(batches)])
        generation.check(self._lake, self._generation)

    def covered(self, source: SourcePartition) -> int:
        """The position before which Bronze records every message of a source partition."""
        return covered(self._lake, lake.BRONZE, stream_name(source)) or 0

    def check_joins_on(self, source: SourcePartition, start: int) -> None:
        """:raises GapError: if positions between the table's and ``start`` are missing"""
        end = self.covered(source)
        if start > end:
            raise GapError(
                f"Bronze holds {source} up to position {end}, but ingest goes on at {start}: "
                f"{start - end} positions would be missing from it. Was Bronze deleted or restored, or the group's "
                "offset reset? `salesviews replay` reads what is missing from Kafka again; nothing is counted twice."
            )


def _stream(source: SourcePartition, batches: list[BronzeBatch]) -> Stream:
    """The batches as one stream; where one repeats positions of those before it, they are in it once."""
    rows: list[pa.Table] = []
    end = 0
    for batch in batches:
        offsets = batch.rows.column("offset").to_numpy()
        rows.append(batch.rows.slice(int(np.searchsorted(offsets, end))))
        end = max(end, batch.interval.end)
    return Stream(stream_name(source), pa.concat_tables(rows), "offset", end)
