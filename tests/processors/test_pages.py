from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors import pages
from processors.pages import Rows
from salesviews.errors import StateError
from salesviews.views import Combination

COMBINATIONS = (Combination.SUM, Combination.SUM, Combination.LEAST, Combination.MOST)
# Few values of the first word, so that two digests often share it.
WORDS = st.sampled_from([0, 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
DIGESTS = st.tuples(WORDS, WORDS)
TOTALS = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**70]) | st.integers(-(2**80), 2**80)
TABLES = st.dictionaries(DIGESTS, st.tuples(*[TOTALS] * len(COMBINATIONS)), max_size=12)

Table = dict[tuple[int, int], tuple[int, ...]]


def rows_of(table: Table) -> Rows:
    order = sorted(table)
    values = np.array([table[digest] for digest in order], object).reshape(len(order), len(COMBINATIONS)).T
    is_narrow = all(-(2**63) <= value < 2**63 for row in table.values() for value in row)
    return Rows(np.array(order, np.uint64).reshape(-1, 2).T, values.astype(np.int64) if is_narrow else values)


def table_of(rows: Rows) -> Table:
    return {
        (int(first), int(second)): tuple(map(int, values))
        for (first, second), values in zip(rows.digests.T, rows.measures.T, strict=True)
    }


@given(TABLES)
def test_bytes_are_the_rows(table: Table) -> None:
    """Law: a page that is written and read has the same rows, however large its sums."""
    page = pages.encode(rows_of(table))
    assert page.startswith(pages.TAG)
    assert table_of(pages.decode(page, len(COMBINATIONS))) == table


@given(TABLES, TABLES)
def test_a_page_gains_as_a_dictionary_does(held: Table, gained: Table) -> None:
    """Law: each measure is combined as it is declared, and never wraps; each gained row is where it is said to be."""
    expected = dict(held)
    for digest, values in gained.items():
        ours = held.get(digest)
        expected[digest] = (
            values if ours is None else tuple(map(lambda how, a, b: how.of(a, b), COMBINATIONS, ours, values))
        )
    total, places = pages.merged(rows_of(held), rows_of(gained), COMBINATIONS)
    assert table_of(total) == expected
    assert list(table_of(total)) == sorted(expected)
    at_places = [tuple(map(int, digest)) for digest in total.digests[:, places].T]
    assert at_places == sorted(gained)


@given(TABLES, st.lists(DIGESTS, unique=True, max_size=8))
def test_rows_are_found_by_their_digests(held: Table, asked: list[tuple[int, int]]) -> None:
    """Law: what is held is found with its measures, and nothing else is."""
    asked = sorted({*asked, *list(held)[::2]})
    rows = rows_of(held)
    is_held, places = pages.found(rows, np.array(asked, np.uint64).reshape(-1, 2).T)
    assert is_held.tolist() == [digest in held for digest in asked]
    for digest, held_there, place in zip(asked, is_held, places, strict=True):
        if held_there:
            assert tuple(map(int, rows.measures[:, place])) == held[digest]


@given(st.lists(DIGESTS, unique=True, min_size=1, max_size=40), st.integers(0, 12))
def test_a_page_is_a_stretch_of_digests_and_keeps_its_number(digests: list[tuple[int, int]], depth: int) -> None:
    """Law: rows in order come page by page; where the pages double, page p splits into p and p + 2 ** depth."""
    words = np.array(sorted(digests), np.uint64).reshape(-1, 2).T
    numbers, deeper = pages.numbers(words, depth), pages.numbers(words, depth + 1)
    assert set((deeper - numbers).tolist()) <= {0, 1 << depth}
    assert numbers.max() < 1 << depth
    stretches = 1 + int((np.diff(numbers) != 0).sum())
    assert stretches == len(set(numbers.tolist()))


@pytest.mark.parametrize("page", [pages.encode(pages.no_rows(3)), b"P\x07" + bytes(20)], ids=["measures", "version"])
def test_what_another_program_wrote_is_refused(page: Any) -> None:
    """Law: a page of other measures or another format is named, with what to do, and never read as something else."""
    with pytest.raises(StateError, match="salesviews rebuild"):
        pages.decode(page, 4)
