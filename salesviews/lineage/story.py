"""The story of one sale, or of one message: what was received, what became of it, and which figures it is part of.

It reads the lake alone, at one snapshot. Each payload is parsed again: that it gives what Silver says is the proof that
the sale happened exactly this way. In order:

1. Find the messages in Bronze, among the sales that count, and among those that were rejected.
2. Fetch what Bronze received, and parse it again.
3. Look up the figures that each is part of.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from salesviews import classification, event, lake, views
from salesviews.audit.differences import name
from salesviews.errors import ParameterError
from salesviews.lake import Lake
from salesviews.lineage import behind, figures, messages
from salesviews.lineage.figures import Address, Figure
from salesviews.lineage.messages import Judged, Message, Place
from salesviews.lineage.queries import Bounds, Queries
from salesviews.manifest import Manifest
from salesviews.typed import SourcePartition

_POSITION = re.compile(r"([A-Za-z0-9._+/=-]{1,249})/([0-9]{1,9})/([0-9]{1,18})")
"""The id of a topic is base64, so it may have a slash."""
_INT64 = range(-(2**63), 2**63)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UTC = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Chapter:
    """One message of a story.

    :param is_waiting: the snapshot does not cover it yet
    :param agrees: whether its payload, parsed again, gives this outcome and these fields; None where Bronze lacks it or
        there is no outcome
    :param figures: those that it is part of, as the snapshot's tables hold them; None for each value of one that is not
        there, which is a damage
    """

    message: Message
    is_waiting: bool
    agrees: bool | None
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Story:
    """:param chapters: in the total order, then those that are waiting"""

    snapshot: Manifest
    chapters: tuple[Chapter, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing in it is a damage. A message that Bronze lacks is none: nothing can be said of it."""
        return all(
            each.agrees is not False
            and (each.is_waiting or each.message.outcome is not None)
            and all(value is not None for figure in each.figures for value in figure.values.values())
            for each in self.chapters
        )

    @property
    def is_proved(self) -> bool:
        """Whether it holds, and each message that the snapshot covers was parsed again."""
        return self.holds and all(each.is_waiting or each.agrees for each in self.chapters)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know or do, in sentences."""
        notes = []
        if any(each.is_waiting for each in self.chapters):
            notes.append(f"Snapshot {self.snapshot.id} does not cover all of it yet.")
        if any(each.message.raw is None for each in self.chapters):
            notes.append(
                "Bronze lacks a message. If it is not merely a moment behind, `salesviews replay` reads it from Kafka "
                "again; nothing is counted twice."
            )
        if not self.holds:
            notes.append(
                "What Silver says is not what was received. `salesviews audit` names every difference; "
                "`salesviews rebuild` computes Silver again from Bronze."
            )
        return tuple(notes)


def of_sale(source: Lake, snapshot: Manifest, vente_id: str, bounds: Bounds) -> Story:
    """The story of all messages of a ``vente_id``.

    :raises ParameterError: if it is no such number, or no message has it
    :raises LakeError: naming the file that cannot be read
    :raises LineageError: if it takes more than the bounds allow
    """
    if not re.fullmatch(r"-?[0-9]{1,19}", vente_id) or int(vente_id) not in _INT64:
        raise ParameterError("vente_id", f"vente_id={vente_id!r} cannot be used: it takes a whole number of 64 bits.")
    with Queries(source, snapshot, bounds) as queries:
        condition = f"vente_id = {int(vente_id)}"
        chapters = _tell(queries, condition, condition)
    if not chapters:
        raise ParameterError(
            "vente_id",
            f"No message with vente_id={int(vente_id)} is in Bronze or in snapshot {snapshot.id}: it was not sent, or "
            "not archived yet, or its payload could not be read (then its position finds it).",
        )
    return Story(snapshot, chapters)


def of_position(source: Lake, snapshot: Manifest, position: str, bounds: Bounds) -> Story:
    """The story of the message at a position, ``TOPIC_ID/PARTITION/OFFSET``; a topic's name serves as its id.

    :raises ParameterError: if it is none, or no message is there
    :raises LakeError: naming the file that cannot be read
    :raises LineageError: if it takes more than the bounds allow
    """
    parts = _POSITION.fullmatch(position)
    if parts is None:
        raise ParameterError(
            "position",
            f"position={position!r} cannot be used: it takes TOPIC_ID/PARTITION/OFFSET, such as ventes/0/42.",
        )
    topic, partition, offset = parts[1], int(parts[2]), int(parts[3])
    with Queries(source, snapshot, bounds) as queries:
        ids = {each.topic_id for each in queries.sources if topic in (each.topic_id, each.topic)} or {topic}
        if len(ids) > 1:
            raise ParameterError(
                "position",
                f"position={position!r} is not one: there were several topics of that name. Give the id of one: "
                f"{', '.join(sorted(ids))}.",
            )
        in_source = f"topic_id = '{min(ids)}' AND \"partition\" = {partition}"
        at = f'"offset" = {offset}'
        chapters = _tell(
            queries, f"{in_source} AND {at}", f"number IN (SELECT number FROM sources WHERE {in_source}) AND {at}"
        )
    if not chapters:
        raise ParameterError("position", f"No message is at {position}: {_why(snapshot, min(ids), partition, offset)}")
    return Story(snapshot, chapters)


def _why(snapshot: Manifest, topic_id: str, partition: int, offset: int) -> str:
    ends = {(each.topic_id, each.partition): end for each, end in snapshot.positions.items()}
    if (topic_id, partition) not in ends:
        known = ", ".join(f"{each.topic_id}/{each.partition}" for each in sorted(snapshot.positions)) or "none"
        return f"snapshot {snapshot.id} has no such partition. It has {known}."
    if offset >= ends[topic_id, partition]:
        return f"Bronze does not have it yet, and snapshot {snapshot.id} ends before {ends[topic_id, partition]}."
    return (
        f"snapshot {snapshot.id} covers that position, and found none: it is a transaction marker, was compacted away, "
        f"or Kafka deleted it before it was read (`qualite` counts those as {event.PERDU!r})."
    )


def _tell(queries: Queries, in_bronze: str, in_silver: str) -> tuple[Chapter, ...]:
    """:param in_bronze: condition on a row of Bronze; ``in_silver`` on one of the queries of ``behind``"""
    rows = queries.rows(
        f'SELECT topic, topic_id, "partition", "offset", "timestamp", kafka_timestamp '
        f"FROM {queries.relation(lake.BRONZE)} WHERE {in_bronze}"
    )
    queries.add_sources(SourcePartition(row["topic_id"], row["partition"], row["topic"]) for row in rows)
    judged = _judged(queries, in_silver)  # 1
    for row in rows:
        place = _place(queries, row)
        judged.setdefault(place, Judged(place, None, None))
    days = {row[clock].date() for row in rows for clock in ("timestamp", "kafka_timestamp") if row[clock]}
    told = messages.with_raw(queries, sorted(judged.values(), key=_order), days)  # 2
    parsed = _parsed(queries, told)
    by_message = _figures(queries, told, parsed)  # 3
    return tuple(
        Chapter(
            message=message,
            is_waiting=message.outcome is None and _is_beyond(queries.snapshot, message),
            agrees=_agrees(message, parsed.get(number)),
            figures=tuple(by_message.get(number, ())),
        )
        for number, message in enumerate(told)
    )


def _judged(queries: Queries, condition: str) -> dict[Place, Judged]:
    judged = {}
    for row in queries.rows(f"SELECT * FROM ({behind.counted_sql(queries, None)}) WHERE {condition}"):
        place = (row["number"], row["offset"])
        fields = {each: row[each] for each in event.FIELD_NAMES}
        judged[place] = Judged(place, event.VALIDE, row["sequence"], fields=fields)
    for row in queries.rows(f"SELECT * FROM ({behind.rejected_sql(queries)}) WHERE {condition}"):
        judged[row["number"], row["offset"]] = messages.not_counted(row)
    return judged


def _place(queries: Queries, row: Mapping[str, Any]) -> Place:
    source = SourcePartition(row["topic_id"], row["partition"], row["topic"])
    return queries.sources.index(source), row["offset"]


def _order(judged: Judged) -> tuple[bool, int, Place]:
    return judged.sequence is None, judged.sequence or 0, judged.place


def _is_beyond(snapshot: Manifest, message: Message) -> bool:
    at = message.position
    return at.offset >= snapshot.positions.get(SourcePartition(at.topic_id, at.partition, at.topic), 0)


def _parsed(queries: Queries, told: Sequence[Message]) -> dict[int, dict[str, Any]]:
    """What the payloads give, by the message's number in the story."""
    raw = {number: message.raw for number, message in enumerate(told) if message.raw}
    columns = {
        "story": pa.array(raw.keys(), pa.int64()),
        "payload": pa.array([each.payload for each in raw.values()], pa.binary()),
        "kafka_timestamp": pa.array([each.kafka_timestamp for each in raw.values()], _UTC),
    }
    queries.hold("payloads", pa.table(columns))
    rows = queries.rows(classification.sql("payloads", ("story",)))
    return {
        row["story"]: row | {"timestamp": row["timestamp"] and row["timestamp"].replace(tzinfo=UTC)} for row in rows
    }


def _agrees(message: Message, parsed: Mapping[str, Any] | None) -> bool | None:
    if parsed is None or message.outcome is None or message.fields is None:
        return None
    is_valid = message.outcome in (event.VALIDE, event.DOUBLON)
    return parsed["motif"] == (None if is_valid else message.outcome) and all(
        parsed[each] == message.fields[each] for each in event.FIELD_NAMES
    )


def _figures(
    queries: Queries, told: Sequence[Message], parsed: Mapping[int, Mapping[str, Any]]
) -> dict[int, list[Figure]]:
    """The figures that each message is part of, by its number in the story."""
    numbers = {message.sequence: number for number, message in enumerate(told) if message.sequence is not None}
    behind.of_places(queries, [place for place, number in numbers.items() if told[number].outcome == event.VALIDE])
    _hold_messages(queries, told, parsed)
    found: dict[int, list[Figure]] = {}
    for view in views.VIEWS:
        keys = [f"{dimension.sql} AS {name(dimension.name)}" for dimension in view.key]
        rows = queries.rows(
            f"SELECT {', '.join(['sequence', *keys, f'{view.start_ms_sql} AS start_ms'])} FROM {view.source}"
        )
        tables = [each for each in figures.tables().values() if each.view == view]
        for row in rows:
            start = _EPOCH + timedelta(milliseconds=int(row["start_ms"]))
            values = row | {"annee": start.year, "mois": start.month}
            for table in tables:
                key = {field.name: values[field.name] for field in table.key}
                address = Address(table, key, start if table.window else None)
                held = figures.look_up(queries, address)
                figure = Figure(address, dict.fromkeys(table.columns) if held is None else table.held(held))
                found.setdefault(numbers[row["sequence"]], []).append(figure)
    return found


def _hold_messages(queries: Queries, told: Sequence[Message], parsed: Mapping[int, Mapping[str, Any]]) -> None:
    """Make ``messages`` of those with an outcome whose Kafka timestamp Bronze knows."""
    known = [
        (each, each.raw, parsed[number]) for number, each in enumerate(told) if each.raw and each.sequence is not None
    ]
    columns = {
        "sequence": pa.array([each.sequence for each, _, _ in known], pa.int64()),
        "motif": pa.array([each.outcome for each, _, _ in known], pa.string()),
        "kafka_timestamp": pa.array([raw.kafka_timestamp for _, raw, _ in known], _UTC),
        "messages": pa.array([1] * len(known), pa.int64()),
        "montant_arrondi": pa.array([int(row["montant_arrondi"]) for _, _, row in known], pa.int64()),
    } | {
        f"nul_{field}": pa.array([int(row[field] is None) for _, _, row in known], pa.int64())
        for field in event.FIELD_NAMES
    }
    queries.hold(views.Source.MESSAGES, pa.table(columns))
