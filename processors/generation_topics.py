"""Kafka's side of a new generation: its typed batches begin with seeds, and ingest begins where Bronze ends.

And the end of older ones: their topics and groups go when nothing works with them any more.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from processors import publications
from salesviews import seed, topics
from salesviews.errors import BrokerError
from salesviews.settings import Settings
from salesviews.typed import SourcePartition
from salesviews.views import View

_TIMEOUT_S = 60.0
_POLL_S = 0.1


class GenerationTopics:
    """The topics and groups of all generations of an instance."""

    def __init__(self, settings: Settings, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self._admin = AdminClient({**settings.kafka_config, "log_level": 0})

    def newest(self) -> int:
        """The highest generation that there ever was, as far as Kafka knows.

        A number must not be given twice: state that views has kept of the first one would be taken for the second's.
        And the manifest, which knows the number too, may be lost or restored from a backup.

        :raises BrokerError: if Kafka does not answer
        """
        try:
            return max(topics.generations(self._settings, [*self._groups(), *self._topics()]).values(), default=0)
        except KafkaException as error:
            raise BrokerError(f"{self._settings.broker} does not list its topics: {error.args[0].str()}.") from error

    def begin(
        self, generation: int, positions: Any, sums: Iterable[seed.Sums], ends: Mapping[SourcePartition, int]
    ) -> int:
        """Make the topic and the groups of a generation that never was, so that its processors go on from ``ends``.

        1. Create the topics.
        2. Write the seeds.
        3. Set the ingest group's offsets.

        A crash in between leaves a generation that never will be: nothing reads its topics before the manifest names
        it, and a later rebuild deletes them.

        :return: how many seeds there are
        :raises BrokerError: if Kafka does not answer or refuses
        """
        try:
            topics.create(self._settings, generation)  # 1
            name = topics.typees(self._settings, generation).name
            messages = ((name, None, value, headers) for value, headers in seed.messages(positions, sums))
            seeds = self._produce(messages)  # 2
            self._set_offsets(generation, ends)  # 3
        except KafkaException as error:
            raise BrokerError(
                f"Generation {generation} cannot be prepared on {self._settings.broker}: {error.args[0].str()}."
            ) from error
        return seeds

    def retract(self, removed: Mapping[View, pa.Table]) -> int:
        """Write tombstones to ``vues-<view>`` for keys that are no longer there. Gives how many."""
        return self._produce(
            (topics.vues(self._settings, view).name, key, None, [])
            for view, rows in removed.items()
            for key in publications.keys(view, rows)
        )

    def forget_older(self, generation: int, kept: int) -> list[str]:
        """Delete the groups and topics of generations before one that is served.

        Nothing reads them, so a crash in between leaves what the next rebuild deletes.

        :param kept: the one that it replaced, whose processors may be about to end
        :return: the names of the topics
        :raises BrokerError: if Kafka does not answer or refuses, or a processor of one of them still runs
        """

        def older(names: Iterable[str]) -> list[str]:
            found = topics.generations(self._settings, names)
            return sorted(name for name, number in found.items() if number < generation and number != kept)

        try:
            for group in older(self._groups()):
                self._delete_group(group)
            doomed = older(self._topics())
            self._delete_topics(doomed)
        except KafkaException as error:
            raise BrokerError(
                f"Topics of generations before {kept} are left on {self._settings.broker}: {error.args[0].str()}."
            ) from error
        return doomed

    def _groups(self) -> list[str]:
        listed = self._admin.list_consumer_groups(request_timeout=_TIMEOUT_S).result().valid
        return [group.group_id for group in listed]

    def _topics(self) -> list[str]:
        return list(self._admin.list_topics(timeout=_TIMEOUT_S).topics)

    def _delete_topics(self, doomed: Sequence[str]) -> None:
        if not doomed:
            return
        for future in self._admin.delete_topics(doomed, request_timeout=_TIMEOUT_S).values():
            future.result()
        deadline = time.monotonic() + _TIMEOUT_S
        while set(doomed).intersection(self._topics()):
            if time.monotonic() > deadline:
                raise BrokerError(f"Kafka did not delete {', '.join(doomed)} within {_TIMEOUT_S:g} s.")
            self._sleep(_POLL_S)

    def _delete_group(self, name: str) -> None:
        [future] = self._admin.delete_consumer_groups([name], request_timeout=_TIMEOUT_S).values()
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.NON_EMPTY_GROUP:
                raise BrokerError(
                    f"Consumer group {name} of an older generation has members. Stop them; the next rebuild deletes "
                    "what they leave in Kafka."
                ) from error
            if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise

    def _set_offsets(self, generation: int, ends: Mapping[SourcePartition, int]) -> None:
        topic = self._settings.topic
        topic_id = topics.topic_id(self._settings, topic)
        offsets = [
            TopicPartition(topic, source.partition, end)
            for source, end in sorted(ends.items())
            if (source.topic, source.topic_id) == (topic, topic_id)
        ]
        if not offsets:
            return
        request = [ConsumerGroupTopicPartitions(topics.ingest_group(self._settings, generation), offsets)]
        for future in self._admin.alter_consumer_group_offsets(request, request_timeout=_TIMEOUT_S).values():
            future.result()

    def _produce(self, messages: Iterable[tuple[str, bytes | None, bytes | None, Any]]) -> int:
        """Send messages, and say how many when all are acknowledged."""
        produced = 0
        failures: list[Any] = []

        def note(error: Any, _message: Any) -> None:
            if error:
                failures.append(error)

        producer = Producer(
            {
                **self._settings.kafka_config,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "message.max.bytes": topics.LARGEST_MESSAGE_BYTES,
            }
        )
        for topic, key, value, headers in messages:
            while True:
                try:
                    producer.produce(topic, value, key, headers=headers, on_delivery=note)
                except BufferError:
                    producer.poll(_POLL_S)
                else:
                    produced += 1
                    break
        waiting = producer.flush(_TIMEOUT_S)
        if failures or waiting:
            reason = failures[0].str() if failures else f"{waiting} messages were not acknowledged"
            raise BrokerError(f"{self._settings.broker} did not take what a new generation begins with: {reason}.")
        return produced
