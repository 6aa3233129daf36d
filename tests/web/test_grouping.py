"""Any question of a view, and of all views of sales together, against sums over single sales in plain Python."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import answered
import pytest
from flask.testing import FlaskClient
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import Oracle

KEYS = {
    "hourly_sales": (),
    "ventes_par_pays": ("pays",),
    "ventes_par_produit": ("produit_nom", "categorie"),
    "ventes_par_segment": ("segment", "pays"),
    "ventes_produit_pays": ("produit_nom", "categorie", "pays"),
}
HOURLY = ("hourly_sales", "ventes_par_pays")
ALL_KEYS = ("pays", "produit_nom", "categorie", "segment")
PERIOD_COLUMNS = {
    "hour": "heure",
    "day": "jour",
    "week": "debut_semaine",
    "month": "debut_mois",
    "year": "debut_annee",
    "all": None,
}


@dataclass(frozen=True)
class Question:
    group_by: tuple[str, ...] | None
    granularity: str | None
    filters: dict[str, list[str]]
    start: datetime | None
    end: datetime | None

    @property
    def parameters(self) -> dict[str, Any]:
        given: dict[str, Any] = dict(self.filters)
        if self.group_by is not None:
            given["group_by"] = ",".join(self.group_by)
        if self.granularity is not None:
            given["granularity"] = self.granularity
        for name, bound in (("from", self.start), ("to", self.end)):
            if bound is not None:
                given[name] = f"{bound:%Y-%m-%dT%H:%M:%SZ}"
        return given


def period_of(moment: datetime, granularity: str) -> Any:
    day = moment.date()
    return {
        "hour": moment.replace(minute=0, second=0, microsecond=0),
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
        "year": date(day.year, 1, 1),
        "all": None,
    }[granularity]


def label(value: str | None) -> str:
    return "inconnu" if value is None else value


def sums(sales: Iterable[dict[str, Any]], asked: Question) -> answered.Texts:
    """The rows that answer a question of sales, by period and then by key."""
    assert asked.group_by is not None
    assert asked.granularity is not None
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for sale in sales:
        if any(label(sale[name]) not in values for name, values in asked.filters.items()):
            continue
        if asked.start is not None and sale["timestamp"] < asked.start:
            continue
        if asked.end is not None and sale["timestamp"] >= asked.end:
            continue
        group = (period_of(sale["timestamp"], asked.granularity), *(label(sale[name]) for name in asked.group_by))
        groups.setdefault(group, []).append(sale)
    if not asked.group_by and asked.granularity == "all":
        groups.setdefault((None,), [])
    column = PERIOD_COLUMNS[asked.granularity]
    rows = []
    for group in sorted(groups):
        named = dict(zip(asked.group_by, group[1:], strict=True)) | ({column: group[0]} if column else {})
        rows.append({name: answered.text(value) for name, value in (named | measures(groups[group])).items()})
    return rows


def measures(sales: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "ventes_count": len(sales),
        "revenue_total": sum((sale["montant"] for sale in sales), Decimal("0.00")),
        "quantite_totale": sum(sale["quantite"] for sale in sales),
    }


def values(oracle: Oracle, name: str) -> list[str]:
    return [*sorted({label(sale[name]) for sale in oracle.ventes_clean}), "nowhere", "' OR 1=1 --"]


def questions(oracle: Oracle, keys: tuple[str, ...], granularities: tuple[str, ...], step: timedelta) -> Any:
    """Questions of some keys, with bounds at multiples of a step around the sales."""
    first = min(sale["timestamp"] for sale in oracle.ventes_clean).replace(hour=0, minute=0, second=0, microsecond=0)
    steps = int(timedelta(days=6) / step)
    bound = st.none() | st.integers(-1, steps).map(lambda number: first + number * step)
    subsets = [subset for size in range(len(keys) + 1) for subset in itertools.combinations(keys, size)]
    return st.builds(
        Question,
        st.sampled_from(subsets),
        st.sampled_from(granularities),
        st.fixed_dictionaries(
            {},
            optional={name: st.lists(st.sampled_from(values(oracle, name)), min_size=1, max_size=3) for name in keys},
        ),
        bound,
        bound,
    ).filter(lambda asked: asked.start is None or asked.end is None or asked.start < asked.end)


def without(rows: answered.Texts, *names: str) -> answered.Texts:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


@pytest.mark.parametrize("view", KEYS)
def test_any_grouping_of_a_view_is_the_sum_over_its_sales(witnessed_web: Any, view: str) -> None:
    """Law: for any keys, period, filters and bounds, the rows of a view's answer are sums over single sales, exactly;
    in the same order in every format."""
    oracle, client = witnessed_web.oracle, witnessed_web.client
    is_hourly = view in HOURLY
    granularities = tuple(PERIOD_COLUMNS)[0 if is_hourly else 1 :]
    step = timedelta(hours=1) if is_hourly else timedelta(days=1)

    @settings(max_examples=60)
    @given(asked=questions(oracle, KEYS[view], granularities, step), form=st.sampled_from(answered.FORMATS))
    def check(asked: Question, form: str) -> None:
        response = client.get(f"/api/views/{view}", query_string=asked.parameters | {"format": form, "limit": 10_000})
        assert without(answered.rows(response), "nouveaux_clients") == sums(oracle.ventes_clean, asked)

    check()


def test_sales_are_answered_by_a_view_that_has_all_or_by_none(witnessed_web: Any) -> None:
    """Law: an answer is the sum over single sales, whatever view it is from; what no view can answer is 422, and
    exactly that."""
    oracle, client = witnessed_web.oracle, witnessed_web.client

    @settings(max_examples=200)
    @given(asked=questions(oracle, ALL_KEYS, tuple(PERIOD_COLUMNS), timedelta(hours=6)))
    def check(asked: Question) -> None:
        response = client.get("/api/sales", query_string=asked.parameters | {"limit": 10_000})
        needed = set(asked.group_by or ()) | set(asked.filters)
        by_hour = asked.granularity == "hour" or any(
            each is not None and each.hour for each in (asked.start, asked.end)
        )
        able = [name for name, keys in KEYS.items() if needed <= set(keys) and (name in HOURLY or not by_hour)]
        if not able:
            assert response.status_code == 422, response.text
            assert response.json["error"]["code"] == "no_view"
            return
        assert response.json["view"] in able
        rows = answered.rows(response)
        assert without(rows, "panier_moyen") == sums(oracle.ventes_clean, asked)
        for row in rows:
            count = int(row["ventes_count"])
            mean = Decimal(row["revenue_total"]) / count if count else None
            expected = "" if mean is None else str(mean.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP))
            assert row["panier_moyen"] == expected

    check()


def test_new_clients_are_distinct_clients_or_left_out(witnessed_web: Any) -> None:
    """Law: where ``nouveaux_clients`` is given by whole months it is the number of distinct clients; by day it is that
    of the view; anything else leaves it out, says why, and gives every other figure."""
    oracle, client = witnessed_web.oracle, witnessed_web.client
    keys = KEYS["ventes_produit_pays"]
    own = {
        (*(row[key] for key in keys), str(row["jour"])): row["nouveaux_clients"] for row in oracle.ventes_produit_pays
    }
    seen = set()

    @settings(max_examples=150)
    @given(asked=questions(oracle, keys, ("day", "week", "month", "year", "all"), timedelta(days=1)))
    @example(asked=Question(keys, "day", {}, None, None))
    @example(asked=Question(keys, "week", {}, None, None))
    @example(asked=Question(keys, "month", {}, None, None))
    @example(asked=Question(keys[1:], "month", {}, None, None))
    def check(asked: Question) -> None:
        response = client.get("/api/views/ventes_produit_pays", query_string=asked.parameters | {"limit": 10_000})
        pinned = {name for name, given in asked.filters.items() if len(set(given)) == 1}
        has_keys = set(asked.group_by or ()) | pinned == set(keys)
        bounds = [each for each in (asked.start, asked.end) if each is not None]
        is_given = has_keys and (
            asked.granularity == "day" or (asked.granularity == "month" and all(each.day == 1 for each in bounds))
        )
        is_one_month = has_keys and asked.granularity == "all" and len(bounds) == 2 and all(b.day == 1 for b in bounds)
        is_given = is_given or is_one_month
        seen.add((asked.granularity, is_given))
        assert ("nouveaux_clients" in response.json.get("omitted", {})) is not is_given
        for row in answered.rows(response):
            assert ("nouveaux_clients" in row) is is_given
            if not is_given or not int(row["ventes_count"]):
                continue
            place = [row.get(key, (asked.filters.get(key) or [""])[0]) for key in keys]
            if asked.granularity == "day":
                assert int(row["nouveaux_clients"]) == own[(*place, row["jour"])]
            else:
                month = row.get("debut_mois", str(asked.start)[:10])[:7]
                clients = {
                    sale["client_id"]
                    for sale in oracle.ventes_clean
                    if [label(sale[key]) for key in keys] == place and f"{sale['timestamp']:%Y-%m}" == month
                }
                assert int(row["nouveaux_clients"]) == len(clients)

    check()
    assert {("day", True), ("month", True), ("month", False), ("week", False)} <= seen


def test_the_quality_of_messages_by_motif_and_day(witnessed_web: Any) -> None:
    """Law: the view of messages is grouped as any other: every one of its measures adds."""
    rows = answered.rows(witnessed_web.client.get("/api/views/qualite?granularity=day&group_by=motif"))
    expected: dict[tuple[str, str], list[int]] = {}
    names = [name for name in rows[0] if name not in ("motif", "jour")]
    for row in witnessed_web.oracle.qualite:
        total = expected.setdefault((str(row["heure"].date()), row["motif"]), [0] * len(names))
        for place, name in enumerate(names):
            total[place] += row[name]
    # Kafka deleted some positions: the witness was never sent them.
    given = {(row["jour"], row["motif"]): [int(row[name]) for name in names] for row in rows if row["motif"] != "perdu"}
    assert given == expected


@pytest.mark.parametrize("view", [*KEYS, "qualite"])
def test_pages_join_in_any_order(witnessed_web: Any, view: str) -> None:
    """Law: following ``next``, as the body and the header ``Link`` give it, gives each row once, ordered as all are."""
    client: FlaskClient = witnessed_web.client
    measure = "messages" if view == "qualite" else "ventes_count"
    for order in (measure, f"-{measure}"):
        path = f"/api/views/{view}?order={order}"
        whole = answered.rows(client.get(f"{path}&limit=100000"))
        counts = [int(row[measure]) for row in whole]
        assert counts == sorted(counts, reverse=order.startswith("-"))
        seen: answered.Texts = []
        address: str | None = f"{path}&limit=7"
        while address is not None:
            response = client.get(address)
            seen += answered.rows(response)
            page = response.json["page"]
            link = response.headers.get("Link")
            assert (link is None) == (page["next"] is None)
            address = None if link is None else link.partition(">")[0].removeprefix("<")
        assert seen == whole


@pytest.mark.parametrize("name", ["top_produits", "ventes_aggreges"])
def test_a_roll_up_is_its_rows(witnessed_web: Any, name: str) -> None:
    """Law: the rows of the witness, filtered by exact values of its keys."""
    client, expected = witnessed_web.client, witnessed_web.oracle.tables[name]
    texts = [{column: answered.text(value) for column, value in row.items()} for row in expected]

    def ordered(rows: answered.Texts) -> list[Any]:
        return sorted(sorted(row.items()) for row in rows)

    given = answered.rows(client.get(f"/api/views/{name}?limit=10000"))
    assert ordered(without(given, "quantite_moyenne")) == ordered(without(texts, "quantite_moyenne"))
    some = [row for row in texts if row["produit_nom"] == "Café" and row["categorie"] != "inconnu"]
    asked = {"produit_nom": "Café", "categorie": sorted({row["categorie"] for row in some}), "limit": 10_000}
    given = answered.rows(client.get(f"/api/views/{name}", query_string=asked))
    assert ordered(without(given, "quantite_moyenne")) == ordered(without(some, "quantite_moyenne"))
    assert some


@pytest.mark.parametrize(
    ("query", "parameter", "says"),
    [
        ("ventes_par_pays?country=x", "country", "pays"),
        ("ventes_par_pays?granularity=minute", "granularity", "hour, day, week, month, year, all"),
        ("ventes_par_produit?granularity=hour", "granularity", "day, week, month, year, all"),
        ("ventes_par_pays?group_by=segment", "group_by", "some of pays"),
        ("hourly_sales?group_by=pays", "group_by", "nothing"),
        ("ventes_par_pays?group_by=pays,pays", "group_by", "once"),
        ("ventes_par_pays?group_by=pays&group_by=pays", "group_by", "twice"),
        ("ventes_par_pays?order=pays;", "order", "ventes_count"),
        ("ventes_par_pays?order=-pays,pays", "order", "once"),
        ("ventes_par_pays?order=jour", "order", "heure"),
        ("ventes_produit_pays?granularity=year&order=nouveaux_clients", "order", "count clients again"),
        ("ventes_par_pays?limit=0", "limit", "1 to 100000"),
        ("ventes_par_pays?offset=-1", "offset", "0 to"),
        ("ventes_par_pays?from=2026-02-27T10:30", "from", "heure"),
        ("ventes_par_produit?to=2026-02-27T10:00Z", "to", "jour"),
        ("ventes_par_pays?from=2026-02-28&to=2026-02-27", "to", "not after"),
        ("ventes_par_pays?format=xml", "format", "json, csv, arrow, parquet"),
        ("ventes_aggreges?group_by=pays", "group_by", "produit_nom"),
        ("ventes_aggreges?mois=13", "mois", "1 to 12"),
    ],
)
def test_what_cannot_be_asked_is_named(witnessed_web: Any, query: str, parameter: str, says: str) -> None:
    """Law: an unknown parameter or value is refused by name, with what is allowed."""
    response = witnessed_web.client.get(f"/api/views/{query}")
    assert response.status_code == 400, response.text
    assert response.json["error"]["parameter"] == parameter
    assert says in response.json["error"]["message"]
