"""Ingest: raw messages become Bronze rows, dead letters and typed batches.

    raw batch -> parse (one DuckDB query) -+-> Bronze, appended at the checkpoint
                                           +-> ventes-rejets, one message a rejection
                                           +-> ventes-typees, Arrow batches with the positions that they cover

At-least-once is enough: Bronze skips positions that it records, dead letters are keyed by position, and ``views`` skips
positions that it has counted. A checkpoint, in order:

1. The producer is flushed: dead letters and typed batches are in Kafka.
2. Bronze is appended.
3. The group's offsets are committed.

A crash before 3 repeats the batches from the last committed offsets, which changes nothing. So what Bronze records was
handed to ``views``, and what the group has committed is recorded by Bronze: should the group's offsets say otherwise,
going on would lose messages, and ingest refuses before it produces anything (``Intervals``).
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors.columnar import ColumnarApplication, MessageBatch, Outgoing, OutgoingSerializer, Poll, Shared
from processors.identity import TopicIdentity
from salesviews import event, generation, lake, metrics, topics, typed
from salesviews.classification import Classifier
from salesviews.pulse import Pulse
from salesviews.settings import Settings
from salesviews.typed import Interval, SourcePartition
from sinks.bronze import BronzeBatch, BronzeSink

_log = logging.getLogger(__name__)

COMMIT_BATCHES = 32
TYPED_MESSAGE_BYTES = 2 * 1024 * 1024
TYPED_KEY = b"ventes"

_UTC_US = pa.timestamp("us", tz="UTC")
_LATEST_MS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)
_HEADERS = lake.BRONZE.schema.field("headers").type
_PARSED = [*event.FIELD_NAMES, "motif", "montant_arrondi", "jour"]


@dataclass(frozen=True, eq=False)
class ParsedBatch(Shared):
    """A batch of one source partition after parsing.

    :param messages: the raw columns ``offset``, ``kafka_timestamp``, ``payload``, ``key``, ``headers``
    :param parsed: the fields, ``motif``, ``montant_arrondi`` and ``jour``, row by row
    """

    interval: Interval
    messages: pa.Table
    parsed: pa.Table

    @property
    def typed(self) -> pa.Table:
        columns = {**_columns(self.messages), **_columns(self.parsed)}
        return pa.table([columns[field.name] for field in typed.SCHEMA], schema=typed.SCHEMA)

    def bronze(self, ingested_at: datetime) -> BronzeBatch:
        source = self.interval.source
        count = self.messages.num_rows
        columns = {
            **_columns(self.messages),
            **_columns(self.parsed),
            "topic": pa.repeat(source.topic, count),
            "topic_id": pa.repeat(source.topic_id, count),
            "partition": pa.repeat(pa.scalar(source.partition, pa.int32()), count),
            "date_ingestion": pa.repeat(pa.scalar(ingested_at, _UTC_US), count),
        }
        schema = lake.BRONZE.schema
        return BronzeBatch(self.interval, pa.table([columns[field.name] for field in schema], schema=schema))


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))


_RAW = pa.schema([("offset", pa.int64()), ("payload", pa.binary()), ("kafka_timestamp", _UTC_US)])


class Parser:
    """Classifies and types the messages of a poll in one DuckDB query, of which each batch then takes its rows."""

    def __init__(self) -> None:
        self._classify = Classifier(_RAW, passthrough=("offset",))
        self._poll: Poll | None = None
        self._messages: pa.Table
        self._parsed: pa.Table

    def parse(self, interval: Interval, batch: MessageBatch) -> ParsedBatch:
        if batch.poll is not self._poll:
            self._read(batch.poll)
        start, count = batch.rows.start, batch.rows.stop - batch.rows.start
        return ParsedBatch(interval, self._messages.slice(start, count), self._parsed.slice(start, count))

    def _read(self, poll: Poll) -> None:
        messages = raw_table(poll)
        parsed = self._classify(messages)
        if not parsed.column("offset").equals(messages.column("offset")):
            raise AssertionError("parsing changed the order of the messages")
        self._poll, self._messages, self._parsed = poll, messages, _as_utc(parsed.select(_PARSED))


def raw_table(poll: Poll) -> pa.Table:
    """The raw columns, as received; a Kafka timestamp outside of 1970 to 9999 becomes the nearest."""
    headers = poll.headers()
    milliseconds = np.clip(poll.timestamps_ms(), 0, _LATEST_MS)
    return pa.table(
        {
            "offset": poll.offsets(),
            "kafka_timestamp": pa.array(milliseconds * 1000, pa.int64()).cast(_UTC_US),
            "payload": pa.array(poll.values(), pa.binary()),
            "key": pa.array(poll.keys(), pa.binary()),
            "headers": _header_array(headers) if any(headers) else pa.nulls(len(headers), _HEADERS),
        }
    )


def _header_array(headers: list[list[tuple[str, bytes | None]] | None]) -> pa.Array:
    named = [None if row is None else [{"key": key, "value": value} for key, value in row] for row in headers]
    return pa.array(named, _HEADERS)


def _as_utc(parsed: pa.Table) -> pa.Table:
    """DuckDB's timestamps have no zone; they are UTC."""
    index = parsed.column_names.index("timestamp")
    return parsed.set_column(index, "timestamp", parsed.column(index).cast(_UTC_US))


def dead_letters(batch: ParsedBatch) -> Iterator[Outgoing]:
    """The rejected messages: the raw bytes, keyed by position, with motif and position as headers.

    A tombstone's dead letter has an empty value, as a tombstone would delete it from the compacted topic; its header
    ``tombstone`` tells it from an empty message.
    """
    motifs = batch.parsed.column("motif")
    rejected = pc.is_valid(motifs)
    if not pc.any(rejected).as_py():
        return
    source = batch.interval.source
    letters = batch.messages.filter(rejected).select(["offset", "kafka_timestamp", "payload"]).to_pylist()
    for letter, motif in zip(letters, motifs.filter(rejected).to_pylist(), strict=True):
        headers = {
            "motif": motif,
            "topic": source.topic,
            "topic_id": source.topic_id,
            "partition": str(source.partition),
            "offset": str(letter["offset"]),
            "kafka_timestamp": letter["kafka_timestamp"].isoformat(),
            **({"tombstone": "true"} if letter["payload"] is None else {}),
        }
        yield Outgoing(
            f"{source.topic_id}/{source.partition}/{letter['offset']}".encode(),
            letter["payload"] or b"",
            [(name, value.encode()) for name, value in headers.items()],
        )


def typed_messages(batch: ParsedBatch) -> Iterator[Outgoing]:
    """The typed rows as one message, or as several where one would be large."""
    for interval, rows in _pieces(batch.interval, batch.typed):
        yield Outgoing(TYPED_KEY, typed.encode(rows), [(typed.HEADER, interval.encode())])


def _pieces(interval: Interval, rows: pa.Table) -> Iterator[tuple[Interval, pa.Table]]:
    if rows.num_rows < 2 or rows.nbytes <= TYPED_MESSAGE_BYTES:
        yield interval, rows
        return
    half = rows.num_rows // 2
    middle = rows.column("offset")[half].as_py()
    first = Interval(interval.source, interval.start, middle, interval.lost, interval.log_end)
    second = Interval(interval.source, middle, interval.end, 0, interval.log_end)
    yield from _pieces(first, rows.slice(0, half))
    yield from _pieces(second, rows.slice(half))


class Intervals:
    """Names the positions that each batch covers, so that ``views`` can tell a gap from a loss.

    A batch starts where the one before it ended. Where it does not join on, the reason is looked for:

    - Positions between two batches of this process hold no message (transaction markers, compaction), or Kafka deleted
      them: the batch covers them, and counts the latter as lost.
    - The partition was given to this process: the batch starts where the group stands, if Bronze records everything
      before it. It does, unless Bronze or the group's offsets were tampered with.

    That the topic is still the same is asked once a poll: one that is created again has the same offsets.
    """

    def __init__(self, application: ColumnarApplication, bronze: BronzeSink, identity: TopicIdentity) -> None:
        self._application = application
        self._bronze = bronze
        self._identity = identity
        self._poll: Poll | None = None
        self._next: dict[int, int] = {}

    def of(self, batch: MessageBatch) -> Interval:
        """
        :raises FencedError: if the topic is not the one that this process started with
        :raises GapError: if Kafka holds positions before the batch that Bronze does not record
        """
        if batch.poll is not self._poll:
            self._identity.check()
            self._poll = batch.poll
        expected = self._next.get(batch.partition)
        start, lost = batch.first_offset, 0
        if expected != batch.first_offset:
            start = self._start(batch, expected)
            lost = self._lost(batch, start)
        self._next[batch.partition] = end = batch.last_offset + 1
        log_end = max(self._application.known_end_offset(batch.topic, batch.partition), end)
        return Interval(self._source(batch), start, end, lost, log_end)

    def _source(self, batch: MessageBatch) -> SourcePartition:
        return SourcePartition(self._identity.id, batch.partition, batch.topic)

    def _start(self, batch: MessageBatch, expected: int | None) -> int:
        """Where a batch starts that does not join on."""
        first, source = batch.first_offset, self._source(batch)
        committed = self._application.committed_offset(batch.topic, batch.partition)
        if expected is not None and (committed or 0) <= expected < first:
            return expected
        recorded = self._bronze.covered(source)
        if committed is None:
            return min(recorded, first)
        if recorded < min(committed, first) and self._application.low_offset(batch.topic, batch.partition) >= committed:
            return recorded  # there is nothing that could be read again
        start = min(committed, first)
        self._bronze.check_joins_on(source, start)
        return start

    def _lost(self, batch: MessageBatch, start: int) -> int:
        """How many positions from ``start`` to the batch Kafka does not hold any more; the rest were no messages."""
        first = batch.first_offset
        if start == first:
            return 0
        lost = max(min(self._application.low_offset(batch.topic, batch.partition), first) - start, 0)
        if lost:
            _log.error(
                "Kafka deleted %d positions of %s[%d], from %d, before they were read; qualite counts them as `%s`. "
                "Is the topic's retention shorter than the time that ingest was behind?",
                lost,
                batch.topic,
                batch.partition,
                start,
                event.PERDU,
            )
        return lost


def build(
    settings: Settings, mine: int = 0, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> ColumnarApplication:
    """The application, ready to run; the topics exist by then.

    :param mine: the generation of the figures for which messages are typed
    """
    application = ColumnarApplication(
        settings,
        topics.ingest_group(settings, mine),
        processor="ingest",
        commit_interval_s=settings.bronze_interval_s,
        commit_batches=COMMIT_BATCHES,
        exactly_once=False,
        pulse=Pulse(settings, "ingest"),
    )
    identity = TopicIdentity(settings)

    def before_append() -> None:
        identity.check()  # else the group's offset could be committed for another topic
        application.flush_producer()

    bronze = BronzeSink(lake.Lake.of(settings), before_append, mine)
    intervals = Intervals(application, bronze, identity)
    parser = Parser()

    def topic(declared: topics.Topic) -> Any:
        return application.topic(
            declared.name,
            key_deserializer="bytes",
            value_deserializer="bytes",
            key_serializer="bytes",
            value_serializer=OutgoingSerializer(),
        )

    def produce(messages: Any, declared: topics.Topic) -> None:
        messages = messages.set_headers(lambda outgoing, *_: outgoing.headers)
        messages.to_topic(topic(declared), key=lambda outgoing: outgoing.key)

    parsed = application.dataframe(topic(topics.raw(settings))).apply(
        lambda batch: parser.parse(intervals.of(batch), batch)
    )
    parsed.apply(lambda batch: batch.bronze(clock())).sink(bronze)
    produce(parsed.apply(dead_letters, expand=True), topics.rejets(settings))
    produce(parsed.apply(typed_messages, expand=True), topics.typees(settings, mine))
    return application


def run(settings: Settings) -> None:
    """Run one ingest process until SIGTERM or SIGINT; it commits what it has before it ends."""
    metrics.serve(settings)
    mine = generation.begin(lake.Lake.of(settings), settings.dedup_days)
    topics.create(settings, mine)
    topics.warn_of_future_times(settings)
    build(settings, mine).run()
