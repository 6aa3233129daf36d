"""The Bronze sink: every raw message, as received, appended exactly once.

When it is called: ``add`` for each parsed batch; ``flush`` first thing in a checkpoint, before typed batches and
offsets are committed, and once more when a partition is taken away. What a failure does: the checkpoint is not
committed and the process ends; its successor reads the same messages again, and this sink skips the positions that the
table records.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

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

    :param mine: the generation of the figures for which the same batches are typed
    """

    def __init__(self, target: lake.Lake, mine: int = 0) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self._lake = target
        self._generation = mine
        self._batches: dict[SourcePartition, list[BronzeBatch]] = defaultdict(list)

    def setup(self) -> None:
        self._lake.create(lake.BRONZE)

    def add(self, value: BronzeBatch, **_message: Any) -> None:  # type: ignore[override] # the message is in the value
        self._batches[value.interval.source].append(value)

    def flush(self) -> None:
        """Append what was gathered.

        :raises GapError: if positions between the table's and these are missing
        :raises FencedError: if another generation has taken over, which does not read the typed batches of this one;
            what was gathered is in the table by then
        """
        batches, self._batches = self._batches, defaultdict(list)
        streams = [_stream(source, batches[source]) for source in sorted(batches)]
        for source in batches:
            self._check_no_gap(source, batches[source][0].interval)
        if streams:
            append_once(self._lake, lake.BRONZE, streams)
            generation.check(self._lake, self._generation)

    def _check_no_gap(self, source: SourcePartition, first: Interval) -> None:
        end = covered(self._lake, lake.BRONZE, stream_name(source)) or 0
        if first.start > end:
            raise GapError(
                f"Bronze holds {source} up to position {end}, but ingest goes on at {first.start}: "
                f"{first.start - end} positions would be missing from it. Was Bronze deleted or restored? "
                "`salesviews replay` reads the topic again from the beginning; nothing is counted twice."
            )


def _stream(source: SourcePartition, batches: list[BronzeBatch]) -> Stream:
    return Stream(
        stream_name(source),
        pa.concat_tables([batch.rows for batch in batches]),
        "offset",
        max(batch.interval.end for batch in batches),
    )
