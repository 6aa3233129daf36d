from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.dedup import DedupIndex
from processors.sorted_runs import SortedRuns

IDS = st.lists(st.lists(st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1)))


def index_in(folder: Path | None = None, first_sequence: int = 0) -> DedupIndex:
    return DedupIndex(SortedRuns(folder, "a table", first_sequence, has_pairs=False))


@given(IDS, st.integers(0, 20))
def test_the_first_of_an_id_counts_in_any_batching(batches: list[list[int]], loaded: int) -> None:
    """Law: a sale counts if and only if its id did not count before in the total order; a duplicate names the other.

    It does not matter how the order is cut into batches, nor which part of it was loaded from ``ventes_clean``.
    """
    order = [identity for batch in batches for identity in batch]
    first_at: dict[int, int] = {}
    for position, identity in enumerate(order):
        first_at.setdefault(identity, position)

    index, start = index_in(), 0
    before = [(identity, position) for identity, position in first_at.items() if position < loaded]
    index.load(np.array([i for i, _ in before], np.int64), np.array([p for _, p in before], np.int64))
    for batch in [order[loaded:]] if loaded else batches:
        start = loaded if loaded else start
        positions = np.arange(start, start + len(batch), dtype=np.int64)
        verdict = index.judge(np.array(batch, np.int64), positions)
        assert verdict.counted_at.tolist() == [first_at[identity] for identity in batch]
        assert verdict.counts.tolist() == [
            first_at[identity] == int(at) for identity, at in zip(batch, positions, strict=True)
        ]
        start += len(batch)


@pytest.mark.parametrize("is_sealed", [False, True])
def test_an_id_beyond_the_horizon_counts_again(tmp_path: Path, is_sealed: bool) -> None:
    """Law: what counted before the horizon's first position is forgotten, and nothing else, also by a new life.

    An id that counts again is a duplicate of the later sale from then on, wherever the two are.
    """
    index = index_in(tmp_path)
    index.judge(np.array([7, 8], np.int64), np.array([10, 20], np.int64))
    if is_sealed:
        index.seal(0, 0)
        index = index_in(tmp_path, 1)
    index.forget_before([15])
    verdict = index.judge(np.array([7, 8], np.int64), np.array([30, 31], np.int64))
    assert verdict.counts.tolist() == [True, False]
    assert verdict.counted_at.tolist() == [30, 20]
    for then in (lambda: None, lambda: index.seal(1, 1), index.runs.step):
        then()
        verdict = index.judge(np.array([7, 8], np.int64), np.array([40, 41], np.int64))
        assert verdict.counted_at.tolist() == [30, 20]


def test_of_an_id_that_counted_twice_the_later_is_loaded() -> None:
    """Law: where an id counted again beyond an earlier horizon, the sale that counts is the later one."""
    index = index_in()
    index.load(np.array([7, 8, 7], np.int64), np.array([1, 2, 3], np.int64))
    assert index.judge(np.array([7], np.int64), np.array([9], np.int64)).counted_at.tolist() == [3]
