import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from processors.views import PublicationSerializer, Sums, delete_older_state, publication_key
from salesviews import settings as settings_module
from salesviews import topics
from salesviews.views import HOURLY_SALES, VENTES_PRODUIT_PAYS
from sinks.contents import Change
from sinks.silver import ViewChange

AMOUNTS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10**36)


@given(st.lists(st.lists(AMOUNTS, min_size=3, max_size=3), min_size=1))
def test_sums_are_exact_beyond_64_bits_and_survive_the_state(rows: list[list[int]]) -> None:
    """Law: the sums of a window are Python's own, after any number of trips through the state store's JSON."""
    aggregator = Sums()
    state: Any = aggregator.initialize()
    for row in rows:
        state = orjson.loads(orjson.dumps(aggregator.agg(state, {"vue": "hourly_sales", "sommes": row}, 0)))
    assert aggregator.result(state) == [sum(column) for column in zip(*rows, strict=True)]


def test_state_of_older_generations_goes(tmp_path: Path) -> None:
    """Law: of an instance's own state, and no other, only that of generations which count no more is deleted."""
    mine = settings_module.read({"SALESVIEWS_HOME": str(tmp_path)})
    other = settings_module.read({"SALESVIEWS_HOME": str(tmp_path), "SALESVIEWS_TOPIC": "ventes-2"})
    stays = {topics.views_group(mine, 3), topics.views_group(mine, 4), topics.views_group(other), "else"}
    for name in {topics.views_group(mine, number) for number in (0, 1, 2)} | stays:
        (mine.state_folder / name / "store").mkdir(parents=True)
    delete_older_state(mine, 3)
    assert {folder.name for folder in mine.state_folder.iterdir()} == stays


def published(changed: ViewChange) -> tuple[dict[str, Any], dict[str, Any]]:
    serialize: Callable[..., bytes] = PublicationSerializer()
    return json.loads(publication_key(changed)), json.loads(serialize(changed, None), parse_float=Decimal)


def test_a_publication_says_key_window_and_sums() -> None:
    """Law: the key names a view's row; the value has it whole, with the table's names, amounts with two decimals."""
    start_ms = int(datetime(2025, 12, 22, 10, tzinfo=UTC).timestamp() * 1000)
    key, value = published(ViewChange(HOURLY_SALES, Change((), start_ms, [3, 179998, 2**70])))
    assert key == {"heure": "2025-12-22T10:00:00Z"}
    assert value == key | {"ventes_count": 3, "revenue_total": Decimal("1799.98"), "quantite_totale": 2**70}

    day_ms = start_ms // 86_400_000 * 86_400_000
    names = ("nul \x00", '"guillemets"', "é")
    key, value = published(ViewChange(VENTES_PRODUIT_PAYS, Change(names, day_ms, [1, 5, 1, 1])))
    assert key == dict(zip(("produit_nom", "categorie", "pays"), names, strict=True)) | {"jour": "2025-12-22"}
    assert value["revenue_total"] == Decimal("0.05")
