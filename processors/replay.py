"""Replay: what Bronze lacks is read from Kafka again, beside a live ingest, one that refuses to go on, or none.

The consumer group is left alone: it cannot be rewound while it has members, and need not be. Of each source partition,
the rows of Bronze are compared with what Kafka holds:

- *Holes* are positions that Bronze records as held and has no row of. They were handed to ``views`` before Bronze
  recorded them, so they are only appended, in commits that count the mendings (``sinks.mending``).
- *The rest*, from the position that Bronze records, goes the way that it goes in ingest: through the same sink. With it
  goes what comes before it and is not counted yet: an ingest of an earlier generation may have handed that on to
  nobody who counts now. ``views`` and Bronze skip what they have.

In order:

1. Bronze is created where there is none.
2. Data files that its log names and that are gone are taken out of the log; those that cannot be read are moved
   away before, if that is asked for.
3. What Bronze lacks is computed (``processors.survey``). Where Kafka can give nothing of it, that is the result.
4. Kafka is read (while the topic is still that of 3), and now and then:
   a. Dead letters and typed batches of the rest are in Kafka.
   b. Bronze is appended with the rest, and records a later position.
   c. Bronze is mended with the holes.
5. It goes back to 2, also where 4 found Bronze changed by another replay, or where a commit may not have landed.

A crash after 2 leaves files out of the log, which is to say holes. A crash before 4b leaves typed batches that are
produced again, and that ``views`` skips. A crash anywhere else leaves a Bronze that lacks less: it can be run again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
from confluent_kafka import KafkaException
from deltalake.exceptions import DeltaError

from processors.filling import Fill
from processors.survey import Survey, Surveyor
from salesviews import lake
from salesviews.errors import ReplayError, SalesviewsError, UnreadableError
from salesviews.lake import Lake
from salesviews.machine import broker
from salesviews.replay_result import Partition, Result
from salesviews.replay_result import first as first_ranges
from salesviews.settings import Settings
from salesviews.tables import files, holdings
from salesviews.tables.ranges import NONE, Ranges
from salesviews.typed import SourcePartition
from sinks import mending

KAFKA_S = 15.0
ATTEMPTS = 5
"""How often it begins again without Bronze lacking less."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Options:
    """
    :param since: Kafka time from which on positions are looked at; None is the beginning
    :param drop_unreadable: read every data file whole, and take those that cannot be read out of Bronze
    """

    since: datetime | None = None
    drop_unreadable: bool = False
    memory_mb: int = holdings.DEFAULT_MEMORY_MB


def run(settings: Settings, options: Options, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Result:
    """Fill Bronze.

    :raises ReplayError: if that cannot be done; what was added so far is right
    """
    try:
        broker.wait_until_ready(settings, KAFKA_S)
        return _Replay(settings, options, clock).run()
    except ReplayError:
        raise
    except (SalesviewsError, DeltaError, OSError, duckdb.Error, pa.ArrowException) as error:
        raise ReplayError(f"The replay could not be made: {error}") from error
    except KafkaException as error:
        raise ReplayError(f"Kafka at {settings.broker} does not answer: {error.args[0].str()}. Is it up?") from error


class _Replay:
    def __init__(self, settings: Settings, options: Options, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._options = options
        self._clock = clock
        self._started_s = time.monotonic()
        self._lake = Lake.of(settings)
        since_ms = None if options.since is None else (options.since - _EPOCH) // timedelta(milliseconds=1)
        self._surveyor = Surveyor(settings, self._lake, since_ms, options.memory_mb)
        self._files_gone: list[str] = []
        self._files_unreadable: list[str] = []
        self._is_verified = False
        self._seconds: dict[SourcePartition, float] = {}

    def run(self) -> Result:
        self._lake.create(lake.BRONZE)
        first: Survey | None = None
        table_id, least, attempts = "", -1, 0
        read: dict[SourcePartition, Ranges] = {}
        while True:
            found = self._survey()
            first = first or found
            if found.table_id != table_id:  # what was read went to another table
                table_id, read = found.table_id, {}
            wanted = {lack.source: lack.wanted(read.get(lack.source, NONE)) for lack in found.lacks}
            left = sum(lack.lacking(read.get(lack.source, NONE)).positions for lack in found.lacks)
            if not left:
                return self._result(first, found)
            attempts = 0 if left < least or least < 0 else attempts + 1
            if attempts == ATTEMPTS:
                raise ReplayError(
                    f"Bronze still lacks {left} positions after {ATTEMPTS} attempts that changed nothing. Does another "
                    "replay fill it, is there space, and are there rights to write?"
                )
            least = left
            fill = Fill(self._settings, self._lake, self._surveyor.identity, found, wanted, self._clock, self._seconds)
            for source, ranges in fill.run().items():
                read[source] = read.get(source, NONE) | ranges

    def _survey(self) -> Survey:
        """Steps 2 and 3."""
        while True:
            self._files_gone += mending.forget_gone(self._lake, lake.BRONZE)
            if self._options.drop_unreadable and not self._is_verified:
                for error in files.unreadable(self._lake, files.listing(self._lake, lake.BRONZE)):
                    self._files_unreadable.append(str(mending.set_aside(self._lake, lake.BRONZE, error.file)))
                mending.forget_gone(self._lake, lake.BRONZE)
                self._is_verified = True
            try:
                return self._surveyor.survey()
            except UnreadableError as error:
                if error.file.exists():
                    raise  # else it was compacted away, or is gone since

    def _result(self, first: Survey, last: Survey) -> Result:
        losses = self._surveyor.losses(last)
        before = {lack.source: lack for lack in first.lacks}
        partitions = []
        for lack in last.lacks:
            lacked = before[lack.source].missing.within(lack.start, lack.high).positions
            lacks = lack.missing.within(lack.start, lack.high).positions
            seconds = self._seconds.get(lack.source, 0.0)
            gone, unread = losses[lack.source].gone, losses[lack.source].unread
            partitions.append(
                Partition(
                    lack.source.topic,
                    lack.source.topic_id,
                    lack.source.partition,
                    lack.start,
                    lack.high,
                    lack.low,
                    held_before=lack.high - lack.start - lacked,
                    added=lacked - lacks,
                    empty=lacks - gone.positions - unread.positions,
                    unread=unread.positions,
                    gone=gone.positions,
                    gone_ranges=first_ranges(gone),
                    seconds=round(seconds, 3),
                    messages_per_s=round((lacked - lacks) / seconds, 1) if seconds else 0.0,
                )
            )
        duration_s = time.monotonic() - self._started_s
        added = sum(partition.added for partition in partitions)
        total_gone = sum(partition.gone for partition in partitions)
        perdus = self._surveyor.perdus(sum(partition.unread for partition in partitions))
        return Result(
            complete=not total_gone and not perdus,
            since="beginning" if self._options.since is None else self._options.since.isoformat(),
            duration_s=round(duration_s, 3),
            added=added,
            messages_per_s=round(added / duration_s, 1),
            gone=total_gone,
            perdus=perdus,
            files_gone=tuple(sorted(self._files_gone)),
            files_unreadable=tuple(sorted(self._files_unreadable)),
            partitions=tuple(partitions),
        )
