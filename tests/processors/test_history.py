from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lakes import START

from processors import history
from processors.history import History
from processors.sorted_runs import BEGINNING
from salesviews.lake import CLEAN, Lake
from salesviews.tables.files import Span
from sinks.appends import Stream, append_once

PIECE = 100


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_PIECE_ROWS", PIECE)
    monkeypatch.setattr(history, "_BATCH_ROWS", 7)


def rows(sequences: list[int], month: int) -> pa.Table:
    names = CLEAN.schema.names
    known: dict[str, Any] = {"sequence": sequences, "vente_id": sequences, "mois": [month] * len(sequences)}
    known["annee"] = [START.year] * len(sequences)
    return pa.table(
        [known.get(name, pa.nulls(len(sequences), CLEAN.schema.field(name).type)) for name in names],
        schema=CLEAN.schema,
    )


def test_each_sale_of_the_range_is_in_one_piece(tmp_path: Any) -> None:
    """Law: the pieces follow each other, and have each sale of the range once, whichever file has it, and no other."""
    source = Lake(str(tmp_path))
    source.create(CLEAN)
    for start, month in ((-300, 1), (-200, 2), (0, 1), (1, 3), (40, 3)):
        sequences = list(range(start, start + 400, 3 if month == 3 else 2))
        append_once(source, CLEAN, [Stream(f"from {start}", rows(sequences, month), "sequence", 1000)])
    stored = [
        each
        for start, step in ((-300, 2), (-200, 2), (0, 2), (1, 3), (40, 3))
        for each in range(start, start + 400, step)
    ]
    found = History(source)
    for first, before in ((BEGINNING, 10_000), (-300, 440), (5, 6), (5, 5), (-1000, -300), (300, 2000)):
        read: list[int] = []
        last = first - 1
        for piece in found.pieces(first, before, ("vente_id",)):
            sequences = [each for batch in piece.batches for each in batch.column("sequence").to_pylist()]
            assert all(last < each <= piece.last for each in sequences)
            assert len(sequences) <= 3 * PIECE
            read += sequences
            last = piece.last
        if first < before:
            assert last == before - 1
        assert sorted(read) == sorted(each for each in stored if first <= each < before)


SPANS = st.lists(
    st.builds(
        lambda low, width, rows: Span((), "", min(rows, width), low, low + width - 1),
        st.integers(-(2**50), 2**50) | st.integers(0, 1000),
        st.integers(1, 2**50) | st.integers(1, 500),
        st.integers(1, 500),
    )
    | st.just(Span((), "", 50, -(2**63), 2**63 - 1)),
    max_size=20,
)


@settings(deadline=None)
@given(SPANS, st.integers(-(2**50), 2**51) | st.just(BEGINNING), st.integers(1, 2**52))
def test_cuts_ascend_and_leave_little_between(spans: list[Span], first: int, length: int) -> None:
    """Law: whatever files there are, reading them in pieces comes to an end, and no piece has many rows more than
    wanted, as far as the log tells.
    """
    before = max(first, -(2**51)) + length
    within = [span for span in spans if span.low < before and span.high >= first]
    cuts = history._cuts(within, first, before)
    assert cuts[0] == first
    assert cuts[-1] == before
    for start, end in pairwise(cuts):
        assert start < end
        estimate = sum(
            span.rows * float(np.clip((end - span.low) / (span.high - span.low + 1), 0, 1))
            - span.rows * float(np.clip((start - span.low) / (span.high - span.low + 1), 0, 1))
            for span in within
            if span.is_known
        )
        most = 2 * PIECE + max((span.rows / (span.high - span.low + 1) for span in within), default=0) * len(within)
        assert estimate <= most + 1
