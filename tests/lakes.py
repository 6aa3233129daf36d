"""A lake as the pipeline writes it, without a broker: the real parser, counter and sinks, fed with payloads."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import NOTHING, MemoryWindows, Published

from processors import gains, paged_windows
from processors.columnar import MessageBatch, Poll
from processors.counting import Counter, TypedBatch
from processors.ingest import ParsedBatch, Parser
from processors.positions import Positions
from salesviews import generation, seed, typed
from salesviews.lake import Lake
from salesviews.typed import Interval, SourcePartition
from sinks.bronze import BronzeSink
from sinks.silver import Reached, SilverSink, Take

TOPIC = "ventes"
TOPIC_ID = "topic-1"
START = datetime(2026, 2, 27, 12, tzinfo=UTC)
DEDUP_DAYS = 30


@dataclass(frozen=True, eq=False)
class MadePoll(Poll):
    """A poll of messages that no Kafka sent: offsets from the first one on, one Kafka time for all.

    ``message_keys`` and ``message_headers`` are empty where no message has any.
    """

    payloads: Sequence[bytes | None] = ()
    first_offset: int = 0
    sent_at: datetime = START
    message_keys: Sequence[bytes | None] = ()
    message_headers: Sequence[list[tuple[str, bytes | None]] | None] = ()

    def values(self) -> list[bytes | None]:
        return list(self.payloads)

    def keys(self) -> list[bytes | None]:
        return list(self.message_keys) or [None] * len(self.payloads)

    def headers(self) -> list[Any]:
        return list(self.message_headers) or [None] * len(self.payloads)

    def offsets(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.arange(self.first_offset, self.first_offset + len(self.payloads), dtype=np.int64)

    def timestamps_ms(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.full(len(self.payloads), int(self.sent_at.timestamp() * 1000), np.int64)


class LakeMaker:
    """Ingest and views in one process, a batch at a time: ``send`` batches, then ``checkpoint``.

    :param memory: for the files of what the counter remembers; None: there are none
    """

    def __init__(self, target: Lake, clock: Callable[[], datetime] = lambda: START, memory: Path | None = None) -> None:
        self.lake = target
        self._memory = memory
        self._parser = Parser()
        self._clock = clock
        self._ends: dict[int, int] = {}
        self._batches = 0
        self._windows = MemoryWindows()
        self._reached = NOTHING
        self._start(None)

    def send(
        self,
        partition: int,
        payloads: Sequence[bytes | None],
        sent_at: datetime = START,
        skipped: int = 0,
        lost: int = 0,
        keys: Sequence[bytes | None] = (),
        headers: Sequence[list[tuple[str, bytes | None]] | None] = (),
    ) -> None:
        """A batch of one partition.

        :param skipped: positions before it that hold no message
        :param lost: how many of them Kafka deleted
        """
        start = self._ends.get(partition, 0)
        first = start + skipped
        end = self._ends[partition] = first + len(payloads)
        interval = Interval(SourcePartition(TOPIC_ID, partition, TOPIC), start, end, lost, end)
        poll = MadePoll((), payloads, first, sent_at, keys, headers)
        parsed: ParsedBatch = self._parser.parse(
            interval, MessageBatch(poll, slice(0, len(payloads)), TOPIC, partition)
        )
        self._bronze.add(parsed.bronze(sent_at + timedelta(seconds=1)))
        batch = TypedBatch(self._batches, interval, parsed.typed)
        self._batches += 1
        counted = self._counter.count([batch], self._positions)
        positions: Mapping[SourcePartition, int] = {mark.source: mark.end for mark in self._positions.marks}
        changed = [paged_windows.update(gained, self._windows)[0] for gained in counted.gains]
        self._silver.add(Take(counted.clean, counted.rejected, batch.last_sequence, positions, True, changed))
        self._reached = Reached(batch.last_sequence, positions, True)

    def go_over(self, positions: Any, sums: Sequence[seed.Sums], seeds: int) -> None:
        """Go on with the generation that a rebuild made, as new processes do: from its seeds.

        :param seeds: how many messages they take in the total order
        """
        self._batches = seeds
        self._windows = MemoryWindows()
        for view, rows in sums:
            paged_windows.update(gains.of_table(view, rows), self._windows)
        self._reached = Reached(typed.last_sequence(seeds - 1), {}, False)
        self._start(positions)

    def restart(self) -> None:
        """Start again from the last checkpoint, as new processes do: what was sent since is to be sent again."""
        positions, self._windows, self._reached, self._batches, self._ends = deepcopy(self._committed)
        self._start(positions)

    def _start(self, positions: Any) -> None:
        mine = generation.current(self.lake)
        self._bronze = BronzeSink(self.lake, lambda: None, mine)
        self._silver = SilverSink(self.lake, self._clock, mine, DEDUP_DAYS, Published(), 1)
        for sink in (self._bronze, self._silver):
            sink.start()
        self._silver.begin(self._reached, {})
        self._positions = Positions.from_state(positions)
        first_sequence = typed.first_sequence(self._batches)
        self._counter = Counter(self.lake, DEDUP_DAYS, first_sequence, self._positions, self._memory)

    def checkpoint(self) -> None:
        """Bronze, then a snapshot."""
        self._bronze.flush()
        self._silver.flush()
        self._silver.committed()
        self._counter.committed(typed.last_sequence(self._batches - 1))
        self._committed = deepcopy(
            (self._positions.to_state(), self._windows, self._reached, self._batches, self._ends)
        )
        for _ in self._silver.snapshot():
            pass

    def interrupted_checkpoint(self) -> None:
        """A checkpoint that a crash ends after its appends, before Kafka commits it; and a restart."""
        self._bronze.flush()
        self._silver.flush()
        self.restart()
