import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.positions import Positions, at_or_after, pack, unpack
from salesviews.errors import GapError
from salesviews.typed import Interval, SourcePartition

A = SourcePartition("id-a", 0, "ventes")
B = SourcePartition("id-a", 1, "ventes")


def interval(source: SourcePartition, start: int, end: int) -> Interval:
    return Interval(source, start, end, 0, end)


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(0, 30), st.integers(1, 30))))
def test_each_position_counts_once_whatever_is_repeated(moves: list[tuple[SourcePartition, int, int]]) -> None:
    """Law: intervals that overlap what was counted give only the rest: no hole, no double."""
    positions = Positions()
    counted: dict[SourcePartition, list[int]] = {A: [], B: []}
    for source, back, length in moves:
        end = len(counted[source])
        start = max(end - back, 0)
        _, first_new = positions.advance(interval(source, start, start + length))
        counted[source] += range(max(first_new, start), start + length)
    for source in (A, B):
        assert counted[source] == list(range(len(counted[source])))


def test_a_gap_is_refused_by_name() -> None:
    """Law: an interval beyond the high-water mark is a loss; the error names partition, positions and the way out."""
    positions = Positions()
    positions.advance(interval(A, 0, 10))
    with pytest.raises(GapError, match=r"ventes\[0\].*position 10.*starts at 12: 2 positions.*salesviews rebuild"):
        positions.advance(interval(A, 12, 20))


def test_the_state_survives_json() -> None:
    """Law: what is written to the state store is what is read back."""
    positions = Positions()
    positions.advance(interval(A, 0, 10))
    positions.begin_day(20_000)
    positions.advance(interval(B, 0, 4))
    positions.begin_day(20_001)
    assert Positions.from_state(json.loads(json.dumps(positions.to_state()))) == positions


def test_the_horizon_begins_where_its_oldest_day_began() -> None:
    """Law: a horizon of N days keeps what was counted since the first day not more than N days before the newest."""
    positions = Positions()
    for day in range(100, 105):
        assert positions.is_later_day(day)
        positions.begin_day(day)
        assert not positions.is_later_day(day)
        positions.advance(interval(A, (day - 100) * 10, (day - 99) * 10))
    assert positions.horizon(10) == []  # day 100 began before any source was seen: all of it is inside
    assert positions.horizon(2) == [20]
    assert [boundary.day for boundary in positions.boundaries] == [102, 103, 104]


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 2**48 - 1))), st.lists(st.integers(0, 2**48), max_size=900)
)
def test_packed_positions_keep_source_and_offset(places: list[tuple[int, int]], starts: list[int]) -> None:
    """Law: packing is lossless, and comparing packed positions with starts is comparing offsets by source."""
    packed = np.array([pack(index, np.array([offset], np.int64))[0] for index, offset in places], np.int64)
    indexes, offsets = unpack(packed)
    assert list(zip(indexes.tolist(), offsets.tolist(), strict=True)) == places
    padded = starts + [0] * 1001
    assert at_or_after(packed, starts).tolist() == [offset >= padded[index] for index, offset in places]
