"""What Bronze should hold of each source partition, what of that it lacks, and what Kafka can give."""

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow.compute as pc
from confluent_kafka import Consumer, TopicPartition

from processors.identity import TopicIdentity
from salesviews import event, generation, lake, manifest, topics, views
from salesviews.errors import LakeError
from salesviews.lake import Lake
from salesviews.settings import Settings
from salesviews.tables import files, holdings
from salesviews.tables.ranges import NONE, Ranges
from salesviews.typed import SourcePartition
from sinks import mending
from sinks.bronze import stream_name

_log = logging.getLogger(__name__)

_KAFKA_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Lack:
    """What Bronze lacks of a source partition, in [start, high).

    :param start: where the time that is asked for begins, or before it where Bronze records less
    :param low: the first position that Kafka holds, now
    :param high: Kafka's end when the replay began; what came later is ingest's
    :param recorded: the position before which Bronze's log claims every message
    :param counted: the position before which the newest snapshot has counted every message; ``recorded`` where no
        snapshot says it
    :param missing: the positions from 0 to ``high`` of which Bronze has no row
    """

    source: SourcePartition
    start: int
    low: int
    high: int
    recorded: int
    counted: int
    missing: Ranges

    @property
    def handed_on(self) -> int:
        """The position before which every message was handed to the views that count now.

        It can be before the recorded one: while a rebuild ends, an ingest of the generation before still appends, and
        hands on to that generation alone. What is counted was handed on.
        """
        return min(self.recorded, max(self.counted, self.low))

    @property
    def beyond(self) -> Ranges:
        """What comes after the recorded position, as far as Kafka holds it."""
        return Ranges.span(max(self.recorded, self.low), self.high)

    def lacking(self, read: Ranges) -> Ranges:
        """What Bronze lacks and Kafka holds: the holes, and all that comes beyond.

        :param read: the positions of which everything that Kafka gave is in Bronze
        """
        holes = self.missing.within(max(self.start, self.low), self.recorded) - read
        return holes | self.beyond if len(self.beyond - read) else holes

    def wanted(self, read: Ranges) -> Ranges:
        """What must be read from Kafka: what is lacking; if that reaches beyond the recorded position, every message is
        read that views may not have, so that no typed batch comes before one that is missing.
        """
        lacking = self.lacking(read)
        is_handed_on = len(lacking & self.beyond)
        return lacking | Ranges.span(max(self.handed_on, self.low), self.high) if is_handed_on else lacking

    @property
    def lost(self) -> Ranges:
        """Positions that Bronze lacks and Kafka does not hold any more; not all need have been messages."""
        return self.missing.within(self.start, self.low)


@dataclass(frozen=True)
class Losses:
    """What Bronze lacks of a source partition and Kafka has deleted.

    :param gone: messages that Silver has judged, and positions of which nothing says that they were none
    :param unread: positions that Silver has counted and has no message of: deleted before they were read, or never
        messages
    """

    gone: Ranges
    unread: Ranges


@dataclass(frozen=True)
class Survey:
    """
    :param table_id: of Bronze
    :param state: of Bronze, by which a mending is compared
    """

    table_id: str
    state: str
    lacks: tuple[Lack, ...]


class Surveyor:
    """Surveys again and again what Bronze lacks of that which Kafka had when this was made.

    :param since_ms: Kafka time from which on positions are looked at; None is the beginning
    :raises BrokerError: if Kafka does not answer, or does not have the topic
    """

    def __init__(self, settings: Settings, target: Lake, since_ms: int | None, memory_mb: int) -> None:
        self._settings = settings
        self._lake = target
        self._since_ms = since_ms
        self._memory_mb = memory_mb
        self.identity = TopicIdentity(settings)
        counted = _counted(target)
        self._is_counted_known = counted is not None
        self._counted = counted or {}
        self._ends: dict[int, int] = {}
        self._starts: dict[int, int] = {}
        self.identity.check()
        with closing(self._consumer()) as consumer:
            described = consumer.list_topics(settings.topic, _KAFKA_TIMEOUT_S).topics[settings.topic]
            for partition in described.partitions:
                low, self._ends[partition] = self._watermarks(consumer, partition)
                self._starts[partition] = self._start(consumer, partition, low)

    def _consumer(self) -> Consumer:
        return Consumer({**self._settings.kafka_config, "group.id": topics.replay_group(self._settings)})

    def _watermarks(self, consumer: Consumer, partition: int) -> tuple[int, int]:
        """The first position that is held, and the one before which every transaction has ended."""
        place = TopicPartition(self._settings.topic, partition)
        low, high = consumer.get_watermark_offsets(place, _KAFKA_TIMEOUT_S)
        return int(low), int(high)

    def _start(self, consumer: Consumer, partition: int, low: int) -> int:
        """The first position of the time that is asked for; what Kafka deleted may be of that time if ``low`` is."""
        if self._since_ms is None:
            return 0
        place = TopicPartition(self._settings.topic, partition, self._since_ms)
        [found] = consumer.offsets_for_times([place], _KAFKA_TIMEOUT_S)
        offset = int(found.offset)
        if offset < 0:
            return self._ends[partition]
        return 0 if offset <= low else offset

    def survey(self) -> Survey:
        """
        :raises UnreadableError: if a data file cannot be read
        :raises FencedError: if the topic was created again
        """
        self.identity.check()
        with closing(self._consumer()) as consumer:
            lows = {partition: self._watermarks(consumer, partition)[0] for partition in self._ends}
        handle = self._lake.open(lake.BRONZE)
        recorded = {source: int(handle.transaction_version(stream_name(source)) or 0) for source in self._sources()}
        ends = {source: self._end(source, recorded[source]) for source in recorded}
        missing = holdings.missing(self._lake, [files.of_handle(handle, lake.BRONZE)], ends, self._memory_mb)
        lacks = []
        for source, end in ends.items():
            start, low = 0, end
            if source.topic_id == self.identity.id:
                # Bronze must not have a gap, so what comes after its position is always looked at.
                start = self._starts[source.partition] = min(self._starts[source.partition], recorded[source])
                low = lows[source.partition]
            counted = self._counted.get(source, 0) if self._is_counted_known else recorded[source]
            lacks.append(Lack(source, start, low, end, recorded[source], counted, missing[source]))
        return Survey(str(handle.metadata().id), mending.state(handle), tuple(lacks))

    def _sources(self) -> Iterator[SourcePartition]:
        """The topic's partitions; and those of topics that it had before, of which only Silver knows."""
        yield from (SourcePartition(self.identity.id, partition, self._settings.topic) for partition in self._ends)
        if self._since_ms is None:
            yield from (source for source in sorted(self._counted) if source.topic_id != self.identity.id)

    def _end(self, source: SourcePartition, recorded: int) -> int:
        if source.topic_id == self.identity.id:
            return self._ends[source.partition]
        return max(recorded, self._counted[source])

    def losses(self, found: Survey) -> dict[SourcePartition, Losses]:
        """What Bronze lacks and Kafka cannot bring back.

        Of what Kafka has deleted Silver knows which positions were messages, as far as it has counted.
        """
        lost = {lack.source: lack.lost for lack in found.lacks}
        known = {source: self._counted[source] for source in lost if len(lost[source]) and source in self._counted}
        empty: dict[SourcePartition, Ranges] = {}
        try:
            if known:
                listings = [files.listing(self._lake, table) for table in (lake.CLEAN, lake.REJECTED)]
                empty = holdings.missing(self._lake, listings, known, self._memory_mb)
        except LakeError as error:
            _log.warning("which of the deleted positions were messages cannot be told, all are named: %s", error)
        return {
            source: Losses(ranges - empty.get(source, NONE), ranges & empty.get(source, NONE))
            for source, ranges in lost.items()
        }

    def perdus(self, unread: int) -> int:
        """How many of the unread positions were messages, which Kafka deleted before they were read: `qualite` counts
        them by the hour of the message after them. Where it cannot be read, all of them may be.

        :param unread: of all source partitions together
        """
        if not unread:
            return 0
        table = lake.of_view(views.QUALITE)
        try:
            newest = manifest.read(self._lake)
            if newest is None:
                return unread
            listed = newest.listing(self._lake, table)
            rows = files.rows(self._lake, listed, listed.files)
        except LakeError as error:
            _log.warning("which of the deleted positions were messages cannot be told, all are named: %s", error)
            return unread
        is_asked = pc.equal(rows.column("motif"), event.PERDU)
        if self._since_ms is not None:
            since = views.HOUR.start(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self._since_ms))
            is_asked = pc.and_(is_asked, pc.greater_equal(rows.column(views.HOUR.column), since))
        return min(unread, int(pc.sum(rows.filter(is_asked).column("messages")).as_py() or 0))


def _counted(source: Lake) -> dict[SourcePartition, int] | None:
    """How far the newest snapshot has counted; None where there is none that can be read."""
    try:
        newest = generation.served(source)
    except LakeError as error:
        _log.warning("Silver does not say what it has counted: %s", error)
        return None
    return None if newest is None else newest.positions
