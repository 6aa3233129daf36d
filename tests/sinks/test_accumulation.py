from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from salesviews import lake
from salesviews.lake import of_view
from salesviews.views import MONTH, VENTES_PAR_CLIENT
from sinks.accumulation import Accumulation
from sinks.contents import Month

TABLE = of_view(VENTES_PAR_CLIENT)
LARGEST = Decimal("9999999999999999.99")
SALES = st.builds(
    lambda client_id, moment, quantite, montant: {
        "client_id": client_id,
        "timestamp": moment,
        "quantite": quantite,
        "montant": montant,
    },
    st.sampled_from([0, 1, -(2**63), 2**63 - 1]),
    st.sampled_from(
        [
            datetime(2000, 1, 1, tzinfo=UTC),
            datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
            datetime(2024, 3, 1, tzinfo=UTC),
            datetime(2025, 12, 31, 23, 59, 59, 999_500, tzinfo=UTC),
            datetime(9998, 12, 31, tzinfo=UTC),
        ]
    ),
    st.sampled_from([1, 2**63 - 1]),
    st.sampled_from([Decimal("0.00"), Decimal("0.01"), LARGEST]),
)


@given(st.lists(st.lists(SALES, max_size=4), max_size=4))
def test_a_table_holds_all_sales_however_they_are_cut(parts: list[list[dict[str, Any]]]) -> None:
    """Law: the table after some parts is that of all their sales; each part writes the months of its sales alone."""
    accumulation = Accumulation()
    table = TABLE.schema.empty_table()
    for part in parts:

        def read(months: Sequence[Month], held: pa.Table = table) -> pa.Table:
            rows = [row for row in held.to_pylist() if (row["annee"], row["mois"]) in months]
            return pa.Table.from_pylist(rows, schema=TABLE.schema)

        accumulated = accumulation.add(VENTES_PAR_CLIENT, pa.Table.from_pylist(part, schema=lake.CLEAN.schema), read)
        assert accumulated.months == sorted({(sale["timestamp"].year, sale["timestamp"].month) for sale in part})
        others = [row for row in table.to_pylist() if (row["annee"], row["mois"]) not in accumulated.months]
        table = pa.concat_tables([pa.Table.from_pylist(others, schema=TABLE.schema), accumulated.rows])

    groups: dict[tuple[int, date], list[dict[str, Any]]] = defaultdict(list)
    for sale in (sale for part in parts for sale in part):
        groups[sale["client_id"], sale["timestamp"].date().replace(day=1)].append(sale)
    assert {(row["client_id"], row["debut_mois"]): row for row in table.to_pylist()} == {
        (client_id, month): {
            "client_id": client_id,
            "debut_mois": month,
            "ventes_count": len(sales),
            "revenue_total": sum(sale["montant"] for sale in sales),
            "quantite_totale": sum(sale["quantite"] for sale in sales),
            "premiere_vente": min(sale["timestamp"] for sale in sales),
            "derniere_vente": max(sale["timestamp"] for sale in sales),
            "annee": month.year,
            "mois": month.month,
        }
        for (client_id, month), sales in groups.items()
    }
    assert table.num_rows == len(groups)


@given(st.dates(date(2000, 1, 1), date(9998, 12, 31)), st.times())
def test_months_are_those_of_the_calendar(day: date, time: time) -> None:
    """Law: the window of a moment starts with its month's first day, and the next one with the next month."""
    start = MONTH.start(datetime.combine(day, time, UTC))
    assert start == datetime(day.year, day.month, 1, tzinfo=UTC)
    following = day.year * 12 + day.month
    assert MONTH.end(start) == datetime(following // 12, following % 12 + 1, 1, tzinfo=UTC)
