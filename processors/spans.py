"""Reads chosen positions of a topic again: without a consumer group, beside whoever else reads it.

All partitions are read side by side, as ingest reads them, so that messages of one time come near each other.
"""

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from processors.columnar import MessageBatch, split
from salesviews import topics
from salesviews.errors import BrokerError
from salesviews.settings import Settings
from salesviews.tables.ranges import Ranges

POLL_MESSAGES = 20_000
POLL_TIMEOUT_S = 0.1
READ_THROUGH = 20_000
"""Positions between two wanted ones that are read and dropped: to jump over fewer costs more."""

_SILENCE_S = 60.0
_END_MS = 20
"""So long Kafka waits for more at the end of a partition before it says that this is the end."""
_QUEUES_KBYTES = 128 * 1024


class DeletedError(Exception):
    """Kafka deleted positions that were about to be read."""


@dataclass
class _Cursor:
    """Where the reading of a partition is.

    :param wanted: the positions to give
    :param spans: the stretches that are read for it, in order; the first is being read
    """

    wanted: Ranges
    position: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spans = list(self.wanted.joined(READ_THROUGH))
        self.position = self.spans[0][0] if self.spans else 0

    def reach(self, position: int) -> bool:
        """Everything before a position was given, or is no message. Whether the rest is somewhere else."""
        self.position = max(self.position, position)
        while self.spans and self.spans[0][1] <= self.position:
            self.spans.pop(0)
        if self.spans and self.spans[0][0] <= self.position:
            return False
        self.position = max(self.position, self.spans[0][0]) if self.spans else self.position
        return True


class SpanReader:
    """One reading of positions of a topic's partitions.

    :param wanted: by partition; messages that were committed by the time it is read must reach to its end
    """

    def __init__(self, settings: Settings, topic: str, wanted: Mapping[int, Ranges]) -> None:
        self._settings = settings
        self._topic = topic
        self._cursors = {partition: _Cursor(ranges) for partition, ranges in wanted.items() if len(ranges)}

    def position(self, partition: int) -> int:
        """What is wanted of a partition before this position was given, as far as Kafka has it."""
        return self._cursors[partition].position

    def has_read(self, partition: int) -> bool:
        return not self._cursors[partition].spans

    @property
    def left(self) -> int:
        """How many positions are still to be read, those between wanted ones included."""
        return sum(
            end - max(start, cursor.position) for cursor in self._cursors.values() for start, end in cursor.spans
        )

    def polls(self) -> Iterator[list[MessageBatch]]:
        """The wanted messages of each poll, as one batch a partition; no batch where the poll brought none.

        :raises DeletedError: if Kafka does not hold a wanted position any more
        :raises BrokerError: if Kafka does not give the messages
        """
        with closing(Consumer(self._config())) as consumer:
            consumer.assign([self._place(partition) for partition, cursor in self._cursors.items() if cursor.spans])
            heard_at_s = time.monotonic()
            while any(cursor.spans for cursor in self._cursors.values()):
                received = consumer.consume(POLL_MESSAGES, POLL_TIMEOUT_S)
                heard_at_s = time.monotonic() if received else heard_at_s
                if time.monotonic() - heard_at_s > _SILENCE_S:
                    raise BrokerError(
                        f"Kafka at {self._settings.broker} gave no message of {self._topic} for {_SILENCE_S:g} s. Is "
                        "it up, and does the topic still exist?"
                    )
                failed = list(filter(Message.error, received))
                messages = [message for message in received if not message.error()] if failed else received
                batches = split(messages) if messages else []
                wanted = list(itertools.chain.from_iterable(map(self._wanted, batches)))
                reached = {batch.partition: batch.last_offset + 1 for batch in batches} | dict(map(_end, failed))
                yield split(wanted) if wanted else []
                for partition, position in reached.items():
                    self._move_on(consumer, partition, position)

    def _wanted(self, batch: MessageBatch) -> Iterator[Message]:
        cursor, offsets = self._cursors[batch.partition], batch.poll.offsets()[batch.rows]
        return itertools.compress(batch.messages, cursor.wanted.contains(offsets) & (offsets >= cursor.position))

    def _move_on(self, consumer: Consumer, partition: int, position: int) -> None:
        cursor = self._cursors[partition]
        if not cursor.spans or not cursor.reach(position):
            return
        consumer.incremental_unassign([self._place(partition)])
        if cursor.spans:
            consumer.incremental_assign([self._place(partition)])

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition, self._cursors[partition].position)

    def _config(self) -> dict[str, object]:
        return {
            **self._settings.kafka_config,
            "group.id": topics.replay_group(self._settings),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 10,
            "fetch.wait.max.ms": _END_MS,
            "queued.max.messages.kbytes": max(_QUEUES_KBYTES // max(len(self._cursors), 1), 1024),
        }


def _end(failed: Message) -> tuple[int, int]:
    """The partition and its end, where that is what the message says."""
    error = failed.error()
    if error.code() == KafkaError._PARTITION_EOF:
        return failed.partition(), failed.offset()
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise DeletedError(f"{failed.topic()}[{failed.partition()}] at {failed.offset()}: {error.str()}")
    raise BrokerError(f"{failed.topic()}[{failed.partition()}] cannot be read: {error.str()}")
