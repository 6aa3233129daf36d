"""The simulated market: believable, dirty as declared, and the same bytes for the same seed."""

import json
import math
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salesviews import classification, event
from salesviews.event import Motif
from salesviews.simulation import catalogue, dirt, market
from salesviews.simulation.market import Nature

END = datetime(2025, 12, 22, 14, 35, 27, 123456, tzinfo=UTC)
START = END - timedelta(days=28)
FIRST_ID = 1_000


def _messages(
    seed: int = 1,
    count: int = 20_000,
    start: datetime = START,
    end: datetime = END,
    dirty_pct: float = 10.0,
    late_pct: float = 5.0,
    first_id: int = FIRST_ID,
) -> list[tuple[bytes | None, bytes | None, Nature]]:
    return [
        (key, payload, Nature(nature))
        for batch in market.messages(seed, count, start, end, dirty_pct, late_pct, first_id)
        for (key, payload), nature in zip(batch, batch.natures.tolist(), strict=True)
    ]


@cache
def _dirty() -> list[tuple[bytes | None, bytes | None, Nature]]:
    return _messages()


@cache
def _sales(seed: int = 1) -> list[dict]:
    """Four weeks without dirt or delay; montant is exact."""
    messages = _messages(seed, 100_000, dirty_pct=0, late_pct=0)
    return [json.loads(payload, parse_float=Decimal) for _, payload, _ in messages]


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    classification.prepare(connection)
    return connection


def _classified(payloads: list[bytes | None], kafka_timestamp: datetime = END) -> list[dict]:
    """Each payload's fields, motif and montant_arrondi."""
    connection = _connection()
    table = pa.table(
        {
            "payload": pa.array(payloads, pa.binary()),
            "kafka_timestamp": pa.array([kafka_timestamp] * len(payloads), pa.timestamp("us", tz="UTC")),
        }
    )
    connection.register("received", table)
    return connection.sql(classification.sql("received")).to_arrow_table().to_pylist()


def _is_share(count: int, total: int, share: float) -> bool:
    """Whether ``count`` is within five standard deviations of a binomial's mean."""
    return abs(count - total * share) <= 5 * math.sqrt(total * share * (1 - share))


class TestDeterminism:
    def test_the_same_arguments_give_the_same_bytes(self):
        """Keys, payloads and natures depend on the arguments alone."""
        assert _messages() == _dirty()

    @pytest.mark.parametrize(
        "other", [{"seed": 2}, {"first_id": 5}, {"end": END + timedelta(days=1)}, {"dirty_pct": 11}]
    )
    def test_other_arguments_give_other_bytes(self, other):
        """Every argument has a part in the bytes."""
        assert _messages(count=1_000, **other) != _messages(count=1_000)

    def test_two_seeds_sell_to_the_same_clients(self):
        """A client has one name, country and segment, in all runs."""
        identities = defaultdict(set)
        for sale in _sales(1) + _sales(2):
            identities[sale["client_id"]].add((sale["client_nom"], sale["pays"], sale["segment"]))
        assert {len(known) for known in identities.values()} == {1}


class TestHistory:
    @settings(max_examples=30, deadline=None)
    @given(
        seed=st.integers(0, 2**64),
        count=st.integers(1, 400),
        days=st.floats(0.0001, 400),
        dirty_pct=st.floats(0, 60),
        late_pct=st.floats(0, 40),
        first_id=st.integers(0, 2**63 - 1_000),
    )
    def test_whatever_the_arguments_each_message_is_what_it_was_made_to_be(
        self, seed, count, days, dirty_pct, late_pct, first_id
    ):
        """As many as asked for; sales and duplicates are valid, with ids of the run; rejections are rejected; sales
        that are not late are in time order within the period."""
        start = END - timedelta(days=days)
        messages = _messages(seed, count, start, END, dirty_pct, late_pct, first_id)
        assert len(messages) == count
        outcomes = _classified([payload for _, payload, _ in messages])
        ids: set[int] = set()
        times = []
        for place, ((_, payload, nature), outcome) in enumerate(zip(messages, outcomes, strict=True)):
            if nature is Nature.REJECTED:
                assert outcome["motif"] in set(Motif), payload
                continue
            assert outcome["motif"] is None, payload
            if nature in (Nature.SAME, Nature.CONFLICTING):
                assert outcome["vente_id"] in ids
                continue
            assert outcome["vente_id"] == first_id + place
            ids.add(outcome["vente_id"])
            if nature is Nature.SALE:
                times.append(outcome["timestamp"].replace(tzinfo=UTC))
        assert times == sorted(times)
        assert all(start <= time < END for time in times)

    def test_there_is_a_peak_at_lunch_and_a_higher_one_in_the_evening(self):
        """By a French clock: noon and evening above the hours around them, the night nearly empty."""
        hours = Counter(
            (datetime.fromisoformat(sale["timestamp"]) + timedelta(hours=1)).hour
            for sale in _sales()
            if sale["pays"] == "France"
        )
        assert hours[12] > 1.3 * hours[10]
        assert hours[12] > 1.3 * hours[15]
        assert hours[20] > 1.5 * hours[17]
        assert hours[20] > 3 * hours[23]
        assert hours[20] > hours[12] > 10 * hours[3]

    def test_another_time_zone_moves_the_peaks(self):
        """The evening of the USA is night in Europe."""
        share = {}
        for country in ("France", "USA"):
            hours = [datetime.fromisoformat(sale["timestamp"]).hour for sale in _sales() if sale["pays"] == country]
            share[country] = sum(hour in (0, 1, 2) for hour in hours) / len(hours)
        assert share["USA"] > 5 * share["France"]

    def test_saturday_sells_most_and_sunday_least(self):
        """Weekdays differ as declared."""
        days = Counter(datetime.fromisoformat(sale["timestamp"]).weekday() for sale in _sales())
        assert max(days, key=days.__getitem__) == 5
        assert min(days, key=days.__getitem__) == 6


class TestSales:
    def test_a_sale_has_every_field(self):
        """An ordinary sale has exactly the declared fields, in their order."""
        assert {tuple(sale) for sale in _sales()} == {event.FIELD_NAMES}

    def test_the_amount_is_price_times_quantity_to_the_cent(self):
        """With a promotion of the catalogue or none; at most one price a product a week."""
        prices = defaultdict(set)
        products = {product.name: product for product in catalogue.PRODUCTS}
        for sale in _sales():
            product = products[sale["produit_nom"]]
            unit_cents = sale["montant"] * 100 / sale["quantite"]
            reductions = [
                pct
                for pct in catalogue.PROMOTION_PCTS
                if abs(unit_cents - product.price_cents * (100 - Decimal(pct)) / 100) <= Decimal("0.5")
            ]
            assert len(reductions) == 1, sale
            assert sale["categorie"] == product.category
            week = datetime.fromisoformat(sale["timestamp"]).isocalendar()[:2]
            prices[sale["produit_nom"], week].add(reductions[0])
        assert {len(known) for known in prices.values()} == {1}
        assert {next(iter(known)) for known in prices.values()} == set(catalogue.PROMOTION_PCTS)

    def test_everything_in_the_catalogue_sells_and_some_of_it_much_more(self):
        """All products, countries, segments; the first ones most."""
        products = Counter(sale["produit_nom"] for sale in _sales())
        countries = Counter(sale["pays"] for sale in _sales())
        assert set(products) == {product.name for product in catalogue.PRODUCTS}
        assert set(countries) == {country.name for country in catalogue.COUNTRIES}
        assert {sale["segment"] for sale in _sales()} == {segment.name for segment in catalogue.SEGMENTS}
        assert products["Ordinateur portable"] > 8 * products["Coffret maquillage"]
        assert _is_share(countries["France"], len(_sales()), 0.34)

    def test_quantities_are_mostly_one_to_three(self):
        """Nine sales in ten."""
        assert sum(sale["quantite"] <= 3 for sale in _sales()) > 0.9 * len(_sales())

    def test_clients_return_and_some_much_more(self):
        """The best hundredth of the clients buys at least a twentieth; most clients come more than once."""
        counts = sorted(Counter(sale["client_id"] for sale in _sales()).values(), reverse=True)
        assert sum(counts[: len(counts) // 100]) > len(_sales()) / 20
        assert sum(count > 1 for count in counts) > len(counts) / 2

    def test_keys_are_of_several_kinds(self):
        """The client, the sale, or none: partitions must get all of it."""
        kinds = Counter(key if key is None else key[:6] == b"vente-" for key, _, _ in _dirty())
        assert set(kinds) == {None, True, False}
        assert min(kinds.values()) > len(_dirty()) / 10


class TestDirt:
    def test_shapes_cover_every_motif(self):
        """A motif that is added to event.Motif needs shapes here."""
        assert set(dirt.SHAPES) == set(Motif)

    @pytest.mark.parametrize(
        ("motif", "place"), [(motif, place) for motif in dirt.SHAPES for place in range(len(dirt.SHAPES[motif]))]
    )
    def test_a_shape_gives_its_motif_whatever_the_sale(self, motif, place):
        """No shape falls under another motif, or into none."""
        payloads = [payload for _, payload, _ in _messages(count=300, dirty_pct=0)]
        outcomes = _classified([dirt.SHAPES[motif][place](payload) for payload in payloads])
        assert {outcome["motif"] for outcome in outcomes} == {motif}

    @pytest.mark.parametrize("place", range(len(dirt.ODDITIES)))
    def test_an_oddity_is_valid_and_other_than_the_sale(self, place):
        """Odd sales count; an offset other than UTC keeps the instant."""
        payloads = [payload for _, payload, _ in _messages(count=300, dirty_pct=0)]
        altered = [dirt.ODDITIES[place](payload) for payload in payloads]
        assert all(old != new for old, new in zip(payloads, altered, strict=True))
        for before, after in zip(_classified(payloads), _classified(altered), strict=True):
            assert after["motif"] is None
            assert after["timestamp"] == before["timestamp"]
            assert after["vente_id"] == before["vente_id"]

    @pytest.mark.parametrize("place", range(len(dirt.CONFLICTS)))
    def test_a_conflict_is_valid_by_itself_under_the_same_id(self, place):
        """Of any sale, odd ones too."""
        sales = [payload for _, payload, _ in _messages(count=300, dirty_pct=0)]
        odd = [dirt.ODDITIES[number % len(dirt.ODDITIES)](payload) for number, payload in enumerate(sales)]
        for originals in (sales, odd):
            conflicting = [dirt.CONFLICTS[place](payload) for payload in originals]
            for before, after in zip(_classified(originals), _classified(conflicting), strict=True):
                assert after["motif"] is None
                assert after["vente_id"] == before["vente_id"]
                assert after != before

    def test_every_motif_occurs(self):
        """So do rounded amounts and missing optional fields, among sales that count."""
        outcomes = _classified([payload for _, payload, _ in _dirty()])
        assert {outcome["motif"] for outcome in outcomes} == {*Motif, None}
        valid = [outcome for outcome in outcomes if outcome["motif"] is None]
        assert any(outcome["montant_arrondi"] for outcome in valid)
        for field in event.FIELDS:
            if field.absent is None:
                assert any(outcome[field.name] is None for outcome in valid), field.name

    def test_duplicates_follow_their_original_with_the_same_or_other_content(self):
        """The original is earlier; one with the same content has the same bytes, a conflicting one has not."""
        known: dict[int, set[bytes]] = defaultdict(set)
        counts: Counter[Nature] = Counter()
        for (_, payload, nature), outcome in zip(
            _dirty(), _classified([payload for _, payload, _ in _dirty()]), strict=True
        ):
            if nature is Nature.REJECTED:
                continue
            counts[nature] += 1
            earlier = known[outcome["vente_id"]]
            if nature is Nature.SAME:
                assert payload in earlier
            elif nature is Nature.CONFLICTING:
                assert earlier - {payload}
            else:
                assert not earlier
            earlier.add(payload)
        assert counts[Nature.SAME] > 100
        assert counts[Nature.CONFLICTING] > 100

    def test_a_duplicate_may_go_to_another_partition(self):
        """A message and its duplicate do not always have the same key."""
        keys = defaultdict(set)
        for key, payload, nature in _dirty():
            if nature is not Nature.REJECTED:
                keys[payload].add(key)
        assert any(len(known) > 1 for known in keys.values())

    @pytest.mark.parametrize("dirty_pct", [0.0, 2.0, 30.0])
    def test_the_share_of_dirt_is_as_asked(self, dirty_pct):
        """Rejections and duplicates together; none means plain sales only."""
        messages = _messages(count=20_000, dirty_pct=dirty_pct, late_pct=0)
        dirty = sum(nature is not Nature.SALE for _, _, nature in messages)
        assert _is_share(dirty, len(messages), dirty_pct / 100)
        if dirty_pct == 0:
            assert {tuple(json.loads(payload)) for _, payload, _ in messages} == {event.FIELD_NAMES}

    def test_the_share_of_late_sales_is_as_asked_and_they_are_minutes_to_days_late(self):
        """Most of them by less than a few hours, some by days; their place is that of a sale that is not late."""
        messages = _messages(count=50_000, dirty_pct=0, late_pct=4)
        delays = []
        latest = START
        for _, payload, nature in messages:
            time = datetime.fromisoformat(json.loads(payload)["timestamp"]).replace(tzinfo=UTC)
            if nature is Nature.LATE:
                delays.append(latest - time)
            else:
                latest = time
        assert _is_share(len(delays), len(messages), 0.04)
        assert timedelta(minutes=5) < np.median(delays) < timedelta(hours=3)
        assert 0 < sum(delay > timedelta(days=1) for delay in delays) < len(delays) / 8
        assert max(delays) < timedelta(days=6)


class TestLive:
    def test_batches_of_any_size_give_unique_ids_and_duplicates(self):
        """A live run asks for a few sales at a time: ids go on, and duplicates reach back over batches."""
        live = market.Market(seed=1, first_id=FIRST_ID, dirty_pct=20, late_pct=0)
        batches = [live.batch(np.full(3, market.microseconds(END))) for _ in range(400)]
        outcomes = _classified([payload for batch in batches for _, payload in batch])
        natures = [Nature(nature) for batch in batches for nature in batch.natures.tolist()]
        by_nature = defaultdict(list)
        for nature, outcome in zip(natures, outcomes, strict=True):
            by_nature[nature].append(outcome["vente_id"])
        assert len(set(by_nature[Nature.SALE])) == len(by_nature[Nature.SALE])
        assert set(by_nature[Nature.SAME] + by_nature[Nature.CONFLICTING]) <= set(by_nature[Nature.SALE])
        assert len(by_nature[Nature.SAME]) > 10
        assert len(by_nature[Nature.CONFLICTING]) > 10
