import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from salesviews.tables.ranges import NONE, Ranges

PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12)


def members(pairs: list[tuple[int, int]]) -> set[int]:
    return set(itertools.chain.from_iterable(range(start, end) for start, end in pairs))


def positions(ranges: Ranges) -> set[int]:
    """The positions, after a look at how they are kept."""
    pairs = list(ranges)
    assert all(start < end for start, end in pairs)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(pairs))
    found = members(pairs)
    assert ranges.positions == len(found)
    return found


@given(PAIRS, PAIRS)
def test_ranges_are_sets_of_positions(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    """Law: of any ranges, in any order and overlapping, the operations are those of sets; no two ranges touch."""
    one, other = Ranges.of(first), Ranges.of(second)
    assert positions(one) == members(first)
    assert positions(one & other) == members(first) & members(second)
    assert positions(one | other) == members(first) | members(second)
    assert positions(one - other) == members(first) - members(second)
    assert positions(one.within(7, 23)) == members(first) & set(range(7, 23))
    assert one.contains(np.arange(50)).tolist() == [position in members(first) for position in range(50)]
    assert (one == other) == (members(first) == members(second))


@given(PAIRS, st.integers(1, 9))
def test_joining_fills_what_is_near(pairs: list[tuple[int, int]], distance: int) -> None:
    """Law: joined ranges begin and end where some began and ended, hold them all, and are so far apart."""
    ranges = Ranges.of(pairs)
    joined = ranges.joined(distance)
    assert positions(joined) >= positions(ranges)
    assert {start for start, _ in joined} <= {start for start, _ in ranges}
    assert {end for _, end in joined} <= {end for _, end in ranges}
    assert all(after[0] - before[1] >= distance for before, after in itertools.pairwise(joined))


def test_offsets_are_64_bits() -> None:
    """Law: the largest offsets are positions like others."""
    far = Ranges.span(2**62, 2**62 + 3)
    assert list(far - Ranges.span(2**62 + 1, 2**62 + 2)) == [(2**62, 2**62 + 1), (2**62 + 2, 2**62 + 3)]
    assert list(NONE - far) == []
