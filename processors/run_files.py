"""Sorted runs: entries of two 64-bit integers in the order of their keys, in memory or in a file that is mapped.

A file is one page of header, then all keys, all values, and the key of every 512th entry. Those few stay in the
processor's caches, so that a key is found in one page of the file, whatever its size. A file is written in pieces:

1. Under a name of its own, keys and values, each piece synchronised with the disk.
2. The keys of every 512th entry, then the header, synchronised likewise.
3. It is renamed.

A crash before 3 leaves a file that is deleted at the next start. After 3 the file is whole, even where the machine lost
its power: it was on the disk before it had its name. Its header has a digest and says how long the file is, so that a
file that was cut, or comes from elsewhere, is recognised.
"""

import hashlib
import json
import mmap
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from salesviews.arrays import Int64s, Mask

FORMAT = 1
UNFINISHED = ".unfinished"
"""How the name of a file ends that is being written."""

_PAGE_BYTES = 4096
_WORD_BYTES = 8
_FENCE = 512
"""Every so many entries a key is noted: as many keys as a page of memory has on most machines."""
_NAME = re.compile(r"(-?\d+)_(-?\d+)\.run")

Entries: TypeAlias = tuple[Int64s, Int64s]
"""Keys, ascending, and values."""


class NotARunError(Exception):
    """A file is no whole run: what is wrong with it."""


@dataclass(frozen=True)
class Header:
    """
    :param origin: what the entries derive from; those of another origin mean nothing
    :param first: the first place in the total order of what is covered
    :param last: the last one
    :param dropped_at: the place in the total order as of which expired entries were left out; for who begins before it,
        some are missing
    :param count: how many entries there are
    :param capacity: for how many there is space
    """

    origin: str
    first: int
    last: int
    dropped_at: int
    count: int
    capacity: int

    def encode(self) -> bytes:
        content = json.dumps({"format": FORMAT} | asdict(self)).encode()
        return (content + b"\n" + _digest(content)).ljust(_PAGE_BYTES)

    @classmethod
    def decode(cls, page: bytes) -> "Header":
        """:raises NotARunError: if it is none, or of another format"""
        content, _, digest = page.rstrip().partition(b"\n")
        if digest != _digest(content):
            raise NotARunError("it was not written to its end, or is damaged")
        fields = json.loads(content)
        if (found := fields.pop("format")) != FORMAT:
            raise NotARunError(f"its format is {found}, and this program's {FORMAT}")
        return cls(**fields)

    @property
    def name(self) -> str:
        return name_of(self.first, self.last)

    @property
    def values_at(self) -> int:
        return _PAGE_BYTES + self.capacity * _WORD_BYTES

    @property
    def fences_at(self) -> int:
        return self.values_at + self.capacity * _WORD_BYTES

    @property
    def fences(self) -> int:
        return -(-self.count // _FENCE)

    @property
    def length(self) -> int:
        return self.fences_at + self.fences * _WORD_BYTES


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


class Run:
    """Entries that never change.

    :param fences: the key of every 512th entry; None: it is small, and in memory
    """

    def __init__(self, keys: Int64s, values: Int64s, fences: Int64s | None = None) -> None:
        self.keys = keys
        self.values = values
        self._fences = fences

    def __len__(self) -> int:
        return len(self.keys)

    def values_of(self, keys: Int64s, found: Mask, values: Int64s) -> None:
        """Where a key of ``keys``, which ascend, is here: set ``found``, and ``values`` to its value."""
        part = self._overlap(keys)
        sought = keys[part]
        if not len(sought):
            return
        places = self._places(sought)
        hits = self.keys[places] == sought
        at = part.start + np.flatnonzero(hits)
        found[at] = True
        values[at] = self.values[places[hits]]

    def has(self, keys: Int64s, values: Int64s, found: Mask) -> None:
        """Where a key of ``keys``, which ascend, is here with its value of ``values``: set ``found``."""
        part = self._overlap(keys)
        sought, with_values = keys[part], values[part]
        if not len(sought):
            return
        places = self._places(sought)
        open_places = np.flatnonzero(self.keys[places] == sought)
        while len(open_places):  # again only where a key has several values
            places_now = places[open_places]
            hits = self.values[places_now] == with_values[open_places]
            found[part.start + open_places[hits]] = True
            open_places, places_now = open_places[~hits], places_now[~hits] + 1
            is_within = places_now < len(self)
            open_places, places_now = open_places[is_within], places_now[is_within]
            places[open_places] = places_now
            open_places = open_places[self.keys[places_now] == sought[open_places]]

    def _overlap(self, keys: Int64s) -> slice:
        """Which of the keys are between the first and the last one here."""
        if not len(self):
            return slice(0, 0)
        return slice(
            int(np.searchsorted(keys, self.keys[0], side="left")),
            int(np.searchsorted(keys, self.keys[-1], side="right")),
        )

    def _places(self, sought: Int64s) -> Int64s:
        """Of each key, the first entry that is not below it. None is above the last one."""
        if self._fences is None:
            return np.searchsorted(self.keys, sought)
        last = len(self) - 1
        places: Int64s = np.maximum(np.searchsorted(self._fences, sought) - 1, 0) * _FENCE
        step = _FENCE // 2
        while step:  # halve the part of a page in which each one is
            is_above = self.keys[np.minimum(places + (step - 1), last)] < sought
            places += step * is_above
            step //= 2
        places += self.keys[np.minimum(places, last)] < sought
        return places


class RunFile(Run):
    """A run in a file.

    :raises NotARunError: if it is no whole run
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self.header = header = Header.decode(file.read(_PAGE_BYTES))
            found = file.seek(0, os.SEEK_END)
            if found != header.length:
                raise NotARunError(f"it has {found:,} bytes, and should have {header.length:,}")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        words = np.frombuffer(mapped, np.int64)
        keys, values, fences = (
            words[at // _WORD_BYTES :][:count]
            for at, count in (
                (_PAGE_BYTES, header.count),
                (header.values_at, header.count),
                (header.fences_at, header.fences),
            )
        )
        super().__init__(keys, values, fences)

    def check(self, origin: str, first_sequence: int) -> None:
        """:raises NotARunError: if it is of no use to who goes on with a place in the total order"""
        header = self.header
        if self.path.name != header.name:
            raise NotARunError(f"it was written as {header.name}")
        if header.origin != origin:
            raise NotARunError(f"its entries derive from {header.origin}, and not from {origin}")
        if max(header.last, header.dropped_at) >= first_sequence:
            raise NotARunError(f"counting goes on at place {first_sequence} of the total order, before its end")


def name_of(first: int, last: int) -> str:
    """The name of the file that covers a range of the total order."""
    return f"{first}_{last}.run"


def is_name(name: str) -> bool:
    """Whether a file has a name as runs have."""
    return _NAME.fullmatch(name) is not None


class RunWriter:
    """Writes a run to a file; what is not finished is deleted.

    :param origin: as in ``Header``
    :param covered: the first place in the total order, and the last one
    :param dropped_at: as in ``Header``
    :param capacity: how many entries there will be at most
    """

    def __init__(self, folder: Path, origin: str, covered: tuple[int, int], dropped_at: int, capacity: int) -> None:
        self._origin = origin
        self._covered = covered
        self._dropped_at = dropped_at
        self._path = folder / (name_of(*covered) + UNFINISHED)
        self._capacity = -(-capacity // _FENCE) * _FENCE  # so that values begin with a page
        self._count = 0
        self._fences: list[Int64s] = []
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *_: Any) -> None:
        os.close(self._file)
        self._path.unlink(missing_ok=True)

    def write(self, keys: Int64s, values: Int64s) -> None:
        """Step 1: entries that come after all before them."""
        at = _PAGE_BYTES + self._count * _WORD_BYTES
        self._put(keys, at)
        self._put(values, at + self._capacity * _WORD_BYTES)
        self._fences.append(keys[-self._count % _FENCE :: _FENCE].copy())
        self._count += len(keys)
        os.fsync(self._file)

    def finish(self) -> RunFile:
        """Steps 2 and 3."""
        header = Header(self._origin, *self._covered, self._dropped_at, self._count, self._capacity)
        os.truncate(self._file, header.length)
        self._put(np.concatenate([np.zeros(0, np.int64), *self._fences]), header.fences_at)
        os.fsync(self._file)
        self._put_bytes(header.encode(), 0)
        os.fsync(self._file)
        return RunFile(self._path.rename(self._path.with_name(header.name)))

    def _put(self, words: Int64s, at: int) -> None:
        self._put_bytes(np.ascontiguousarray(words).view(np.uint8).data, at)

    def _put_bytes(self, content: bytes | memoryview, at: int) -> None:
        while len(content):
            written = os.pwrite(self._file, content, at)
            content, at = content[written:], at + written
