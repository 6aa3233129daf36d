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
    [("timestamp", pa.timestamp("us", tz="UTC")), ("client_id", pa.int64()), *((name, pa.string()) for name in GROUP)]
)


def table(sales: list[tuple]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, sale, strict=True)) for sale in sales], schema=SCHEMA)


@given(SALES, st.lists(SALES))
def test_new_clients_add_up_to_distinct_clients(before: list[tuple], batches: list[list[tuple]]) -> None:
    """Law: summed over a month, ``nouveau_client`` is the exact number of distinct clients of a group, in any batching.

    A missing name and the text that stands for it are one group. What counted before this process is read from
    Silver.
    """

    def read_month(month: Month) -> pa.Table:
        return table([sale for sale in before if (sale[0].year, sale[0].month) == month])

    clients = NewClients(read_month)
    expected: dict[tuple, set[int]] = defaultdict(set)
    gained: dict[tuple, int] = defaultdict(int)

    def group_of(sale: tuple) -> tuple:
        return (sale[0].month, *(text if text is not None else "inconnu" for text in sale[2:]))

    for sale in before:
        expected[group_of(sale)].add(sale[1])
    known = {group: len(of_group) for group, of_group in expected.items()}
    for batch in batches:
        for sale, flag in zip(batch, clients.flag(table(batch)).tolist(), strict=True):
            is_new = sale[1] not in expected[group_of(sale)]
            assert flag == is_new
            expected[group_of(sale)].add(sale[1])
            gained[group_of(sale)] += flag
    assert all(known.get(group, 0) + gained[group] == len(of_group) for group, of_group in expected.items())
