"""Sets of positions, as sorted and disjoint ranges: what a table holds of a partition, what it lacks, what was read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from salesviews.arrays import Int64s, Mask

_LARGEST = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Ranges:
    """The positions of ranges [start, end): each not empty, in order, and none touching the next. 16 bytes a range."""

    starts: Int64s
    ends: Int64s

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> "Ranges":
        """:param pairs: start and end; they may overlap, be empty, and be in any order"""
        bounds = np.array([pair for pair in pairs if pair[0] < pair[1]], np.int64).reshape(-1, 2)
        return _at_depth([Ranges(bounds[:, 0], bounds[:, 1])], 1)

    @classmethod
    def span(cls, start: int, end: int) -> "Ranges":
        return cls.of([(start, end)])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.starts.tolist(), self.ends.tolist(), strict=True)

    def __len__(self) -> int:
        return len(self.starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and list(self) == list(other)

    @property
    def positions(self) -> int:
        """How many positions there are."""
        return int((self.ends - self.starts).sum())

    def contains(self, offsets: Int64s) -> Mask:
        """Which of some positions are in the ranges."""
        inside: Mask = np.searchsorted(self.starts, offsets, "right") > np.searchsorted(self.ends, offsets, "right")
        return inside

    def __and__(self, other: "Ranges") -> "Ranges":
        return _at_depth([self, other], 2)

    def __or__(self, other: "Ranges") -> "Ranges":
        return _at_depth([self, other], 1)

    def __sub__(self, other: "Ranges") -> "Ranges":
        outside = Ranges(np.append(0, other.ends), np.append(other.starts, _LARGEST))
        return self & outside

    def within(self, start: int, end: int) -> "Ranges":
        return self & Ranges.span(start, end)

    def joined(self, distance: int) -> "Ranges":
        """With fewer ranges: those less than ``distance`` apart become one, with the positions between them."""
        apart = self.starts[1:] - self.ends[:-1] >= distance
        return Ranges(
            np.append(self.starts[:1], self.starts[1:][apart]), np.append(self.ends[:-1][apart], self.ends[-1:])
        )


def _at_depth(sets: list[Ranges], depth: int) -> Ranges:
    """The positions that are in at least so many of the sets."""
    bounds = np.concatenate([bound for each in sets for bound in (each.starts, each.ends)])
    steps = np.concatenate([np.repeat(step, len(each)) for each in sets for step in (1, -1)])
    order = np.lexsort((-steps, bounds))  # where one range ends and another starts, they are one
    bounds, is_inside = bounds[order], np.cumsum(steps[order]) >= depth
    was_inside = np.append(False, is_inside[:-1])[: len(bounds)]
    starts, ends = bounds[is_inside & ~was_inside], bounds[was_inside & ~is_inside]
    return Ranges(starts[starts < ends], ends[starts < ends])


NONE = Ranges.of([])
