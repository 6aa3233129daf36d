import numpy as np
import pytest
from checkpoints import MemoryWindows, rows_of
from hypothesis import given
from hypothesis import strategies as st

from processors import paged_windows, pages
from salesviews.view_rows import DAY_MS, ViewRows
from salesviews.views import VENTES_PAR_PAYS, VENTES_PAR_PRODUIT, View

HOUR_MS = 3_600_000
NAMES = [f"n{number}" for number in range(60)]
PLACES = {
    VENTES_PAR_PAYS: st.tuples(st.tuples(st.sampled_from(NAMES)), st.sampled_from([0, HOUR_MS, 25 * HOUR_MS])),
    VENTES_PAR_PRODUIT: st.tuples(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(["a", "b"])), st.sampled_from([0, DAY_MS])
    ),
}
SUMS = st.tuples(*[st.integers(0, 2**62)] * 3)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few rows are many pages."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 3)


def shown(rows: ViewRows) -> dict[tuple[tuple[str, ...], int], list[int]]:
    return {(key, start_ms): sums for key, start_ms, sums in rows.rows()}


@pytest.mark.parametrize("view", PLACES, ids=lambda view: view.name)
def test_windows_sum_as_a_dictionary_does(view: View) -> None:
    """Law: after each take, the rows that it touched are said as they are then; read again, they are the same, and no
    others are there. However the pages split.
    """
    takes = st.lists(st.dictionaries(PLACES[view], SUMS, max_size=30), max_size=5)

    @given(takes)
    def check(takes: list[dict[tuple[tuple[str, ...], int], tuple[int, ...]]]) -> None:
        windows, expected = MemoryWindows(), {}
        for take in takes:
            for place, sums in take.items():
                held = expected.get(place, [0, 0, 0])
                expected[place] = [a + b for a, b in zip(held, sums, strict=True)]
            changed, _ = paged_windows.update(rows_of(view, *((*place, sums) for place, sums in take.items())), windows)
            assert shown(changed) == {place: expected[place] for place in take}
        asked = rows_of(view, *((*place, (0, 0, 0)) for place in [*expected, (("?",) * len(view.key), 0)]))
        asked = ViewRows(view, asked.keys, asked.starts_ms, asked.digests, None)
        found, written = paged_windows.update(asked, windows)
        assert (shown(found), written) == (expected, 0)

    check()


def test_pages_stay_small_and_only_those_that_change_are_written() -> None:
    """Law: a window has one page for each so many rows, and a row that changes costs one page."""
    windows = MemoryWindows()
    rows = [((name, "a"), 0, (1, 1, 1)) for name in NAMES]
    _, written = paged_windows.update(rows_of(VENTES_PAR_PRODUIT, *rows), windows)
    held = [pages.decode(page, 3) for page in windows.held.values() if page.startswith(pages.TAG)]
    assert written == len(held) == len(windows.held) - 1
    assert sum(map(len, held)) == len(NAMES)
    assert np.mean([len(page) for page in held]) <= 2 * pages.PAGE_ROWS
    before = dict(windows.held)
    _, written = paged_windows.update(rows_of(VENTES_PAR_PRODUIT, rows[0]), windows)
    assert written == 1
    assert sum(before[place] != page for place, page in windows.held.items()) == 1
