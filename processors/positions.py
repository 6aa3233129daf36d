"""How far each source partition has been counted: the state that makes every replay harmless.

``Positions`` lives in Quix Streams' state and moves with the windows in one Kafka transaction, so that a message is
counted if and only if its position is below the partition's high-water mark.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from salesviews.arrays import Int64s
from salesviews.errors import GapError
from salesviews.typed import OFFSET_BITS, Interval, SourcePartition

_OFFSET_MASK = (1 << OFFSET_BITS) - 1


@dataclass
class Mark:
    """A source partition's high-water mark.

    :param end: the next position to count
    :param log_end: the partition's end as ingest last knew it
    """

    source: SourcePartition
    end: int = 0
    log_end: int = 0


@dataclass
class Boundary:
    """Where a day of Kafka timestamps began in the total order.

    :param day: days since 1970
    :param ends: the marks' ends at that moment, by index; a source that came later starts at 0
    """

    day: int
    ends: list[int]


@dataclass
class Positions:
    """High-water marks, in the order in which the sources were first seen, and the days of the dedup horizon.

    A position packed into 64 bits is the source's index and its offset.
    """

    marks: list[Mark] = field(default_factory=list)
    boundaries: list[Boundary] = field(default_factory=list)

    @classmethod
    def from_state(cls, state: Any) -> "Positions":
        if state is None:
            return cls()
        marks = [
            Mark(SourcePartition(topic_id, partition, topic), end, log_end)
            for topic, topic_id, partition, end, log_end in state["marks"]
        ]
        return cls(marks, [Boundary(day, ends) for day, ends in state["boundaries"]])

    def to_state(self) -> Any:
        return {
            "marks": [
                [mark.source.topic, mark.source.topic_id, mark.source.partition, mark.end, mark.log_end]
                for mark in self.marks
            ],
            "boundaries": [[boundary.day, boundary.ends] for boundary in self.boundaries],
        }

    def index_of(self, source: SourcePartition) -> int:
        for index, mark in enumerate(self.marks):
            if mark.source == source:
                return index
        self.marks.append(Mark(source))
        return len(self.marks) - 1

    def advance(self, interval: Interval) -> tuple[int, int]:
        """Count an interval. Gives the source's index and the first position of the interval that was not counted yet.

        :raises GapError: if positions between the high-water mark and the interval are missing
        """
        index = self.index_of(interval.source)
        mark = self.marks[index]
        if interval.start > mark.end:
            raise GapError(
                f"{interval.source} was counted up to position {mark.end}, but the next typed batch starts at "
                f"{interval.start}: "
                f"{interval.start - mark.end} positions are missing from the typed batches. Going on would lose them. "
                "`salesviews rebuild` computes everything again from Bronze."
            )
        start, mark.end = mark.end, max(mark.end, interval.end)
        mark.log_end = max(mark.log_end, interval.log_end, mark.end)
        return index, start

    @property
    def is_at_known_end(self) -> bool:
        return all(mark.end >= mark.log_end for mark in self.marks)

    @property
    def day(self) -> int | None:
        """The latest day of Kafka timestamps so far, in days since 1970; None before the first."""
        return self.boundaries[-1].day if self.boundaries else None

    def is_later_day(self, day: int) -> bool:
        return self.day is None or day > self.day

    def begin_day(self, day: int) -> None:
        """Record that a day of Kafka timestamps begins now that is later than any before."""
        self.boundaries.append(Boundary(day, [mark.end for mark in self.marks]))

    def horizon(self, days: int) -> list[int]:
        """The first position of each source, by index, inside a horizon of so many days; forgets older boundaries."""
        if not self.boundaries:
            return []
        oldest = self.boundaries[-1].day - days
        self.boundaries = [boundary for boundary in self.boundaries if boundary.day >= oldest]
        return self.boundaries[0].ends


def pack(index: int | Int64s, offsets: Int64s) -> Int64s:
    """Positions as one integer each (``typed.OFFSET_BITS``).

    :param index: the numbers of their source partitions, in the order of ``Positions.marks``
    """
    return offsets | (index << OFFSET_BITS)


def unpack(packed: Int64s) -> tuple[Int64s, Int64s]:
    """Indexes and offsets."""
    return packed >> OFFSET_BITS, packed & _OFFSET_MASK


def at_or_after(packed: Int64s, starts: list[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which positions are at or after their source's start."""
    indexes, offsets = unpack(packed)
    missing = int(indexes.max(initial=-1)) + 1 - len(starts)
    padded = np.array([*starts, *[0] * max(missing, 0)], np.int64)
    result: np.ndarray[Any, np.dtype[np.bool_]] = offsets >= padded[indexes]
    return result
