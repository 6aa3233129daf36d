"""How much views takes at once: small takes first, then larger ones by what they cost, and never twice too much.

A take is some typed batches, a checkpoint some takes. A note beside the state says from where and how much a checkpoint
tried, in bytes of typed batches. Where a process ended before its checkpoint did, the next one finds the note of its
own position, and tries a quarter of that: whatever ended it, and however slow the machine is, some try is small enough
to be committed, at the latest that of a single batch.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import Message

from processors import limits

_log = logging.getLogger(__name__)

_FIRST_BYTES = 512 * 1024
_GROWTH = 4.0
_GATHERED_AT_ONCE = 16
"""Typed batches, of 2 MiB at most."""


@dataclass(frozen=True)
class Note:
    """
    :param position: the offset from which a checkpoint took typed batches
    :param size: how many bytes of them
    :param starts: how many processes in a row began at this position
    """

    position: int
    size: int
    starts: int


class TakeBudget:
    """A ``Gathering`` of typed batches.

    :param note: the file of the note
    :param interval_s: seconds between takes where none waits
    """

    def __init__(self, note: Path, interval_s: float) -> None:
        self._file = note
        self._interval_s = interval_s
        self._take_bytes = float(_FIRST_BYTES)
        self._checkpoint_bytes = float("inf")
        self._position: int | None = None
        self._noted_size = 0
        self._starts = 1
        self._bytes = 0
        self._pages = 0
        self._seconds = 0.0

    def begin(self, position: int) -> int:
        """A process goes on from an offset. Gives how many in a row began there, it included."""
        found = self._read()
        self._position, self._starts = position, 1
        if found is not None and found.position == position and found.size:
            self._starts = found.starts + 1
            self._checkpoint_bytes = max(found.size / _GROWTH, 1.0)
            self._take_bytes = min(self._take_bytes, self._checkpoint_bytes)
            _log.warning(
                "This is start %d in a row from typed batch %d: the process before tried %d bytes of typed batches and "
                "ended without a commit. This one tries %d. If it goes on like this, its last message before this one "
                "says what ended it.",
                self._starts,
                position,
                found.size,
                self._checkpoint_bytes,
            )
        self._write(Note(position, 0, self._starts))
        return self._starts

    def room(self, gathered: Sequence[Message]) -> int:
        return _GATHERED_AT_ONCE if _size(gathered) < min(self._take_bytes, limits.TAKE_BYTES) else 0

    def due(self, gathered: Sequence[Message], since_last_s: float) -> int:
        limit = min(self._take_bytes, self._checkpoint_bytes - self._bytes, limits.TAKE_BYTES)
        total = 0
        for place, message in enumerate(gathered):
            total += len(message.value() or b"")
            if total > limit:
                return max(place, 1)
        return len(gathered) if since_last_s >= self._interval_s else 0

    def trying(self, size: int) -> None:
        """A take begins: note how much the checkpoint has with it."""
        if self._position is not None:
            self._write(Note(self._position, self._bytes + size, self._starts))

    def wrote(self, pages: int) -> None:
        """A take has written so many pages."""
        self._pages += pages

    def took(self, messages: Sequence[Message], is_behind: bool, elapsed_s: float) -> bool:
        size = _size(messages)
        self._bytes += size
        self._seconds += elapsed_s
        if size * _GROWTH >= self._take_bytes:  # a smaller one says nothing of larger ones
            fits = size * limits.TAKE_S / max(elapsed_s, 0.001)
            self._take_bytes = min(max(fits, 1.0), self._take_bytes * _GROWTH, float(limits.TAKE_BYTES))
        return (
            not is_behind
            or self._bytes >= self._checkpoint_bytes
            or self._pages >= limits.CHECKPOINT_PAGES
            or self._seconds >= limits.CHECKPOINT_S
        )

    def committed(self, position: int) -> None:
        """A checkpoint has ended; the next one takes from an offset."""
        self._position, self._starts = position, 1
        self._checkpoint_bytes = self._checkpoint_bytes * _GROWTH if self._bytes else self._checkpoint_bytes
        self._bytes = self._pages = 0
        self._seconds = 0.0

    def _read(self) -> Note | None:
        try:
            return Note(**json.loads(self._file.read_text(encoding="ascii")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            _log.info("The note %s of what was tried cannot be read: %s. Takes begin small.", self._file, error)
            return None

    def _write(self, note: Note) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_name(f"{self._file.name}.new")
        new.write_text(json.dumps(asdict(note)), encoding="ascii")
        new.replace(self._file)


def _size(messages: Sequence[Message]) -> int:
    return sum(len(message.value() or b"") for message in messages)
