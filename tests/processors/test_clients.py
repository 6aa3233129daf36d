from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors import clients
from processors.clients import GROUP, NewClients
from processors.sorted_runs import SortedRuns

CLIENTS = st.sampled_from([0, 1, 2, -1, -(2**63), 2**63 - 1, 2**37 - 1, 2**37, 2**37 + 1, 2**38])
TEXTS = st.sampled_from([None, "inconnu", "", "Laptop", "France"])
SALES = st.lists(
    st.tuples(
        st.sampled_from([datetime(2025, 12, 31, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)]),
        CLIENTS,
        TEXTS,
        TEXTS,
        TEXTS,
    )
)
SCHEMA = pa.schema(
    [("timestamp", pa.timestamp("us", tz="UTC")), ("client_id", pa.int64()), *((name, pa.string()) for name in GROUP)]
)


def table(sales: list[tuple]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, sale, strict=True)) for sale in sales], schema=SCHEMA)


def clients_in(folder: Path | None = None, first_sequence: int = 0) -> NewClients:
    return NewClients(SortedRuns(folder, "a table", first_sequence, has_pairs=True), "a table")


@given(st.lists(st.tuples(SALES, st.sampled_from(["", "sealed", "loaded"]))), st.booleans())
def test_new_clients_add_up_to_distinct_clients(batches: list[tuple[list[tuple], str]], is_colliding: bool) -> None:
    """Law: summed over a month, ``nouveau_client`` is the exact number of distinct clients of a group, in any batching,
    whatever a life found in files, and whatever it had to read again.

    A missing name and the text that stands for it are one group. It holds too where the hashes of clients are equal.
    """
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patches:
        if is_colliding:
            patches.setattr(clients, "mixed", lambda words: words & ~words)
        files = Path(folder)
        known = clients_in(files)
        counted: list[tuple] = []
        expected: dict[tuple, set[int]] = defaultdict(set)
        for place, (batch, then) in enumerate(batches):
            flags = known.flag(table(batch)).tolist()
            for sale, flag in zip(batch, flags, strict=True):
                group = (sale[0].month, *(text if text is not None else "inconnu" for text in sale[2:]))
                assert flag == (sale[1] not in expected[group])
                expected[group].add(sale[1])
            counted += batch
            if then == "sealed":
                known.runs.seal(place)
                known = clients_in(files, place + 1)
            elif then == "loaded":
                files = Path(folder) / str(place)
                known = clients_in(files)
                known.load(known.pairs(table(counted)))


def test_no_two_groups_are_the_same_in_other_words() -> None:
    """Law: what stands in which of a group's columns makes a difference, and so does the lake."""
    when = datetime(2026, 1, 1, tzinfo=UTC)
    sales = table([(when, 1, *texts) for texts in (("ab", "", ""), ("a", "b", ""), ("", "ab", ""), ("b", "a", ""))])
    keys, values = clients_in().pairs(sales)
    assert len(set(keys.tolist())) == len(set(values.tolist())) == 4
    other = NewClients(SortedRuns(None, "", 0, has_pairs=True), "another")
    assert set(other.pairs(sales)[0].tolist()).isdisjoint(keys.tolist())


def test_sales_of_a_month_are_near_each_other() -> None:
    """Law: the keys of a month are apart from those of all others, and ascend with them."""
    days = [datetime(year, month, 1, tzinfo=UTC) for year in (2000, 2025, 2026, 2700) for month in (1, 12)]
    keys, _ = clients_in().pairs(table([(day, client, "Laptop", "", "") for day in days for client in range(50)]))
    months = keys.reshape(len(days), 50)
    assert (months.max(axis=1)[:-1] < months.min(axis=1)[1:]).all()
    assert (keys > 0).all()
