import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from processors.tiers import SortedTiers

KEYS = st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20)


@given(st.lists(st.lists(KEYS)), st.lists(KEYS))
def test_tiers_answer_as_a_dict_does(additions: list[list[int]], asked: list[int]) -> None:
    """Law: whatever is added in whichever batches, a key is found if and only if it was added, with its value."""
    tiers, model = SortedTiers(), {}
    for addition in additions:
        new = sorted(set(addition) - model.keys())
        values = [len(model) + place for place in range(len(new))]
        tiers.add(np.array(new, np.int64), np.array(values, np.int64))
        model.update(zip(new, values, strict=True))
        sought = np.array(sorted(set(asked) | set(addition)), np.int64)
        found, found_values = tiers.find(sought)
        assert found.tolist() == [int(key) in model for key in sought]
        assert found_values[found].tolist() == [model[int(key)] for key in sought if int(key) in model]
        assert len(tiers) == len(model)


@given(st.lists(st.integers(0, 1000), unique=True, min_size=1), st.integers(0, 1000))
def test_keep_drops_by_value_and_nothing_else(keys: list[int], least: int) -> None:
    """Law: after ``keep`` the map is what a dict is that was filtered by value."""
    tiers = SortedTiers()
    for key in keys:
        tiers.add(np.array([key], np.int64), np.array([1000 - key], np.int64))
    tiers.keep(lambda values: values >= least)
    found, _ = tiers.find(np.array(sorted(keys), np.int64))
    assert found.tolist() == [1000 - key >= least for key in sorted(keys)]


def test_the_number_of_tiers_grows_with_the_logarithm() -> None:
    """Law: a thousand additions leave a handful of tiers to search."""
    tiers = SortedTiers()
    for start in range(0, 100_000, 100):
        keys = np.arange(start, start + 100, dtype=np.int64)
        tiers.add(keys, keys)
    assert len(tiers) == 100_000
    assert len(tiers._tiers) <= 8
