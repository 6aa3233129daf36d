from collections import defaultdict
from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from processors.clients import GROUP, Month, NewClients

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
    [
        ("sequence", pa.int64()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("client_id", pa.int64()),
        *((name, pa.string()) for name in GROUP),
    ]
)


def table(sales: list[tuple], first: int = 0) -> pa.Table:
    """:param first: the place of the first one"""
    rows = [dict(zip(SCHEMA.names, (first + place, *sale), strict=True)) for place, sale in enumerate(sales)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@given(st.lists(st.tuples(SALES, st.sampled_from(["", "checkpoint", "day"]))))
def test_new_clients_add_up_to_distinct_clients(batches: list[tuple[list[tuple], str]]) -> None:
    """Law: summed over a month, ``nouveau_client`` is the exact number of distinct clients of a group, in any batching,
    and whatever was forgotten as days began.

    A missing name and the text that stands for it are one group. What counted before this process, or is forgotten, is
    read from Silver, which has the sales up to the last checkpoint, and some that no checkpoint covers yet.
    """
    counted: list[tuple] = []
    held = -1

    def read_month(month: Month, before: int) -> pa.Table:
        return table([sale for sale in counted[: min(held + 1, before)] if (sale[0].year, sale[0].month) == month])

    clients = NewClients(read_month)
    expected: dict[tuple, set[int]] = defaultdict(set)

    def group_of(sale: tuple) -> tuple:
        return (sale[0].month, *(text if text is not None else "inconnu" for text in sale[2:]))

    for batch, then in batches:
        flags = clients.flag(table(batch, len(counted))).tolist()
        for sale, flag in zip(batch, flags, strict=True):
            assert flag == (sale[1] not in expected[group_of(sale)])
            expected[group_of(sale)].add(sale[1])
        counted += batch
        if then == "checkpoint":
            held = len(counted) - 1
        elif then == "day":
            clients.begin_day(held)


def test_months_that_no_sale_has_for_a_day_are_forgotten() -> None:
    """Law: a month leaves the memory a day after its last sale, where ``ventes_clean`` has it, and comes back whole."""
    december, january = datetime(2025, 12, 31, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    group = ("Laptop", "inconnu", "France")
    read: list[Month] = []

    def read_month(month: Month, before: int) -> pa.Table:
        read.append(month)
        return table([(december, 1, *group)] if month == (2025, 12) and before > 0 else [])

    clients = NewClients(read_month)
    assert clients.flag(table([(december, 1, *group), (january, 1, *group)])).tolist() == [1, 1]
    clients.begin_day(held=1)
    assert clients.flag(table([(january, 1, *group)], 2)).tolist() == [0]
    clients.begin_day(held=-1)
    assert len(clients) == 2
    clients.begin_day(held=2)
    assert len(clients) == 0
    assert clients.flag(table([(december, 1, *group), (december, 2, *group)], 3)).tolist() == [0, 1]
    assert read == [(2025, 12), (2026, 1), (2025, 12)]
