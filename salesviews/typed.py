"""What ingest hands to views: one Kafka message of ``ventes-typees`` is a batch of typed rows of one source partition.

The value is an Arrow IPC stream of ``SCHEMA``; the headers name the interval of source positions that it covers. All
positions from ``start`` to before ``end`` are in the batch, were never messages (transaction markers, compaction), or
are counted in ``lost``.
"""

import json
from dataclasses import dataclass

import pyarrow as pa

from salesviews import event

SCHEMA = pa.schema(
    [pa.field("offset", pa.int64()), pa.field("kafka_timestamp", pa.timestamp("us", tz="UTC"))]
    + [field.arrow for field in event.FIELDS]
    + [
        pa.field("motif", pa.string()),
        pa.field("montant_arrondi", pa.bool_()),
    ]
)
"""A message: its position in the partition, Kafka's time, the typed fields (null where absent or unreadable), ``motif``
(null where valid), and whether ``montant`` had more than two decimals."""

HEADER = "intervalle"

ROW_BITS = 20
"""A place in the total order is the typed batch's Kafka offset and, in so many bits, the row in it."""


OFFSET_BITS = 48
"""A packed position has the offset in so many bits, and the number of its source partition above."""


def first_sequence(offset: int) -> int:
    """The first place in the total order of the message at an offset of ``ventes-typees``."""
    return offset << ROW_BITS


def offset_of(sequence: int) -> int:
    """The offset of the message at a place in the total order; 0 before the first."""
    return max(sequence, 0) >> ROW_BITS


def last_sequence(offset: int) -> int:
    return first_sequence(offset + 1) - 1


@dataclass(frozen=True, order=True)
class SourcePartition:
    """Where messages come from. A topic deleted and created again has a new ``topic_id``: a new source."""

    topic_id: str
    partition: int
    topic: str

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] ({self.topic_id})"


@dataclass(frozen=True)
class Interval:
    """The positions [start, end) of a source partition that a batch covers.

    :param lost: how many of them Kafka had deleted before they were read; they are the first ones
    :param log_end: the end of the partition as ingest knew it then, to tell whether it had caught up
    """

    source: SourcePartition
    start: int
    end: int
    lost: int
    log_end: int

    def encode(self) -> bytes:
        return json.dumps(
            [
                self.source.topic,
                self.source.topic_id,
                self.source.partition,
                self.start,
                self.end,
                self.lost,
                self.log_end,
            ]
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Interval":
        topic, topic_id, partition, start, end, lost, log_end = json.loads(data)
        return cls(SourcePartition(topic_id, partition, topic), start, end, lost, log_end)


def encode(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def decode(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()
