"""What a lineage or a story says, as text for a person."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from salesviews.lineage import Lineage
from salesviews.lineage.figures import Address, window_text
from salesviews.lineage.lineage_answer import WAITING, instant
from salesviews.lineage.messages import Message
from salesviews.lineage.story import Chapter, Story

_SHOWN_VALUES = 4


def of(told: Lineage | Story) -> str:
    """A lineage or a story for a person."""
    return "\n".join(_lineage_lines(told) if isinstance(told, Lineage) else _story_lines(told))


def _lineage_lines(lineage: Lineage) -> Iterator[str]:
    yield f"{_title(lineage.figure.address)}, in snapshot {lineage.snapshot.id}"
    for name, value in lineage.figure.values.items():
        again = lineage.sums[name]
        yield f"  {name:<20} {_shown(value):>27}{'' if again == value else f'   but {_shown(again)} is behind it'}"
    verdict = {True: "which add up to it", False: "which do NOT add up to it", None: "which cannot be added up"}
    what = lineage.figure.address.of.view.source.name.lower()
    yield f"Behind it: {lineage.behind.total:,} {what}, {verdict[lineage.adds_up]}"
    for message in lineage.behind.messages:
        yield from _message_lines(message)
    if lineage.left_out.total:
        reasons = ", ".join(f"{motif} {count:,}" for motif, count in lineage.left_out_by_motif.items())
        yield f"Left out: {lineage.left_out.total:,} messages ({reasons})"
        for message in lineage.left_out.messages:
            yield from _message_lines(message)
    yield from lineage.notes
    for option, listed in (("--after", lineage.behind), ("--left-out-after", lineage.left_out)):
        if listed.next is not None:
            yield f"Next of {listed.pages:,} pages: {option} {listed.next}"


def _story_lines(story: Story) -> Iterator[str]:
    yield f"{len(story.chapters):,} message{'' if len(story.chapters) == 1 else 's'}, in snapshot {story.snapshot.id}"
    for chapter in story.chapters:
        yield from _message_lines(chapter.message, chapter.is_waiting)
        yield f"    {_proof(chapter)}"
        for figure in chapter.figures:
            values = ", ".join(f"{name} {_shown(value)}" for name, value in list(figure.values.items())[:_SHOWN_VALUES])
            yield f"    in {_title(figure.address)}: {values}"
    yield from story.notes


def _proof(chapter: Chapter) -> str:
    if chapter.agrees is None:
        return "Not proved: there is no outcome, or no raw message."
    if chapter.agrees:
        return "Proved: its payload, parsed again, gives this outcome and these values."
    return "NOT what its payload gives, parsed again."


def _message_lines(message: Message, is_waiting: bool = False) -> Iterator[str]:
    outcome = WAITING if is_waiting else message.outcome or "without an outcome"
    counted = "" if message.counted_at is None else f" of {message.counted_at}, which counted"
    new = " (nouveau_client)" if message.nouveau_client else ""
    yield f"  {message.position}  {outcome}{counted}{new}"
    known = {name: value for name, value in (message.fields or {}).items() if value is not None}
    if known:
        yield "    " + ", ".join(f"{name} {_plain(value)}" for name, value in known.items())
    raw = message.raw
    if raw is None:
        yield "    not in Bronze"
        return
    key = "" if raw.key is None else f", key {_printable(raw.key)}"
    headers = "".join(f", header {name} {'none' if v is None else _printable(v)}" for name, v in raw.headers or ())
    yield f"    sent {instant(raw.kafka_timestamp)}, archived {instant(raw.date_ingestion)}{key}{headers}"
    yield f"    {'no payload (a tombstone)' if raw.payload is None else _printable(raw.payload) or 'an empty payload'}"


def _title(address: Address) -> str:
    key = "".join(f", {name} {_plain(value)}" for name, value in address.key.items())
    window = address.of.window
    when = "" if window is None else f", {window.column} {window_text(address.values[window.column])}"
    return f"{address.of.name}{key}{when}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, datetime):
        return instant(value)
    return f"{value:,.2f}" if isinstance(value, Decimal) else f"{value:,}"


def _plain(value: Any) -> str:
    return instant(value) if isinstance(value, datetime) else _escaped(str(value))


def _printable(data: bytes) -> str:
    return _escaped(data.decode("utf-8", errors="backslashreplace"))


def _escaped(text: str) -> str:
    """The text as a terminal shows it: what would control the terminal is escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
