"""Messages as the lake knows them: where they were in Kafka, what became of them, and what exactly was received."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeAlias

import pyarrow as pa

from salesviews import event, lake
from salesviews.audit.differences import name
from salesviews.lineage.queries import Queries

Place: TypeAlias = tuple[int, int]
"""The number of a source partition in a snapshot's ``sources``, and an offset."""

_RECEIVED = ("kafka_timestamp", "date_ingestion", "key", "headers", "payload")


@dataclass(frozen=True)
class Position:
    """Where a message was in Kafka. A topic deleted and created again has a new ``topic_id``."""

    topic: str
    topic_id: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic_id}/{self.partition}/{self.offset}"


@dataclass(frozen=True)
class Raw:
    """A message exactly as received.

    :param payload: None: it had none (a tombstone)
    :param headers: in their order, with whatever value; None: it had none
    """

    kafka_timestamp: datetime
    date_ingestion: datetime
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] | None
    payload: bytes | None


@dataclass(frozen=True)
class Message:
    """A message and its outcome.

    :param outcome: ``valide``, ``doublon``, or the motif of its rejection; None: the snapshot has none for it
    :param sequence: its place in the total order; None where it has no outcome
    :param fields: typed: of a sale that counts those that counted, of another what could be read; None: not known
    :param nouveau_client: whether it is the first sale of its client in product, category, country and month; None:
        it was not asked for
    :param counted_at: of a duplicate, where the sale is that counted
    :param raw: None: Bronze does not have it
    """

    position: Position
    outcome: str | None
    sequence: int | None
    fields: Mapping[str, Any] | None
    nouveau_client: bool | None
    counted_at: Position | None
    raw: Raw | None


@dataclass(frozen=True)
class Received:
    """A row of Bronze."""

    raw: Raw
    fields: Mapping[str, Any]


def position(queries: Queries, place: Place) -> Position:
    source = queries.sources[place[0]]
    return Position(source.topic, source.topic_id, source.partition, place[1])


@dataclass(frozen=True)
class Judged:
    """What Silver says of a message.

    :param fields: of a sale that counts, those that counted
    """

    place: Place
    outcome: str | None
    sequence: int | None
    counted_at: Place | None = None
    fields: Mapping[str, Any] | None = None
    nouveau_client: bool | None = None


def not_counted(row: Mapping[str, Any]) -> Judged:
    """What a row of ``ventes_rejetees`` says, as ``behind.rejected_sql`` gives it."""
    counted_at = None if row["compte_number"] is None else (row["compte_number"], row["compte_offset"])
    return Judged((row["number"], row["offset"]), row["motif"], row["sequence"], counted_at)


def with_raw(queries: Queries, judged: Collection[Judged], days: set[date]) -> tuple[Message, ...]:
    """The messages, each with what Bronze received.

    :param days: see ``received``
    """
    raw = received(queries, [each.place for each in judged], days)
    return tuple(_message(queries, each, raw.get(each.place)) for each in judged)


def _message(queries: Queries, judged: Judged, found: Received | None) -> Message:
    fields = judged.fields
    if fields is None and found is not None:
        fields = found.fields
    return Message(
        position=position(queries, judged.place),
        outcome=judged.outcome,
        sequence=judged.sequence,
        fields=fields,
        nouveau_client=judged.nouveau_client,
        counted_at=None if judged.counted_at is None else position(queries, judged.counted_at),
        raw=None if found is None else found.raw,
    )


def received(queries: Queries, places: Collection[Place], days: set[date]) -> dict[Place, Received]:
    """The raw messages at some places; those that Bronze lacks are left out.

    :param days: under which Bronze probably keeps them: few files; what is not there is looked for everywhere
    """
    found: dict[Place, Received] = {}
    for chosen in (days, None):
        missing = [place for place in places if place not in found]
        if missing and chosen != set():
            found |= _received(queries, missing, chosen)
    return found


def _received(queries: Queries, places: list[Place], days: set[date] | None) -> dict[Place, Received]:
    queries.hold("wanted", _table(queries, places))
    bronze = queries.relation(lake.BRONZE, lambda partition: days is None or partition[0] in days)
    columns = ", ".join(f"b.{name(each)}" for each in (*_RECEIVED, *event.FIELD_NAMES))
    rows = queries.rows(
        f'SELECT w.number, w."offset" AS place, {columns} FROM {bronze} AS b '
        f'JOIN wanted AS w USING (topic_id, "partition", "offset")'
    )
    return {(row["number"], row["place"]): _of_row(row) for row in rows}


def _of_row(row: Mapping[str, Any]) -> Received:
    headers = row["headers"]
    return Received(
        Raw(
            kafka_timestamp=row["kafka_timestamp"],
            date_ingestion=row["date_ingestion"],
            key=row["key"],
            headers=None if headers is None else tuple((each["key"], each["value"]) for each in headers),
            payload=row["payload"],
        ),
        {each: row[each] for each in event.FIELD_NAMES},
    )


def _table(queries: Queries, places: list[Place]) -> pa.Table:
    sources = [queries.sources[number] for number, _ in places]
    return pa.table(
        {
            "number": pa.array([number for number, _ in places], pa.int64()),
            "offset": pa.array([offset for _, offset in places], pa.int64()),
            "topic_id": pa.array([source.topic_id for source in sources], pa.string()),
            "partition": pa.array([source.partition for source in sources], pa.int32()),
        }
    )
