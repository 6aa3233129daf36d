"""What a replay says: its values, as text and as JSON."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from salesviews.tables.ranges import Ranges

_KEPT_RANGES = 1_000
_SHOWN_RANGES = 20


@dataclass(frozen=True)
class Partition:
    """What became of the positions [start, end) of a source partition.

    ``held_before + added + empty + unread + gone`` is how many there are.

    :param low: the first position that Kafka still holds
    :param held_before: messages that Bronze had
    :param added: messages that Bronze has gained meanwhile, by this replay or by an ingest beside it
    :param empty: positions that hold no message, as Kafka says
    :param unread: positions that Kafka has deleted and of which no message was ever read: Silver has counted past them.
        It deleted them before, or they never were messages, as a transaction's marker; ``perdus`` says how many were
    :param gone: messages that Bronze lacks and that Kafka has deleted
    :param gone_ranges: the first of them, as [start, end)
    :param seconds: how long the messages that were read took
    """

    topic: str
    topic_id: str
    partition: int
    start: int
    end: int
    low: int
    held_before: int
    added: int
    empty: int
    unread: int
    gone: int
    gone_ranges: tuple[tuple[int, int], ...]
    seconds: float
    messages_per_s: float


@dataclass(frozen=True)
class Result:
    """
    :param complete: Bronze has every message of the range that it, Kafka or Silver knows of, `perdu` in `qualite` too
    :param perdus: how many unread positions of all partitions `qualite` counts as deleted by Kafka before they were
        read; before Silver has counted past them, they are among those that are gone
    :param files_gone: data files that Bronze's log named and that were not there
    :param files_unreadable: data files that were set aside, where they are now
    """

    complete: bool
    since: str
    duration_s: float
    added: int
    messages_per_s: float
    gone: int
    perdus: int
    files_gone: tuple[str, ...]
    files_unreadable: tuple[str, ...]
    partitions: tuple[Partition, ...]


def first(ranges: Ranges) -> tuple[tuple[int, int], ...]:
    """The first ranges of many: what a result keeps."""
    return tuple(itertools.islice(ranges, _KEPT_RANGES))


def as_json(result: Result) -> dict[str, Any]:
    return asdict(result)


def text(result: Result) -> str:
    """The result for a person."""
    return "\n".join(_lines(result))


def _lines(result: Result) -> Iterator[str]:
    for file in result.files_gone:
        yield f"Gone, and taken out of Bronze's log: {file}"
    for file in result.files_unreadable:
        yield f"Unreadable, set aside and taken out of Bronze's log: {file}"
    for each in result.partitions:
        yield (
            f"{each.topic}[{each.partition}] ({each.topic_id}): positions {each.start:,} to {each.end:,}: "
            f"{each.held_before:,} messages held, {each.added:,} added"
            f"{f' in {each.seconds:.1f} s ({each.messages_per_s:,.0f}/s)' if each.added else ''}; "
            f"{each.empty:,} positions hold no message"
        )
        if each.unread:
            yield f"  {each.unread:,} positions were deleted by Kafka, and no message of them was ever read"
        if each.gone:
            yield f"  GONE: {each.gone:,} messages that Bronze lacks and Kafka has deleted: {_positions(each)}"
    yield f"{result.added:,} messages added in {result.duration_s:.1f} s: {result.messages_per_s:,.0f} a second"
    if result.complete:
        yield "Bronze has every message of the range."
    if result.perdus:
        yield (
            f"{result.perdus:,} MESSAGES WERE NEVER READ: Kafka deleted them before ingest came to them (`perdu` in "
            "`qualite`). No replay and no backup of Bronze has them; raise the topic's retention"
        )
    if result.gone:
        yield f"{result.gone:,} MESSAGES ARE GONE FOR GOOD, unless a backup of Bronze has them"


def _positions(each: Partition) -> str:
    ranges = each.gone_ranges[:_SHOWN_RANGES]
    shown = [f"{start}" if end == start + 1 else f"{start}-{end - 1}" for start, end in ranges]
    return ", ".join(shown if sum(end - start for start, end in ranges) == each.gone else [*shown, "…"])
