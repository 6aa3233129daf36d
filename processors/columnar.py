"""A Quix Streams application whose rows are batches of Kafka messages.

Quix Streams handles one message at a time, at tens of microseconds each. Here messages are gathered, and a row of the
dataframe is the batch of one partition, so that the work for a message is done by columns. Everything else is Quix
Streams' own: groups and rebalances, checkpoints, sinks, state, transactions.

This file and ``paged_windows`` are those that use private names of Quix Streams. The version is pinned, and
``test_columnar`` fails if a method that is overridden here changes.
"""

import gc
import math
import operator
import signal
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from time import monotonic
from typing import Any, ClassVar, Protocol
from weakref import WeakValueDictionary

import numpy as np
from confluent_kafka import KafkaException, Message, TopicPartition
from quixstreams import Application, MessageContext, State
from quixstreams.context import set_message_context
from quixstreams.exceptions.base import QuixException
from quixstreams.kafka.configuration import ConnectionConfig
from quixstreams.kafka.consumer import raise_for_msg_error
from quixstreams.models import SerializationContext, Serializer
from quixstreams.state.exceptions import InvalidStoreChangelogOffset
from quixstreams.state.rocksdb import RocksDBOptions

from processors import limits, paged_windows
from salesviews import metrics, topics
from salesviews.arrays import Int64s
from salesviews.errors import BrokerError, StateError
from salesviews.pulse import Pulse
from salesviews.settings import Settings

_COLLECT_AFTER_OBJECTS = 200_000
_MOST_MESSAGES = 20_000
_IDLE_S = 0.25
"""So long the loop waits for a message before its next turn."""
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


class Gathering(Protocol):
    """How messages become batches: all that wait where there are many, one batch an interval where there are few."""

    def room(self, gathered: Sequence[Message]) -> int:
        """How many messages more may be gathered now."""
        ...

    def due(self, gathered: Sequence[Message], since_last_s: float) -> int:
        """How many of the messages that were gathered are worked on now; 0: not yet.

        :param gathered: at least one
        :param since_last_s: seconds since the last ones were begun
        """
        ...

    def took(self, messages: Sequence[Message], is_behind: bool, elapsed_s: float) -> bool:
        """These were worked on. Whether a checkpoint is due now, whatever its interval is."""
        ...


@dataclass(frozen=True)
class Paced:
    """A ``Gathering``: everything, each so many seconds or when there are so many messages."""

    most: int
    interval_s: float

    def room(self, gathered: Sequence[Message]) -> int:
        return self.most - len(gathered)

    def due(self, gathered: Sequence[Message], since_last_s: float) -> int:
        return len(gathered) if since_last_s >= self.interval_s or len(gathered) >= self.most else 0

    def took(self, messages: Sequence[Message], is_behind: bool, elapsed_s: float) -> bool:  # noqa: ARG002
        return not is_behind


class ColumnarApplication(Application):
    """An Application over batches.

    :param settings: broker, state folder and instance name are taken from it
    :param group: consumer group
    :param processor: what it is called in metrics
    :param commit_batches: a checkpoint is due after so many batches, if its interval has not ended before; 0: never so
    :param pulse: beats at each turn of the loop
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        *,
        processor: str,
        commit_interval_s: float,
        commit_batches: int,
        exactly_once: bool,
        pulse: Pulse,
    ) -> None:
        named = {"group.instance.id": f"{group}-{settings.instance}"} if settings.instance else {}
        # Outside of a transaction, a message that is given up would leave a hole before those that come later.
        delivery: dict[str, Any] = {"message.timeout.ms": 0}
        if exactly_once:
            delivery = {"transaction.timeout.ms": limits.TRANSACTION_MS}
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
            rocksdb_options=RocksDBOptions(dumps=paged_windows.dumps, loads=paged_windows.loads),
            loglevel=None,
            consumer_extra_config={
                **settings.kafka_options,
                **named,
                "session.timeout.ms": limits.SESSION_MS,
                "max.poll.interval.ms": limits.POLL_MS,
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
        self._gathering: Gathering = Paced(_MOST_MESSAGES, commit_interval_s)
        self._gathered: list[Message] = []
        self._last_taken_s = -math.inf
        self._pulse = pulse
        self._in_between: Callable[[], None] = lambda: None
        self._at_end: Callable[[], None] = lambda: None
        poll = self._consumer.poll

        def poll_and_beat(*arguments: Any, **options: Any) -> Any:  # what restores state from changelogs polls too
            self.beat()
            return poll(*arguments, **options)

        self._consumer.poll = poll_and_beat  # type: ignore[method-assign]

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

    def gather_by(self, gathering: Gathering) -> None:
        """Gather messages otherwise than each commit interval."""
        self._gathering = gathering

    def in_between(self, work: Callable[[], None], at_end: Callable[[], None]) -> None:
        """Have work done between batches.

        :param work: a piece of it, at each turn of the loop; batches before it may still have no checkpoint
        :param at_end: the rest of it, after the last checkpoint, where the application ends in good order
        """
        self._in_between, self._at_end = work, at_end

    def beat(self) -> None:
        """A piece of work is done, within a turn of the loop that has several."""
        self._pulse.beat(is_ready=bool(self._consumer.memberid()))

    def is_assigned(self, topic: str, partition: int) -> bool:
        """The partition is this process's, and its state is restored."""
        return any((each.topic, each.partition) == (topic, partition) for each in self._consumer.assignment())

    def state(self, stream_id: str, topic: str, partition: int) -> State[Any, Any]:
        """What stateful functions of a stream's batches of a partition have as their state."""
        checkpoint = self._processing_context.checkpoint
        return checkpoint.get_store_transaction(stream_id, partition).as_state(prefix=topic.encode())

    def windows(self, stream_id: str, store: str, partition: int) -> Any:
        """The windowed state of a stream's store, as the next checkpoint will have it."""
        return self._processing_context.checkpoint.get_store_transaction(stream_id, partition, store)

    def commit(self, topic: str, partition: int, offset: int) -> None:
        """Make a checkpoint now, though no batch came since the one before.

        It commits the same offset again: so Kafka refuses it where the partition is another's by now.

        :param offset: of the last message that a checkpoint before had; -1: there was none
        """
        if offset >= 0 and self._processing_context.checkpoint.empty():
            self._processing_context.store_offset(topic=topic, partition=partition, offset=offset)
        self._processing_context.commit_checkpoint(force=True)

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Produce a message, in the transaction of the checkpoint that is being made."""
        self._producer.produce(topic, value, key=key)

    def _run_dataframe(self, *arguments: Any, **options: Any) -> None:
        super()._run_dataframe(*arguments, **options)
        self._at_end()

    def _on_revoke(self, consumer: Any, topic_partitions: list[TopicPartition]) -> None:
        self._forget_gathered(topic_partitions)
        super()._on_revoke(consumer, topic_partitions)

    def _on_lost(self, consumer: Any, topic_partitions: list[TopicPartition]) -> None:
        self._forget_gathered(topic_partitions)
        super()._on_lost(consumer, topic_partitions)

    def _forget_gathered(self, topic_partitions: list[TopicPartition]) -> None:
        """Messages that were not worked on are another's."""
        gone = {(each.topic, each.partition) for each in topic_partitions}
        self._gathered = [each for each in self._gathered if (each.topic(), each.partition()) not in gone]

    def _gather(self) -> None:
        """Wait for messages: for one where there is none; else until they are due, or as many as can be had."""
        room = self._gathering.room(self._gathered)
        if room <= 0:
            return
        messages = [] if self._gathered else self._consumer.consume(1, _IDLE_S)
        if messages or self._gathered:
            since_s = monotonic() - self._last_taken_s
            waits_s = 0.0 if self._gathering.due(self._gathered + messages, since_s) else _IDLE_S / 5
            messages = messages + self._consumer.consume(room - len(messages), waits_s)
        for failed in filter(Message.error, messages):
            raise_for_msg_error(failed)
        self._gathered += messages

    def _process_message(self, dataframe_composed: Any) -> None:
        """What ``Application`` does for a message, for each batch of the messages that are due."""
        self.beat()
        self._producer.poll(self._config.producer_poll_timeout)
        self._in_between()
        self._gather()
        due = self._gathering.due(self._gathered, monotonic() - self._last_taken_s) if self._gathered else 0
        if not due:
            self._run_tracker.set_message_consumed(False)
            return
        messages, self._gathered = self._gathered[:due], self._gathered[due:]

        self._last_taken_s = started_s = monotonic()
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

        elapsed_s = monotonic() - started_s
        metrics.add_batch(self._processor_name, len(messages), elapsed_s)
        self._run_tracker.set_message_consumed(True)
        self._producer._broker_available()  # type: ignore[no-untyped-call]
        self._consumer._broker_available()  # type: ignore[no-untyped-call]
        if self._gathering.took(messages, self._is_behind(messages), elapsed_s):
            self._processing_context.commit_checkpoint(force=True)

    def _is_behind(self, messages: Sequence[Message]) -> bool:
        """More messages wait, as far as is known."""
        ends = {(each.topic(), each.partition()): each.offset() + 1 for each in messages}
        return bool(self._gathered) or any(end < self.known_end_offset(*place) for place, end in ends.items())
