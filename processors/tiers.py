"""A map of 64-bit integers that takes and answers whole arrays: sorted arrays, merged like an LSM tree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Int64s: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Values: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""``int64``, or ``int8`` where they do not matter."""
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

_GROWTH = 4
"""A tier is merged into the next one when that is less than so many times its size: fewer to search, more merging."""


@dataclass
class _Tier:
    keys: Int64s
    values: Values

    def __len__(self) -> int:
        return len(self.keys)


class SortedTiers:
    """The map. Keys are unique; 16 bytes a key, or 9 where the values are ``int8``."""

    def __init__(self) -> None:
        self._tiers: list[_Tier] = []

    def __len__(self) -> int:
        return sum(map(len, self._tiers))

    def find(self, keys: Int64s) -> tuple[Mask, Int64s]:
        """For each key, in ascending order, whether it is there, and its value (undefined where it is not)."""
        found = np.zeros(len(keys), np.bool_)
        values = np.zeros(len(keys), np.int64)
        if not len(keys):
            return found, values
        for tier in self._tiers:
            first = int(np.searchsorted(keys, tier.keys[0], side="left"))
            last = int(np.searchsorted(keys, tier.keys[-1], side="right"))
            if first == last:
                continue
            part = slice(first, last)
            places = np.searchsorted(tier.keys, keys[part])
            places = np.minimum(places, len(tier) - 1)
            hits = tier.keys[places] == keys[part]
            found[part] |= hits
            values[part] = np.where(hits, tier.values[places], values[part])
        return found, values

    def add(self, keys: Int64s, values: Values) -> None:
        """Add keys that are not there, in ascending order."""
        if not len(keys):
            return
        self._tiers.append(_Tier(keys, values))
        while len(self._tiers) > 1 and len(self._tiers[-2]) < _GROWTH * len(self._tiers[-1]):
            newer, older = self._tiers.pop(), self._tiers.pop()
            self._tiers.append(_merged(older, newer))

    def keep(self, predicate: Callable[[Int64s], Mask]) -> None:
        """Drop the keys for whose values ``predicate(values)`` is false."""
        kept = [(tier, predicate(tier.values)) for tier in self._tiers]
        self._tiers = [_Tier(tier.keys[mask], tier.values[mask]) for tier, mask in kept if mask.any()]


def _merged(older: _Tier, newer: _Tier) -> _Tier:
    keys = np.concatenate((older.keys, newer.keys))
    order = np.argsort(keys, kind="stable")  # finds the two runs and merges them
    return _Tier(keys[order], np.concatenate((older.values, newer.values))[order])
