"""What an audit says: its values, as text, as JSON, and as the file beside the tables that keeps the last one."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from salesviews.audit.differences import WHOLE_ROW, Difference
from salesviews.errors import AuditError
from salesviews.tables import storage
from salesviews.tables.storage import Place

FILE = "audit.json"

_LARGEST_JSON_INTEGER = 2**53


@dataclass(frozen=True)
class Partition:
    """The conservation of a source partition: ``received`` is the sum of all that follow it.

    :param positions: how many positions the snapshot covers
    :param received: messages in Bronze; the other positions never were messages, or Kafka deleted them
    """

    topic: str
    topic_id: str
    partition: int
    positions: int
    received: int
    valid: int
    duplicates: int
    rejected: Mapping[str, int]


@dataclass(frozen=True)
class Result:
    """
    :param checked: how many rows of each table were compared
    :param lost: positions that ``qualite`` says Kafka deleted before they were read; Bronze cannot tell
    :param differences: the first of each table; ``differences_by_table`` counts all
    """

    holds: bool
    audited_at: datetime
    duration_s: float
    messages: int
    messages_per_s: float
    snapshot: int
    snapshot_created_at: datetime
    generation: int
    sequence: int
    sample_pct: float | None
    seed: int | None
    checked: Mapping[str, int]
    not_checked: tuple[str, ...]
    partitions: tuple[Partition, ...]
    lost: int | None
    differences_total: int
    differences_by_table: Mapping[str, int]
    differences: tuple[Difference, ...]


def as_json(result: Result) -> dict[str, Any]:
    """The result as one JSON object: instants as ISO 8601, what a JSON number cannot hold exactly as text."""
    plain: dict[str, Any] = _plain(asdict(result))
    return plain


def write(result: Result, lake: Place) -> None:
    """Keep the result as the last one: whole, or not at all.

    A sample that holds says nothing of what it left out: it does not take the place of what a whole audit found.

    :param lake: the folder of the tables
    :raises AuditError: if it cannot be written there
    """
    if result.sample_pct is not None and result.holds:
        return
    file = lake / FILE
    try:
        storage.write(file, json.dumps(as_json(result), ensure_ascii=False).encode())
    except OSError as error:
        raise AuditError(f"The audit was made, but its result could not be written to {file}: {error}") from error


def last(lake: Place) -> dict[str, Any] | None:
    """The last result, as ``as_json`` gives it; None if there is none that can be read."""
    try:
        result = json.loads((lake / FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def text(result: Result) -> str:
    """The result for a person."""
    return "\n".join(_lines(result))


def _lines(result: Result) -> Iterator[str]:
    what = "" if result.sample_pct is None else f", a sample of {result.sample_pct:g} % with seed {result.seed}"
    yield (
        f"Snapshot {result.snapshot} of {result.snapshot_created_at:%Y-%m-%d %H:%M:%S} UTC, "
        f"generation {result.generation}{what}"
    )
    for table, rows in result.checked.items():
        yield f"  {table:<28} {rows:>13,} rows"
    for each in result.partitions:
        reasons = ", ".join(f"{motif} {count:,}" for motif, count in each.rejected.items())
        yield (
            f"{each.topic}[{each.partition}] ({each.topic_id}): {each.received:,} received = {each.valid:,} valid + "
            f"{each.duplicates:,} duplicates + {sum(each.rejected.values()):,} rejected"
            f"{f' ({reasons})' if reasons else ''}; {each.positions - each.received:,} of {each.positions:,} positions "
            "hold no message"
        )
    if result.lost:
        yield f"{result.lost:,} positions were deleted by Kafka before they were read, by `qualite`"
    yield f"{result.messages:,} messages in {result.duration_s:.1f} s: {result.messages_per_s:,.0f} a second"
    if result.not_checked:
        yield f"Not checked: {', '.join(result.not_checked)}"
    for difference in result.differences:
        yield _difference(difference)
    for table, total in result.differences_by_table.items():
        shown = sum(difference.table == table for difference in result.differences)
        yield f"{table}: {total:,} differences{f', {shown} of them shown' if shown < total else ''}"
    yield "Everything that was checked holds." if result.holds else f"{result.differences_total:,} DIFFERENCES"


def _difference(difference: Difference) -> str:
    key = ", ".join(f"{name} {_shown(value)}" for name, value in difference.key.items())
    column = "row" if difference.column == WHOLE_ROW else difference.column
    place = difference.position
    look = "" if place is None else f"; see {place['topic_id']}/{place['partition']}/{place['offset']} in Bronze"
    return (
        f"DIFFERENCE {difference.table} ({key}) {column}: Bronze gives {_shown(difference.expected)}, "
        f"found {_shown(difference.found)}{look}"
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_shown(each)}" for name, each in value.items())
    return "nothing" if value is None else str(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal) or (type(value) is int and abs(value) > _LARGEST_JSON_INTEGER):
        return str(value)
    return value
