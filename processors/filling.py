"""The reading and writing of a replay: messages that Bronze lacks, from Kafka to Bronze and to views.

Its order and what a crash does is written in ``processors.replay``, whose step 4 this is.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
import pyarrow as pa

from processors.columnar import MessageBatch, Poll
from processors.identity import TopicIdentity
from processors.ingest import ParsedBatch, Parser, dead_letters, typed_messages
from processors.outbox import Outbox
from processors.spans import DeletedError, SpanReader
from processors.survey import Lack, Survey
from salesviews import generation, lake, topics
from salesviews.errors import GapError
from salesviews.lake import Lake
from salesviews.settings import Settings
from salesviews.tables.ranges import Ranges
from salesviews.typed import Interval, SourcePartition
from sinks import mending
from sinks.bronze import BronzeBatch, BronzeSink

_log = logging.getLogger(__name__)

COMMIT_MESSAGES = 400_000
PROGRESS_S = 5.0


class Fill:
    """One reading of what Bronze lacks: it may end early, and gives how far it got.

    :param wanted: by source partition, the positions to read
    :param seconds: by source partition, how long its reading took, is noted here
    """

    def __init__(
        self,
        settings: Settings,
        target: Lake,
        identity: TopicIdentity,
        found: Survey,
        wanted: Mapping[SourcePartition, Ranges],
        clock: Callable[[], datetime],
        seconds: dict[SourcePartition, float],
    ) -> None:
        self._lake = target
        self._identity = identity
        self._clock = clock
        self._seconds = seconds
        self._started_s = time.monotonic()
        self._state = found.state
        self._lacks = {lack.source.partition: lack for lack in found.lacks if len(wanted[lack.source])}
        self._wanted = {partition: wanted[lack.source] for partition, lack in self._lacks.items()}
        self._reader = SpanReader(settings, settings.topic, self._wanted)
        self._committed: dict[int, int] = {}
        self._handed_on = {
            partition: lack.handed_on
            for partition, lack in self._lacks.items()
            if len(lack.beyond & self._wanted[partition])
        }
        mine = 0
        if self._handed_on:  # else nothing is handed on, and Silver is not asked: it may be what is damaged
            mine = generation.current(target)
            topics.create(settings, mine)
        self._typed, self._rejects = topics.typees(settings, mine), topics.rejets(settings)
        self._outbox = Outbox(settings)
        self._parser = Parser()
        self._sink = BronzeSink(target, self._outbox.flush, mine)
        self._holes: list[pa.Table] = []
        self._gathered = 0

    def run(self) -> dict[SourcePartition, Ranges]:
        """Step 4. Gives the positions of which everything that Kafka gave is in Bronze now."""
        progress = _Progress(self._reader)
        try:
            for batches in self._reader.polls():
                if batches:
                    self._identity.check()
                for batch in batches:
                    self._take(batch)
                progress.show()
                if self._gathered >= COMMIT_MESSAGES and not self._commit():
                    break
            else:
                for lack in self._lacks.values():
                    self._close(lack)
                self._commit()
        except DeletedError as error:
            _log.warning("Kafka deleted positions while they were read; looking again: %s", error)
        return {
            lack.source: self._wanted[partition].within(0, self._committed.get(partition, 0))
            for partition, lack in self._lacks.items()
        }

    def _take(self, batch: MessageBatch) -> None:
        lack = self._lacks[batch.partition]
        offsets = batch.poll.offsets()[batch.rows]
        recorded = batch.rows.start + int(np.searchsorted(offsets, lack.recorded))
        before = replace(batch, rows=slice(batch.rows.start, recorded))
        if before.rows.start < before.rows.stop:
            interval = Interval(lack.source, before.first_offset, before.last_offset + 1, 0, lack.high)
            self._holes.append(self._lacking(lack, self._parser.parse(interval, before)).rows)
        if batch.partition in self._handed_on:
            handed_on = batch.rows.start + int(np.searchsorted(offsets, self._handed_on[batch.partition]))
            rest = replace(batch, rows=slice(handed_on, batch.rows.stop))
            if rest.rows.start < rest.rows.stop:
                self._hand_on(lack, rest, rest.last_offset + 1)
        self._gathered += len(offsets)

    def _hand_on(self, lack: Lack, batch: MessageBatch, end: int) -> None:
        """Hand on messages of the rest, which cover the positions from where it got to, up to ``end``."""
        start = self._handed_on[batch.partition]
        lost = max(lack.low - start, 0)
        parsed = self._parser.parse(Interval(lack.source, start, end, lost, lack.high), batch)
        if end > lack.counted:
            self._outbox.send(self._rejects, dead_letters(parsed))
            self._outbox.send(self._typed, typed_messages(parsed))
        self._sink.add(self._lacking(lack, parsed))
        self._handed_on[batch.partition] = end

    def _lacking(self, lack: Lack, parsed: ParsedBatch) -> BronzeBatch:
        """The rows that Bronze does not have: it may have some that it does not record, if it is a copy."""
        made = parsed.bronze(self._clock())
        is_missing = lack.missing.contains(made.rows.column("offset").to_numpy())
        return made if is_missing.all() else replace(made, rows=made.rows.filter(pa.array(is_missing)))

    def _close(self, lack: Lack) -> None:
        """Cover the positions after the last message: transaction markers, to which a group's offset may be set.

        Where Kafka deleted messages and has none after them, the next one that ingest reads will say so.
        """
        partition = lack.source.partition
        if lack.low <= self._handed_on.get(partition, lack.high) < lack.high:
            self._hand_on(lack, MessageBatch(Poll([]), slice(0, 0), lack.source.topic, partition), lack.high)

    def _commit(self) -> bool:
        """Steps 4a to 4c. False where Bronze was changed, so that what it lacks must be computed again."""
        holes, self._holes, self._gathered = self._holes, [], 0
        try:
            self._sink.flush()
        except GapError as error:
            _log.info("Bronze was replaced: %s", error)
            return False
        if holes:
            mended = mending.mend(self._lake, lake.BRONZE, pa.concat_tables(holes), self._state)
            if mended is None:
                return False
            self._state = mended
        for partition, lack in self._lacks.items():
            self._committed[partition] = self._reader.position(partition)
            if self._reader.has_read(partition):
                self._seconds.setdefault(lack.source, time.monotonic() - self._started_s)
        return True


class _Progress:
    """Says every few seconds how far the reading is."""

    def __init__(self, reader: SpanReader) -> None:
        self._reader = reader
        self._total = reader.left
        self._started_s = self._shown_s = time.monotonic()
        _log.info("%d positions to read", self._total)

    def show(self) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s < PROGRESS_S:
            return
        self._shown_s = now_s
        left = self._reader.left
        rate = (self._total - left) / (now_s - self._started_s)
        _log.info(
            "%d of %d positions read, %.0f a second, %s left",
            self._total - left,
            self._total,
            rate,
            f"about {left / rate:.0f} s" if rate else "an unknown time",
        )
