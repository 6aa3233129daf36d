"""What a rebuild says: its values, as text, and as JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from salesviews.audit import changes
from salesviews.audit.changes import ViewChange


@dataclass(frozen=True)
class Result:
    """
    :param snapshot: the id of the manifest that serves the new generation; None where it was only computed
    :param valid: sales that count: rows of ``ventes_clean``; ``valid_before`` is how many there were, None: not known
    :param order: how messages of several partitions were put in order
    :param lost: positions that Kafka deleted before they were read, taken over from the old figures
    :param notes: what could not be taken over or compared
    """

    generation: int
    snapshot: int | None
    messages: int
    valid: int
    valid_before: int | None
    order: str
    lost: int
    duration_s: float
    messages_per_s: float
    positions: dict[str, int]
    notes: tuple[str, ...]
    views: tuple[ViewChange, ...]
    roll_ups: tuple[ViewChange, ...]


def as_json(result: Result) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(result), default=str))
    return plain


def text(result: Result) -> str:
    """The result for a person."""
    return "\n".join(_lines(result))


def _lines(result: Result) -> Iterator[str]:
    yield (
        f"Generation {result.generation}: {result.messages:,} messages, {result.valid:,} sales that count, "
        f"in {result.duration_s:.1f} s: {result.messages_per_s:,.0f} messages a second"
    )
    yield f"Order: {result.order}"
    yield from result.notes
    yield from changes.lines((*result.views, *result.roll_ups))
    if result.valid_before not in (None, result.valid):
        yield f"ventes_clean: {result.valid_before:,} -> {result.valid:,} rows"
    if result.snapshot is None:
        yield "Nothing was replaced: this was a dry run."
    else:
        yield f"It is served from snapshot {result.snapshot} on; the processors go over to it by themselves."
