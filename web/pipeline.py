"""What Kafka says of the pipeline: the ends of the raw topic, and the two groups of processors.

One thread asks about once a second; requests read its last answer. Kafka being away makes the lag unknown, never a
request slow or an answer wrong.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka import TopicCollection as Topics
from confluent_kafka.admin import AdminClient, OffsetSpec

from salesviews import topics
from salesviews.errors import BrokerError, SalesviewsError
from salesviews.settings import Settings
from salesviews.typed import SourcePartition

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0


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

    :param state: as Kafka names it, in lower case; ``absent`` where Kafka knows no such group
    :param lag: messages between what it committed and the ends
    """

    id: str
    state: str
    members: tuple[Member, ...]
    lag: int


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
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pipeline", daemon=True)
        self.latest: Observation | None = None
        """None while Kafka does not answer."""
        self.observed_at: datetime | None = None
        self.trouble: str | None = "Kafka was not asked yet."
        self.were_topics_seen = False
        """Stays true once all topics existed: Kafka being away later does not make the figures unready."""

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def look(self) -> None:
        """Ask once."""
        try:
            observation = self._observe()
        except SalesviewsError as error:
            self._lose(str(error), None)
        except Exception as error:
            self._lose(repr(error), error)
        else:
            if self.trouble is not None and self.observed_at is not None:
                logger.info("Kafka answers again.")
            self.latest = observation
            self.observed_at = self._clock()
            self.trouble = None
            self.were_topics_seen |= not observation.missing_topics

    def lag(self, positions: Mapping[SourcePartition, int]) -> tuple[PartitionLag, ...] | None:
        """How far these positions are behind each partition; None while Kafka does not answer, or the topic is missing.

        Positions of a topic that was deleted and created again have another topic id: they say nothing of the new one.
        """
        latest = self.latest
        if latest is None or not latest.partitions:
            return None
        reached = {(source.topic_id, source.partition): position for source, position in positions.items()}
        return tuple(
            PartitionLag(partition, max(reached.get((partition.topic_id, partition.partition), 0), partition.start))
            for partition in latest.partitions
        )

    def _lose(self, trouble: str, error: Exception | None) -> None:
        if self.trouble != trouble:
            logger.error("The lag of the figures is unknown. %s", trouble, exc_info=error)
        self.latest = None
        self.trouble = trouble

    def _watch(self) -> None:
        while True:
            self.look()
            if self._stop.wait(INTERVAL_S):
                return


class KafkaObserver:
    """Asks a broker; one client for all its questions.

    :param timeout_s: for each of them
    """

    def __init__(self, settings: Settings, timeout_s: float = 2.0) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        # librdkafka would repeat on stderr, several times a second, what BrokerError says once.
        self._admin = AdminClient({**settings.kafka_config, "log_level": 0})

    def __call__(self) -> Observation:
        """:raises BrokerError: if the broker does not answer, or refuses"""
        try:
            return self._observe()
        except KafkaException as error:
            raise BrokerError(
                f"Kafka on {self._settings.broker} does not answer: {error.args[0].str()}. "
                "Is the broker up (`salesviews broker`), and does SALESVIEWS_BROKER name it?"
            ) from error

    def _observe(self) -> Observation:
        described = self._describe_topics([topic.name for topic in topics.all_topics(self._settings)])
        raw = described[topics.raw(self._settings).name]
        typees = described[topics.typees(self._settings).name]
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
                    ("ingest", topics.ingest_group(self._settings), raw),
                    ("views", topics.views_group(self._settings), typees),
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
        state = "absent"
        members: tuple[Member, ...] = ()
        committed: list[TopicPartition] = []
        try:
            description = self._admin.describe_consumer_groups([group], request_timeout=self._timeout_s)[group].result()
            state, members = description.state.name.lower(), tuple(map(_member, description.members))
            offsets = self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group)], request_timeout=self._timeout_s
            )
            committed = offsets[group].result().topic_partitions
        except KafkaException as error:
            if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise
        # A partition without a committed offset has a negative one.
        reached = {(source.topic, source.partition): source.offset for source in committed}
        keys = [(source.topic, source.partition) for source in sources]
        return Group(
            group, state, members, sum(max(ends[key] - max(reached.get(key, 0), starts[key]), 0) for key in keys)
        )


def _member(description: Any) -> Member:
    return Member(
        description.client_id,
        description.host.removeprefix("/"),
        tuple(f"{source.topic}[{source.partition}]" for source in description.assignment.topic_partitions),
    )


def _partitions(description: Any) -> list[TopicPartition]:
    return [] if description is None else [TopicPartition(description.name, each.id) for each in description.partitions]
