"""Pages: the value of a tumbling window, cut into pieces of some hundred keys each, as sorted columns in bytes.

A row of a page is a key's digest (``key_digests``) and its measures; rows are in the order of their digests. Of a
window of ``2 ** depth`` pages, page ``p`` holds the digests whose first ``depth`` bits are ``p`` backwards. So when a
window doubles its pages, page ``p`` keeps half of its rows, and the others go to page ``p + 2 ** depth``.

Measures are 64-bit integers. Where one of a page does not fit, all of that page have 128 bits: a sum never wraps.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from salesviews.arrays import Measures, Words
from salesviews.errors import StateError
from salesviews.views import Combination

TAG = b"P"
"""How the bytes of a page begin; no JSON text begins so."""

PAGE_ROWS = 128
"""A window doubles its pages when they have more rows than that on average: larger pages cost more where few of many
keys change, smaller ones where most do."""
DEEPEST = 24

_HEADER = struct.Struct("<cBHI")
_WIDE = 0xFF
_WIDTHS = ("<i1", "<i2", "<i4", "<i8")
_LIMITS = tuple(int(np.iinfo(width).max) for width in _WIDTHS)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in the order of their digests, each digest once.

    :param digests: of two rows
    """

    digests: Words
    measures: Measures

    def __len__(self) -> int:
        return int(self.digests.shape[1])

    def part(self, start: int, end: int) -> "Rows":
        return Rows(self.digests[:, start:end], self.measures[:, start:end])


def no_rows(measures: int) -> Rows:
    return Rows(np.zeros((2, 0), np.uint64), np.zeros((measures, 0), np.int64))


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of parts whose digests follow each other."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.digests for part in parts], axis=1),
        np.concatenate([part.measures for part in parts], axis=1),
    )


def encode(rows: Rows) -> bytes:
    """A page's bytes: a header, the digests word by word, and each measure in the fewest bytes that hold it."""
    count, measures = len(rows), rows.measures
    widths, columns = bytearray(), [rows.digests.astype("<u8", copy=False).tobytes()]
    if measures.dtype == object:
        widths += bytes([_WIDE]) * len(measures)
        columns += [
            b"".join(int(value).to_bytes(16, "little", signed=True) for value in measure) for measure in measures
        ]
    else:
        highest = np.maximum(measures.max(axis=1, initial=0), -1 - measures.min(axis=1, initial=0))
        for measure, most in zip(measures, highest.tolist(), strict=True):
            width = 0 if most <= _LIMITS[0] else 1 if most <= _LIMITS[1] else 2 if most <= _LIMITS[2] else 3
            widths.append(width)
            columns.append(measure.astype(_WIDTHS[width]).tobytes())
    return b"".join((_HEADER.pack(TAG, 1, len(measures), count), widths, *columns))


def decode(page: bytes, measures: int) -> Rows:
    """
    :param measures: how many a row has
    :raises StateError: if these are not the bytes of such a page
    """
    tag, version, width, count = _HEADER.unpack_from(page)
    if (tag, version, width) != (TAG, 1, measures):
        raise StateError(
            f"A page of views' state has format {tag!r} {version} with {width} measures; this program reads {TAG!r} 1 "
            f"with {measures}. Another program wrote it: `salesviews rebuild` computes the state again from Bronze."
        )
    place = _HEADER.size
    widths = page[place : place + measures]
    place += measures
    digests = np.frombuffer(page, "<u8", 2 * count, place).reshape(2, count)
    place += 16 * count
    if widths and widths[0] == _WIDE:
        values = [
            int.from_bytes(page[start : start + 16], "little", signed=True)
            for start in range(place, place + 16 * count * measures, 16)
        ]
        return Rows(digests, np.array(values, object).reshape(measures, count))
    decoded = np.empty((measures, count), np.int64)
    for row, width in enumerate(widths):
        decoded[row] = np.frombuffer(page, _WIDTHS[width], count, place)
        place += count << width
    return Rows(digests, decoded)


def merged(held: Rows, gained: Rows, combinations: Sequence[Combination]) -> tuple[Rows, np.ndarray[Any, Any]]:
    """Both together.

    :param combinations: of each measure
    :return: the rows, and the place of each gained one in them
    """
    places = np.searchsorted(held.digests[0], gained.digests[0])
    if _has_twins(held.digests[0]) or _has_twins(gained.digests[0]):
        return _merged_with_twins(held, gained, combinations)
    near = np.minimum(places, max(len(held) - 1, 0))
    if len(held):
        is_held = held.digests[0][near] == gained.digests[0]
        if (held.digests[1][near] != gained.digests[1])[is_held].any():
            return _merged_with_twins(held, gained, combinations)
    else:
        is_held = np.zeros(len(gained), np.bool_)
    is_new = ~is_held
    before = np.cumsum(is_new)
    added = int(before[-1]) if len(before) else 0
    into = places + before - is_new
    digests = np.empty((2, len(held) + added), np.uint64)
    measures = np.empty((len(held.measures), len(held) + added), _kind(held.measures, gained.measures))
    new_places = into[is_new]
    was_held = np.ones(len(held) + added, np.bool_)
    was_held[new_places] = False
    digests[:, was_held], digests[:, new_places] = held.digests, gained.digests[:, is_new]
    measures[:, was_held], measures[:, new_places] = held.measures, gained.measures[:, is_new]
    if not is_new.all():
        both = into[is_held]
        measures = _combined(measures, both, gained.measures[:, is_held], combinations)
    return Rows(digests, measures), into


def found(held: Rows, digests: Words) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For digests in order: whether each is held, and its place (any where it is not)."""
    if not len(held):
        return np.zeros(digests.shape[1], np.bool_), np.zeros(digests.shape[1], np.int64)
    places = np.minimum(np.searchsorted(held.digests[0], digests[0]), len(held) - 1)
    for _ in range(len(held)):
        is_twin = (held.digests[0][places] == digests[0]) & (held.digests[1][places] != digests[1])
        is_twin &= places < len(held) - 1
        if not is_twin.any():
            break
        places = places + is_twin
    return (held.digests[:, places] == digests).all(axis=0), places


def _kind(*measures: Measures) -> Any:
    return object if any(each.dtype == object for each in measures) else np.int64


def _combined(measures: Measures, places: Any, gained: Measures, combinations: Sequence[Combination]) -> Measures:
    """The measures with some gained at places, each once."""
    held = measures[:, places]
    totals = np.empty_like(held)
    for row, combination in enumerate(combinations):
        ours, theirs = held[row], gained[row]
        match combination:
            case Combination.SUM:
                totals[row] = total = ours + theirs
                # Two of one sign whose sum has another have wrapped.
                if held.dtype != object and (((ours ^ total) & (theirs ^ total)) < 0).any():
                    return _combined(measures.astype(object), places, gained.astype(object), combinations)
            case Combination.LEAST:
                totals[row] = np.minimum(ours, theirs)
            case Combination.MOST:
                totals[row] = np.maximum(ours, theirs)
    measures[:, places] = totals
    return measures


def _has_twins(words: Any) -> bool:
    """Two digests of the rows share their first word, which sorted digests hardly ever do."""
    return bool((words[1:] == words[:-1]).any())


def _merged_with_twins(
    held: Rows, gained: Rows, combinations: Sequence[Combination]
) -> tuple[Rows, np.ndarray[Any, Any]]:
    """As ``merged``, one row at a time."""
    totals = {_pair(held, place): [int(value) for value in held.measures[:, place]] for place in range(len(held))}
    for place in range(len(gained)):
        pair, values = _pair(gained, place), [int(value) for value in gained.measures[:, place]]
        ours = totals.get(pair)
        totals[pair] = (
            values if ours is None else [each.of(*two) for each, *two in zip(combinations, ours, values, strict=True)]
        )
    order = sorted(totals)
    place_of = {pair: place for place, pair in enumerate(order)}
    measures = np.array([totals[pair] for pair in order], object).reshape(len(order), len(combinations)).T
    is_narrow = all(abs(value) <= _LIMITS[-1] for pair in order for value in totals[pair])
    rows = Rows(np.array(order, np.uint64).reshape(-1, 2).T, measures.astype(np.int64) if is_narrow else measures)
    return rows, np.array([place_of[_pair(gained, place)] for place in range(len(gained))], np.int64)


def _pair(rows: Rows, place: int) -> tuple[int, int]:
    return int(rows.digests[0, place]), int(rows.digests[1, place])


def depth_for(rows: int, depth: int) -> int:
    """How many bits of a digest tell the page of a window that has so many rows, and has pages of ``depth`` bits."""
    while depth < DEEPEST and rows > PAGE_ROWS << depth:
        depth += 1
    return depth


def numbers(digests: Words, depth: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The page of each digest."""
    if not depth:
        return np.zeros(digests.shape[1], np.int64)
    return reversed_bits((digests[0] >> np.uint64(64 - depth)).astype(np.int64), depth)


def reversed_bits(values: np.ndarray[Any, np.dtype[np.int64]], depth: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    result = np.zeros_like(values)
    for _ in range(depth):
        result = (result << 1) | (values & 1)
        values = values >> 1
    return result
