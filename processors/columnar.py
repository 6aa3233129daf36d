"""A Quix Streams application whose rows are batches of Kafka messages.

Quix Streams handles one message at a time, at tens of microseconds each. Here a poll takes up to N messages, and a row
of the dataframe is the batch of one partition, so that the work for a message is done by columns. Everything else is
Quix Streams' own: groups and rebalances, checkpoints, sinks, state, transactions.

This is the one file that uses private names of Quix Streams. The version is pinned, and ``test_columnar`` fails if the
method that is overridden here changes.
"""

import gc
import operator
import signal
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import numpy as np
from confluent_kafka import KafkaException, Message, TopicPartition
from quixstreams import Application, MessageContext
from quixstreams.context import set_message_context
from quixstreams.exceptions.base import QuixException
from quixstreams.kafka.configuration import ConnectionConfig
from quixstreams.kafka.consumer import raise_for_msg_error
from quixstreams.models import SerializationContext, Serializer
from quixstreams.state.exceptions import InvalidStoreChangelogOffset

from processors.tiers import Int64s
from salesviews import metrics, topics
from salesviews.errors import BrokerError, StateError
from salesviews.pulse import Pulse
from salesviews.settings import Settings

_COLLECT_AFTER_OBJECTS = 200_000
_SESSION_TIMEOUT_MS = 10_000
_TRANSACTION_TIMEOUT_MS = 30_000
"""Longer than a checkpoint takes; a standby waits for it where a process died in a transaction for good."""
_FETCH_BYTES = 16 * 1024 * 1024
_METADATA_INTERVAL_MS = 5_000
"""So long a partition that is added to a topic goes unread at most."""


class Shared:
    """A value that is never changed, so that the branches of a dataframe can share it.

    Quix Streams gives each branch a copy, through pickle. For a table of thousands of rows that is waste: pickling one
    of these remembers which object it is, and unpickling gives that object.
    """

    _alive: ClassVar[WeakValueDictionary[int, "Shared"]] = WeakValueDictionary()

    def __reduce__(self) -> tuple[Any, ...]:
        Shared._alive[id(self)] = self
        return _shared, (id(self),)

    @staticmethod
    def recall(identity: int) -> "Shared":
        return Shared._alive[identity]


def _shared(identity: int) -> Shared:
    return Shared.recall(identity)


@dataclass(frozen=True, eq=False)
class Poll:
    """The messages of a poll, partition by partition, each in order. Columns are read without a statement a message."""

    messages: Sequence[Message]

    def values(self) -> list[bytes | None]:
        return list(map(Message.value, self.messages))

    def keys(self) -> list[bytes | None]:
        return list(map(Message.key, self.messages))

    def headers(self) -> list[list[tuple[str, bytes | None]] | None]:
        return list(map(Message.headers, self.messages))

    def offsets(self) -> Int64s:
        return np.fromiter(map(Message.offset, self.messages), np.int64, len(self.messages))

    def timestamps_ms(self) -> Int64s:
        """Kafka's timestamps in milliseconds; -1 where a message has none."""
        stamps = map(_MILLISECONDS, map(Message.timestamp, self.messages))
        return np.fromiter(stamps, np.int64, len(self.messages))


_MILLISECONDS = operator.itemgetter(1)


@dataclass(frozen=True, eq=False)
class MessageBatch(Shared):
    """The messages of one partition in a poll; never empty. They are ``poll.messages[rows]``."""

    poll: Poll
    rows: slice
    topic: str
    partition: int

    @property
    def messages(self) -> Sequence[Message]:
        return self.poll.messages[self.rows]

    @property
    def first_offset(self) -> int:
        return int(self.poll.messages[self.rows.start].offset())

    @property
    def last_offset(self) -> int:
        return int(self.poll.messages[self.rows.stop - 1].offset())


@dataclass(frozen=True, eq=False)
class Outgoing(Shared):
    """A message on its way to a topic whose serializer is ``OutgoingSerializer``."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class OutgoingSerializer(Serializer):
    """Writes the bytes of an ``Outgoing``."""

    def __call__(self, value: Outgoing, ctx: SerializationContext) -> bytes:  # noqa: ARG002 - the signature of Serializer
        return value.value


def split(messages: Sequence[Message]) -> list[MessageBatch]:
    """The messages of a poll, of one topic, as one batch a partition."""
    topic = messages[0].topic()
    partitions = np.fromiter(map(Message.partition, messages), np.int32, len(messages))
    present, counts = np.unique(partitions, return_counts=True)
    if len(present) > 1:
        messages = operator.itemgetter(*np.argsort(partitions, kind="stable").tolist())(messages)
    poll = Poll(messages)
    ends = np.cumsum(counts)
    return [
        MessageBatch(poll, slice(int(end - count), int(end)), topic, int(partition))
        for partition, count, end in zip(present, counts, ends, strict=True)
    ]


_ROCKSDB = ("IO error", "Corruption", "Invalid argument", "NotFound")
"""How what RocksDB says begins: it comes as a plain ``Exception``."""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _said_by_rocksdb(error: BaseException) -> str | None:
    """What RocksDB says in an error or in what caused it; None where it is not part of it."""
    return next(
        (str(each) for each in _causes(error) if type(each) is Exception and str(each).startswith(_ROCKSDB)), None
    )


class ColumnarApplication(Application):
    """An Application over batches.

    :param settings: broker, state folder and instance name are taken from it
    :param group: consumer group
    :param processor: what it is called in metrics
    :param batch_messages: how many messages a poll takes at most
    :param batch_timeout_s: how long a poll waits for that many; what came by then is the batch
    :param commit_batches: a checkpoint is due after so many batches, if its interval has not ended before
    :param pulse: beats at each turn of the loop
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        *,
        processor: str,
        batch_messages: int,
        batch_timeout_s: float,
        commit_interval_s: float,
        commit_batches: int,
        exactly_once: bool,
        pulse: Pulse,
    ) -> None:
        named = {"group.instance.id": f"{group}-{settings.instance}"} if settings.instance else {}
        # Outside of a transaction, a message that is given up would leave a hole before those that come later.
        delivery: dict[str, Any] = {"message.timeout.ms": 0}
        if exactly_once:
            delivery = {"transaction.timeout.ms": _TRANSACTION_TIMEOUT_MS}
            if settings.instance:
                delivery["transactional.id"] = f"{group}-{settings.instance}"
        super().__init__(
            broker_address=ConnectionConfig.from_librdkafka_dict(settings.kafka_config, ignore_extras=True),
            consumer_group=group,
            auto_offset_reset="earliest",
            auto_recover_from_source_offset_out_of_range=False,
            commit_interval=commit_interval_s,
            commit_every=commit_batches,
            processing_guarantee="exactly-once" if exactly_once else "at-least-once",
            state_dir=settings.state_folder,
            loglevel=None,
            consumer_extra_config={
                **settings.kafka_options,
                **named,
                "session.timeout.ms": _SESSION_TIMEOUT_MS,
                "fetch.message.max.bytes": _FETCH_BYTES,
                "fetch.queue.backoff.ms": 10,
                "topic.metadata.refresh.interval.ms": _METADATA_INTERVAL_MS,
            },
            producer_extra_config={
                **settings.kafka_options,
                **delivery,
                "message.max.bytes": topics.LARGEST_MESSAGE_BYTES,
                "linger.ms": 5,
                # Where a broker that was about to end named no leader, the next look would be five minutes later.
                "topic.metadata.refresh.interval.ms": _METADATA_INTERVAL_MS,
            },
        )
        self._broker = settings.broker
        self._state_folder = settings.state_folder / group
        self._processor_name = processor
        self._batch_messages = batch_messages
        self._batch_timeout_s = batch_timeout_s
        self._pulse = pulse

    def run(self, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        """Run as ``Application`` does, with changelog topics that take keys as large as a raw message may be.

        A poll makes tens of thousands of objects at once, none in a cycle: with Python's usual thresholds the garbage
        collector would look at all of them several times, for a tenth of the CPU time. What was frozen is let go at the
        end, and so are the signal handlers, which hold the application: DuckDB complains at length of what is not.

        :raises BrokerError: if Kafka fails it: nothing is lost, and another process goes on from what is committed
        :raises StateError: if the files of its state are damaged, another process uses them, or Kafka has less of it
        """
        thresholds = gc.get_threshold()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER_OBJECTS)
        for changelog in self._topic_manager.changelog_topics_list:
            if changelog.create_config:
                changelog.create_config.extra_config["max.message.bytes"] = str(topics.LARGEST_MESSAGE_BYTES)
        try:
            return super().run(*arguments, **options)
        except Exception as error:
            if (reason := _said_by_rocksdb(error)) is not None:
                raise StateError(
                    f"The state in {self._state_folder} cannot be used: {reason}. If another process uses it, stop one "
                    "of them. If its files are damaged, delete the folder: all of it comes back from Kafka."
                ) from error
            if any(isinstance(each, InvalidStoreChangelogOffset) for each in _causes(error)):
                raise StateError(
                    f"The state in {self._state_folder} is ahead of its changelog topics in Kafka at {self._broker}: "
                    "they were deleted or cut, or the folder comes from another Kafka. Without it nothing is known of "
                    "the sums: run `salesviews rebuild`, which computes them from Bronze, with a state of its own; "
                    "then the folder can be deleted."
                ) from error
            if not isinstance(error, KafkaException | QuixException):
                raise
            raise BrokerError(
                f"Kafka at {self._broker} does not answer as it must: {error}. This process ends; the next "
                "one goes on from what is committed."
            ) from error
        finally:
            gc.unfreeze()
            gc.set_threshold(*thresholds)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def committed_offset(self, topic: str, partition: int) -> int | None:
        """The group's next offset for a partition; None if it never committed one."""
        [committed] = self._consumer.committed([TopicPartition(topic, partition)], timeout=30)
        return int(committed.offset) if committed.offset >= 0 else None

    def low_offset(self, topic: str, partition: int) -> int:
        """The first offset that Kafka still holds, asked now."""
        low, _ = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        return int(low)

    def known_end_offset(self, topic: str, partition: int) -> int:
        """The end of the partition as the last fetch told it; no request is made. Negative before the first fetch."""
        _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        return int(high)

    def flush_producer(self) -> None:
        """Return when everything that was produced is in Kafka.

        :raises BrokerError: if something was not delivered in the time that a checkpoint may take
        """
        if undelivered := self._producer.flush():
            raise BrokerError(
                f"{undelivered} messages were not delivered to Kafka; this process ends, and produces them again when "
                "it is started. Does Kafka answer?"
            )

    def _process_message(self, dataframe_composed: Any) -> None:
        """What ``Application`` does for a message, for each batch of a poll."""
        self._pulse.beat(is_ready=bool(self._consumer.memberid()))
        self._producer.poll(self._config.producer_poll_timeout)
        messages = self._consumer.consume(self._batch_messages, self._batch_timeout_s)
        for failed in filter(Message.error, messages):
            raise_for_msg_error(failed)
        if not messages:
            self._run_tracker.set_message_consumed(False)
            return

        started_s = perf_counter()
        for batch in split(messages):
            last = batch.poll.messages[batch.rows.stop - 1]
            context = copy_context()
            context.run(
                set_message_context,
                MessageContext(
                    topic=batch.topic,
                    partition=batch.partition,
                    offset=batch.last_offset,
                    size=batch.rows.stop - batch.rows.start,
                    leader_epoch=last.leader_epoch(),
                ),
            )
            context.run(dataframe_composed[batch.topic], batch, batch.topic.encode(), last.timestamp()[1], None)
            self._processing_context.store_offset(
                topic=batch.topic, partition=batch.partition, offset=batch.last_offset
            )

        metrics.add_batch(self._processor_name, len(messages), perf_counter() - started_s)
        self._run_tracker.set_message_consumed(True)
        self._producer._broker_available()  # type: ignore[no-untyped-call]
        self._consumer._broker_available()  # type: ignore[no-untyped-call]
