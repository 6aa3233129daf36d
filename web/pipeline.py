"""What Kafka says of the pipeline: the ends of the raw topic, and the two groups of processors.

One thread asks about once a second; requests read its last answer. Kafka being away makes the lag unknown, never a
request slow or an answer wrong.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka import TopicCollection as Topics
from confluent_kafka.admin import AdminClient, OffsetSpec

from salesviews import topics
from salesviews.errors import BrokerError, SalesviewsError
from salesviews.settings import Settings
from salesviews.typed import SourcePartition
from web.watching import Watching

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0

_FAILURES_OF_AN_OUTAGE = 2
"""A single failure is usual while topics are made or a broker starts: the second in a row is logged."""

_REMEMBERED = 120
"""Observations that are kept, to tell for how long messages have been waiting."""

_PASSING = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._WAIT_COORD,
)
"""What a broker answers about groups while it starts, or while it hands them to another."""


@dataclass(frozen=True)
class Partition:
    """A partition of the raw topic as it is now.

    :param start: the first offset that Kafka still has
    :param end: the offset after the last message
    """

    topic: str
    topic_id: str
    partition: int
    start: int
    end: int


@dataclass(frozen=True)
class Member:
    """One process of a consumer group."""

    client_id: str
    host: str
    partitions: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """A consumer group.

    :param state: as Kafka names it, in lower case; ``dead`` where there is no such group
    :param lag: messages between what it committed and the ends; None where Kafka could not say for the moment
    """

    id: str
    state: str
    members: tuple[Member, ...]
    lag: int | None


@dataclass(frozen=True)
class Observation:
    """What Kafka answered.

    :param missing_topics: those of the pipeline that do not exist
    :param groups: by processor, ``ingest`` and ``views``
    """

    missing_topics: tuple[str, ...]
    partitions: tuple[Partition, ...]
    groups: dict[str, Group]


@dataclass(frozen=True)
class PartitionLag:
    """How far a snapshot is behind one partition of the raw topic."""

    partition: Partition
    position: int

    @property
    def messages(self) -> int:
        return max(self.partition.end - self.position, 0)


class PipelineWatch:
    """The last observation, and since when there was none.

    :param observe: asks Kafka; raises BrokerError where it cannot
    :param clock: now, in UTC
    """

    def __init__(self, observe: Callable[[], Observation], clock: Callable[[], datetime]) -> None:
        self._observe = observe
        self._clock = clock
        self._watching = Watching("pipeline", self.look, lambda: INTERVAL_S, is_prompt=True)
        self._failures = 0
        self._ends: deque[tuple[datetime, tuple[Partition, ...]]] = deque(maxlen=_REMEMBERED)
        self.latest: Observation | None = None
        """None while Kafka does not answer."""
        self.observed_at: datetime | None = None
        self.trouble: str | None = "Kafka was not asked yet."
        self.were_topics_seen = False
        """Stays true once all topics existed: Kafka being away later does not make the figures unready."""

    def start(self) -> None:
        self._watching.start()

    def close(self) -> None:
        self._watching.close()

    def look(self) -> None:
        """Ask once."""
        try:
            observation = self._observe()
        except SalesviewsError as error:
            self._lose(str(error), None)
        except Exception as error:
            self._lose(repr(error), error)
        else:
            if self._failures >= _FAILURES_OF_AN_OUTAGE:
                logger.info("Kafka answers again, after %s attempts.", self._failures)
            self._failures = 0
            self.observed_at = self._clock()
            self._ends.append((self.observed_at, observation.partitions))
            self.latest = observation
            self.trouble = None
            self.were_topics_seen |= not observation.missing_topics

    def lag(self, positions: Mapping[SourcePartition, int]) -> tuple[PartitionLag, ...] | None:
        """How far these positions are behind each partition; None while Kafka does not answer, or the topic is missing.

        Positions of a topic that was deleted and created again have another topic id: they say nothing of the new one.
        """
        latest = self.latest
        return None if latest is None or not latest.partitions else _lag(latest.partitions, positions)

    def waiting_ms(self, positions: Mapping[SourcePartition, int]) -> int | None:
        """For how long there have been messages beyond these positions, as far as is remembered: 0 where there is none.

        While sales come in, the lag is never 0 for long: this is what tells a backlog from the newest few seconds.
        None while Kafka does not answer.
        """
        if self.lag(positions) is None:
            return None
        since = None
        for observed_at, partitions in reversed(self._ends.copy()):
            if not any(partition.messages for partition in _lag(partitions, positions)):
                break
            since = observed_at
        return 0 if since is None else max((self._clock() - since) // timedelta(milliseconds=1), 0)

    def _lose(self, trouble: str, error: Exception | None) -> None:
        self._failures += 1
        if self._failures == _FAILURES_OF_AN_OUTAGE:
            logger.error("The lag of the figures is unknown. %s", trouble, exc_info=error)
        self.latest = None
        self.trouble = trouble


def _lag(partitions: Iterable[Partition], positions: Mapping[SourcePartition, int]) -> tuple[PartitionLag, ...]:
    reached = {(source.topic_id, source.partition): position for source, position in positions.items()}
    return tuple(
        PartitionLag(partition, max(reached.get((partition.topic_id, partition.partition), 0), partition.start))
        for partition in partitions
    )


class KafkaObserver:
    """Asks a broker; one client for all its questions.

    :param generation: of the figures that are served now: their processors are asked about
    :param timeout_s: for each of them
    """

    def __init__(self, settings: Settings, generation: Callable[[], int] = lambda: 0, timeout_s: float = 2.0) -> None:
        self._settings = settings
        self._generation = generation
        self._timeout_s = timeout_s
        # librdkafka would repeat on stderr, several times a second, what BrokerError says once.
        self._admin = AdminClient({**settings.kafka_config, "log_level": 0})

    def __call__(self) -> Observation:
        """:raises BrokerError: if the broker does not answer, or refuses"""
        try:
            return self._observe()
        except KafkaException as error:
            raise BrokerError(
                f"Kafka on {self._settings.broker} does not answer: {_text(error)}. "
                "Is the broker up (`salesviews broker`), and does SALESVIEWS_BROKER name it?"
            ) from error

    def _observe(self) -> Observation:
        generation = self._generation()
        described = self._describe_topics([topic.name for topic in topics.all_topics(self._settings, generation)])
        raw = described[topics.raw(self._settings).name]
        typees = described[topics.typees(self._settings, generation).name]
        sources = _partitions(raw) + _partitions(typees)
        starts = self._offsets(sources, OffsetSpec.earliest())
        ends = self._offsets(sources, OffsetSpec.latest())
        topic_id = "" if raw is None else str(raw.topic_id)
        return Observation(
            missing_topics=tuple(name for name, topic in described.items() if topic is None),
            partitions=tuple(
                Partition(source.topic, topic_id, source.partition, starts[key], ends[key])
                for source in _partitions(raw)
                for key in [(source.topic, source.partition)]
            ),
            groups={
                name: self._group(group, _partitions(topic), starts, ends)
                for name, group, topic in (
                    ("ingest", topics.ingest_group(self._settings, generation), raw),
                    ("views", topics.views_group(self._settings, generation), typees),
                )
            },
        )

    def _describe_topics(self, names: list[str]) -> dict[str, Any]:
        """Each topic's description; None where it does not exist."""
        described: dict[str, Any] = {}
        for name, future in self._admin.describe_topics(Topics(names), request_timeout=self._timeout_s).items():
            try:
                described[name] = future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
                described[name] = None
        return described

    def _offsets(self, sources: list[TopicPartition], of: OffsetSpec) -> dict[tuple[str, int], int]:
        if not sources:
            return {}
        futures = self._admin.list_offsets(
            dict.fromkeys(sources, of),
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=self._timeout_s,
        )
        return {(source.topic, source.partition): future.result().offset for source, future in futures.items()}

    def _group(
        self,
        group: str,
        sources: list[TopicPartition],
        starts: dict[tuple[str, int], int],
        ends: dict[tuple[str, int], int],
    ) -> Group:
        try:
            description = self._admin.describe_consumer_groups([group], request_timeout=self._timeout_s)[group].result()
            request = [ConsumerGroupTopicPartitions(group)]
            offsets = self._admin.list_consumer_group_offsets(request, request_timeout=self._timeout_s)[group].result()
        except KafkaException as error:
            if error.args[0].code() in _PASSING:
                return Group(group, "unknown", (), None)
            raise
        # A partition without a committed offset has a negative one.
        reached = {(source.topic, source.partition): source.offset for source in offsets.topic_partitions}
        keys = [(source.topic, source.partition) for source in sources]
        return Group(
            group,
            description.state.name.lower(),
            tuple(_member(member, {source.topic for source in sources}) for member in description.members),
            sum(max(ends[key] - max(reached.get(key, 0), starts[key]), 0) for key in keys),
        )


def _text(error: KafkaException) -> str:
    # Some of librdkafka's errors have a name, but no text.
    return str(error.args[0].str() or error.args[0].name())


def _member(description: Any, topic_names: set[str]) -> Member:
    assigned = description.assignment.topic_partitions
    return Member(
        description.client_id,
        description.host.removeprefix("/"),
        tuple(f"{source.topic}[{source.partition}]" for source in assigned if source.topic in topic_names),
    )


def _partitions(description: Any) -> list[TopicPartition]:
    return [] if description is None else [TopicPartition(description.name, each.id) for each in description.partitions]
