"""Kafka's side of a new generation: its typed batches begin with seeds, and ingest begins where Bronze ends.

And the end of older ones: their topics and groups go when nothing works with them any more.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.views import publication_key
from salesviews import seed, topics
from salesviews.errors import BrokerError
from salesviews.settings import Settings
from salesviews.typed import SourcePartition
from salesviews.views import View
from sinks.contents import Change
from sinks.silver import ViewChange

_TIMEOUT_S = 60.0
_POLL_S = 0.1
_DAY_MS = 86_400_000


class GenerationTopics:
    """
    :param generation: the one that is made
    """

    def __init__(self, settings: Settings, generation: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._generation = generation
        self._sleep = sleep
        self._admin = AdminClient({**settings.kafka_config, "log_level": 0})

    def begin(self, positions: Any, sums: Iterable[seed.Row], ends: Mapping[SourcePartition, int]) -> int:
        """Make the generation's topic and groups, so that its processors go on from ``ends``.

        1. Delete the topic of typed batches and the groups, if an interrupted rebuild made them.
        2. Create the topics.
        3. Write the seeds.
        4. Set the ingest group's offsets.

        A crash in between is repaired by doing all of it again: nothing reads them before the manifest names the
        generation. Without 4, ingest would read everything again, and count nothing twice.

        :return: how many seeds there are
        :raises BrokerError: if Kafka does not answer or refuses
        """
        try:
            self._delete(lambda found: found == self._generation, _TIMEOUT_S)
            topics.create(self._settings, self._generation)
            name = topics.typees(self._settings, self._generation).name
            seeds = self._produce((name, None, value, headers) for value, headers in seed.messages(positions, sums))
            self._set_offsets(ends)
        except KafkaException as error:
            raise BrokerError(
                f"Generation {self._generation} cannot be prepared on {self._settings.broker}: {error.args[0].str()}."
            ) from error
        return seeds

    def retract(self, removed: Mapping[View, pa.Table]) -> int:
        """Write tombstones to ``vues-<view>`` for keys that are no longer there. Gives how many."""
        return self._produce(
            (topics.vues(view).name, publication_key(change), None, [])
            for view, rows in removed.items()
            for change in _changes(view, rows)
        )

    def forget_older(self, kept: int) -> list[str]:
        """Delete the groups and topics of generations before this one, whose processors have ended long ago.

        Nothing reads them, so a crash in between leaves what the next rebuild deletes.

        :param kept: the one before, whose processors may be about to end
        :return: the names of the topics
        :raises BrokerError: if Kafka does not answer or refuses, or a processor of one of them still runs
        """
        try:
            return self._delete(lambda found: found < self._generation and found != kept, 0)
        except KafkaException as error:
            raise BrokerError(
                f"Topics of generations before {kept} are left on {self._settings.broker}: {error.args[0].str()}."
            ) from error

    def _delete(self, is_doomed: Callable[[int], bool], timeout_s: float) -> list[str]:
        """Delete the groups, then the topics, of some generations.

        :param timeout_s: how long a group may have members
        """

        def is_of_doomed(name: str) -> bool:
            found = topics.generation_of(self._settings, name)
            return found is not None and is_doomed(found)

        groups = self._admin.list_consumer_groups(request_timeout=_TIMEOUT_S).result().valid
        for group in groups:
            if is_of_doomed(group.group_id):
                self._delete_group(group.group_id, timeout_s)
        existing = self._admin.list_topics(timeout=_TIMEOUT_S).topics
        doomed = sorted(filter(is_of_doomed, existing))
        if not doomed:
            return doomed
        for future in self._admin.delete_topics(doomed, request_timeout=_TIMEOUT_S).values():
            future.result()
        deadline = time.monotonic() + _TIMEOUT_S
        while set(doomed) & self._admin.list_topics(timeout=_TIMEOUT_S).topics.keys():
            if time.monotonic() > deadline:
                raise BrokerError(f"Kafka did not delete {', '.join(doomed)} within {_TIMEOUT_S:g} s.")
            self._sleep(_POLL_S)
        return doomed

    def _delete_group(self, name: str, timeout_s: float) -> None:
        """Kafka keeps a process that has ended in its group for a while, where it has an instance name."""
        deadline = time.monotonic() + timeout_s
        while True:
            [future] = self._admin.delete_consumer_groups([name], request_timeout=_TIMEOUT_S).values()
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                    return
                if error.args[0].code() != KafkaError.NON_EMPTY_GROUP:
                    raise
                if time.monotonic() > deadline:
                    raise BrokerError(
                        f"Processes of generation {topics.generation_of(self._settings, name)} still run: consumer "
                        f"group {name} has had members for {timeout_s:g} s. Stop them, and run the rebuild again."
                    ) from error
                self._sleep(_POLL_S)
            else:
                return

    def _set_offsets(self, ends: Mapping[SourcePartition, int]) -> None:
        topic = self._settings.topic
        topic_id = topics.topic_id(self._settings, topic)
        offsets = [
            TopicPartition(topic, source.partition, end)
            for source, end in sorted(ends.items())
            if (source.topic, source.topic_id) == (topic, topic_id)
        ]
        if not offsets:
            return
        request = [ConsumerGroupTopicPartitions(topics.ingest_group(self._settings, self._generation), offsets)]
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
            raise BrokerError(f"{self._settings.broker} did not take generation {self._generation}'s seeds: {reason}.")
        return produced


def _changes(view: View, rows: pa.Table) -> Iterable[ViewChange]:
    is_date = pa.types.is_date32(view.window.arrow)
    window = rows.column(view.window.column)
    if is_date:
        starts_ms = [day * _DAY_MS for day in window.cast(pa.int32()).to_pylist()]
    else:
        starts_ms = [start // 1000 for start in window.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()]
    keys = [rows.column(key).to_pylist() for key in view.key_names]
    for place, start_ms in enumerate(starts_ms):
        yield ViewChange(view, Change(tuple(column[place] for column in keys), start_ms, ()))
