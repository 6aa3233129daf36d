import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LARGEST = Decimal("9999999999999999.99")
LARGEST_SUM = Decimal("9" * 36 + ".99")


def answer(client: FlaskClient, path: str, **parameters: Any) -> dict[str, Any]:
    """The body of an answer, its money as exact decimals."""
    response = client.get(path, query_string=parameters)
    assert response.status_code == 200, response.text
    assert response.mimetype == "application/json"
    body = json.loads(response.text, parse_float=Decimal)
    assert set(body) == {"data", "snapshot"}
    return dict(body)


def refusal(client: FlaskClient, path: str) -> dict[str, Any]:
    response = client.get(path)
    assert response.status_code == 400, response.text
    error = response.json["error"]
    assert set(error) == {"status", "code", "message", "parameter"}
    assert (error["status"], error["code"]) == (400, "bad_parameter")
    assert error["parameter"] in error["message"]
    return dict(error)


class TestTopProducts:
    @staticmethod
    def product(name: str, revenue: str, categorie: str = "c") -> dict[str, Any]:
        return {
            "produit_nom": name,
            "categorie": categorie,
            "ventes_count": 4,
            "revenue_total": Decimal(revenue),
            "quantite_moyenne": 2.5,
        }

    def test_by_revenue_then_name_then_category(self, client: FlaskClient, silver: Any, store: Any) -> None:
        """The largest revenue first; among equals by name, then by category: always the same order."""
        rows = [
            self.product("b", "5.00"),
            self.product("a", "5.00", "z"),
            self.product("a", "5.00", "y"),
            self.product("c", "10.00"),
        ]
        silver.put("top_produits", rows)
        silver.snapshot()
        store.refresh()
        data = answer(client, "/api/top_products")["data"]
        assert data == [rows[3], rows[2], rows[1], rows[0]]
        assert [list(row) for row in data] == [list(rows[0])] * 4
        assert answer(client, "/api/top_products", limit=2)["data"] == data[:2]

    def test_ten_unless_a_limit_is_given(self, client: FlaskClient, silver: Any, store: Any) -> None:
        """The default is the product's promise, "Top 10 products"."""
        silver.put("top_produits", [self.product(f"p{number:02}", "1.00") for number in range(30)])
        silver.snapshot()
        store.refresh()
        assert len(answer(client, "/api/top_products")["data"]) == 10
        assert len(answer(client, "/api/top_products", limit=1000)["data"]) == 30

    @pytest.mark.parametrize(
        "amount", [str(LARGEST), str(LARGEST_SUM), "90071992547409.93", "0.00", "0.10", "1799.90", "12.00"]
    )
    def test_money_is_exact_with_two_decimals(self, client: FlaskClient, silver: Any, store: Any, amount: str) -> None:
        """The digits of the table are the digits of the answer, beyond 2^53 too, trailing zeros included."""
        silver.put("top_produits", [self.product("p", amount)])
        silver.snapshot()
        store.refresh()
        assert f'"revenue_total":{amount},' in client.get("/api/top_products").text

    @pytest.mark.parametrize("limit", ["0", "1001", "-1", "1.5", "x", "", " 5", "٣", "1" * 5000, "1e2"])
    def test_a_bad_limit_is_named(self, client: FlaskClient, limit: str) -> None:
        """Whatever is not a whole number from 1 to 1000 is refused, also before there is a snapshot."""
        assert refusal(client, f"/api/top_products?limit={limit}")["parameter"] == "limit"


class TestHourlySales:
    LATEST = datetime(2025, 12, 22, 14, tzinfo=UTC)

    @pytest.fixture
    def sold(self, silver: Any, store: Any) -> dict[str, tuple[int, Decimal]]:
        """Some hours with sales, as the answer should give them."""
        hours = [self.LATEST - timedelta(hours=back) for back in (0, 1, 5, 23, 24, 400)]
        rows = [
            {"heure": hour, "ventes_count": number + 1, "revenue_total": Decimal(number) + Decimal("0.10")}
            for number, hour in enumerate(hours)
        ]
        # An hour that has a row, but no sale.
        rows.append({"heure": self.LATEST + timedelta(hours=3), "ventes_count": 0, "revenue_total": Decimal("0.00")})
        silver.put("hourly_sales", rows)
        silver.snapshot()
        store.refresh()
        return {f"{row['heure']:%Y-%m-%d %H:%M}": (row["ventes_count"], row["revenue_total"]) for row in rows}

    def check(
        self, data: list[dict[str, Any]], sold: dict[str, tuple[int, Decimal]], first: datetime, hours: int
    ) -> None:
        expected = [f"{first + timedelta(hours=number):%Y-%m-%d %H:%M}" for number in range(hours)]
        assert [row["heure"] for row in data] == expected
        assert [(row["ventes_count"], row["revenue_total"]) for row in data] == [
            sold.get(hour, (0, Decimal("0.00"))) for hour in expected
        ]
        assert {tuple(row) for row in data} <= {("heure", "ventes_count", "revenue_total")}

    def test_the_24_hours_that_end_with_the_latest_sale(self, client: FlaskClient, sold: Any) -> None:
        """Hours without sales are there with zeros, and an hour without a sale is not the latest."""
        data = answer(client, "/api/hourly_sales")["data"]
        self.check(data, sold, self.LATEST - timedelta(hours=23), 24)
        assert '"revenue_total":0.00' in client.get("/api/hourly_sales").text

    def test_an_empty_system_has_zeros_up_to_now(
        self, client: FlaskClient, silver: Any, store: Any, clock: Any
    ) -> None:
        """Without any sale the 24 hours end with the hour that it is."""
        silver.snapshot()
        store.refresh()
        data = answer(client, "/api/hourly_sales")["data"]
        now = clock().replace(minute=0, second=0, microsecond=0)
        self.check(data, {}, now - timedelta(hours=23), 24)

    def test_a_date(self, client: FlaskClient, sold: Any) -> None:
        """The 24 hours of that date, sales or not."""
        data = answer(client, "/api/hourly_sales", date="2025-12-21")["data"]
        self.check(data, sold, datetime(2025, 12, 21, tzinfo=UTC), 24)
        data = answer(client, "/api/hourly_sales", date="1999-01-01")["data"]
        self.check(data, sold, datetime(1999, 1, 1, tzinfo=UTC), 24)

    @pytest.mark.parametrize(
        ("parameters", "first", "hours"),
        [
            ({"from": "2025-12-20", "to": "2025-12-21"}, "2025-12-20 00:00", 48),
            ({"from": "2025-12-21T10:00:00Z", "to": "2025-12-21T12:00:00Z"}, "2025-12-21 10:00", 2),
            ({"from": "2025-12-21T10:00", "to": "2025-12-21T12:00:00.000001"}, "2025-12-21 10:00", 3),
            ({"from": "2025-12-21T10:00:00.000001Z", "to": "2025-12-21T12:30Z"}, "2025-12-21 11:00", 2),
            ({"from": "2025-12-21T10:10Z", "to": "2025-12-21T10:50Z"}, "2025-12-21 11:00", 0),
            ({"from": "2025-12-21T10:00:00+02:00", "to": "2025-12-21T10:00:00Z"}, "2025-12-21 08:00", 2),
            ({"from": "2025-12-21T10:00:00+05:30", "to": "2025-12-21T07:00:00Z"}, "2025-12-21 05:00", 2),
            ({"from": "2025-12-22"}, "2025-12-22 00:00", 15),
            ({"from": "2026-12-22"}, "2026-12-22 00:00", 0),
            ({"to": "2025-12-21"}, "2025-12-21 00:00", 24),
            ({"to": "2025-12-21T06:00Z"}, "2025-12-20 06:00", 24),
            ({"from": "2024-12-22", "to": "2025-12-22"}, "2024-12-22 00:00", 24 * 366),
        ],
        ids=str,
    )
    def test_a_range(self, client: FlaskClient, sold: Any, parameters: dict[str, str], first: str, hours: int) -> None:
        """The hours that start at or after from and before to; a date as to includes that date."""
        data = answer(client, "/api/hourly_sales", **parameters)["data"]
        self.check(data, sold, datetime.fromisoformat(f"{first}Z"), hours)

    @pytest.mark.usefixtures("sold")
    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            ("date=2025-13-01", "date"),
            ("date=2025-1-1", "date"),
            ("date=0001-01-01", "date"),
            ("date=9999-12-31", "date"),
            ("date=2025-12-01T00:00Z", "date"),
            ("date=", "date"),
            ("from=yesterday", "from"),
            ("from=2025-02-30", "from"),
            ("from=2025-12-01T25:00", "from"),
            ("from=2025-12-01T10:00:00+02:00", "from"),  # a + in an address is a space
            ("to=0001-01-01T00:00%2B14:00", "to"),
            ("to=9999-12-31T23:59:59", "to"),
            ("from=2025-12-02&to=2025-12-01", "to"),
            ("from=2025-12-01T10:00Z&to=2025-12-01T10:00Z", "to"),
            ("from=2024-12-21&to=2025-12-22", "from"),
            ("from=2000-01-01", "from"),
            ("date=2025-12-01&from=2025-12-01", "from"),
            ("date=2025-12-01&to=2025-12-01", "to"),
            ("date=2025-12-01&date=2025-12-01", "date"),
            ("heure=10", "heure"),
        ],
    )
    def test_a_bad_range_names_its_parameter(self, client: FlaskClient, query: str, parameter: str) -> None:
        """Nothing that cannot be meant is guessed."""
        assert refusal(client, f"/api/hourly_sales?{query}")["parameter"] == parameter

    @settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(name=st.sampled_from(["date", "from", "to"]), text=st.text(max_size=40) | st.datetimes().map(str))
    def test_any_text_is_an_answer_or_a_refusal(self, client: FlaskClient, name: str, text: str) -> None:
        """No text makes the server fail. Before there is a snapshot, what is not refused is 503."""
        response = client.get("/api/hourly_sales", query_string={name: text})
        assert response.status_code in (400, 503), response.text
        assert response.status_code == 503 or response.json["error"]["parameter"] == name


AGGREGATED = ("produit_nom", "categorie", "pays", "annee", "mois")
NAMES = {"produit": "produit_nom", "categorie": "categorie", "pays": "pays", "year": "annee", "month": "mois"}
TEXTS = st.sampled_from(["a", "b", "A", "", " a", "été", "' OR 1=1 --", '"', "%", "a,b", "\x00", "inconnu"])


def aggregate(key: tuple[Any, ...], revenue: Decimal) -> dict[str, Any]:
    return {
        **dict(zip(AGGREGATED, key, strict=True)),
        "nombre_ventes": 3,
        "chiffre_affaires": revenue,
        "panier_moyen": Decimal("1.05"),
        "clients_uniques": 2,
    }


@st.composite
def aggregates(draw: st.DrawFn) -> list[dict[str, Any]]:
    keys = draw(
        st.lists(st.tuples(TEXTS, TEXTS, TEXTS, st.integers(2023, 2025), st.integers(1, 12)), max_size=25, unique=True)
    )
    money = st.decimals(Decimal("0.00"), LARGEST, places=2) | st.sampled_from([Decimal("5.00"), LARGEST, LARGEST_SUM])
    return [aggregate(key, draw(money)) for key in keys]


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "produit": st.lists(TEXTS, min_size=1, max_size=3),
        "categorie": st.lists(TEXTS, min_size=1, max_size=3),
        "pays": st.lists(TEXTS, min_size=1, max_size=3),
        "year": st.integers(2022, 2025).map(lambda number: [number]),
        "month": st.integers(1, 12).map(lambda number: [number]),
    },
)


class TestAggregatedSales:
    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(rows=aggregates(), filters=st.lists(FILTERS, min_size=1, max_size=6))
    def test_any_filter_keeps_the_rows_that_a_plain_filter_keeps(
        self, client: FlaskClient, silver: Any, store: Any, rows: list[dict[str, Any]], filters: list[dict[str, Any]]
    ) -> None:
        """Exactly the rows that equal a given value in each given column, by revenue and then by key; to the cent."""
        silver.put("ventes_aggreges", rows)
        silver.snapshot()
        store.refresh()
        for given_values in filters:
            expected = [row for row in rows if all(row[NAMES[name]] in values for name, values in given_values.items())]
            expected.sort(key=lambda row: (row["chiffre_affaires"].copy_negate(), *(row[name] for name in AGGREGATED)))
            assert answer(client, "/api/aggregated_sales", **given_values)["data"] == expected

    def test_the_columns(self, client: FlaskClient, silver: Any, store: Any) -> None:
        """Named and ordered as the table is."""
        silver.put("ventes_aggreges", [aggregate(("p", "c", "France", 2025, 12), LARGEST)])
        silver.snapshot()
        store.refresh()
        (row,) = answer(client, "/api/aggregated_sales", month=12, pays="France")["data"]
        assert list(row) == [*AGGREGATED, "nombre_ventes", "chiffre_affaires", "panier_moyen", "clients_uniques"]
        assert row["chiffre_affaires"] == LARGEST

    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            ("month=0", "month"),
            ("month=13", "month"),
            ("month=december", "month"),
            ("month=1&month=2", "month"),
            ("year=x", "year"),
            ("year=10000", "year"),
            ("year=2025&year=2025", "year"),
            ("country=France", "country"),
            ("Pays=France", "Pays"),
            ("pays=France&limit=3", "limit"),
            ("%3Cscript%3E=1", "<script>"),
        ],
    )
    def test_a_bad_filter_names_its_parameter(self, client: FlaskClient, query: str, parameter: str) -> None:
        """A filter that cannot be used is refused: an answer that ignores it would look filtered."""
        assert refusal(client, f"/api/aggregated_sales?{query}")["parameter"] == parameter


PATHS = ("/api/aggregated_sales", "/api/top_products", "/api/hourly_sales", "/api/quality")


class TestEveryAnswer:
    @pytest.mark.parametrize("path", PATHS)
    def test_names_its_snapshot(
        self, client: FlaskClient, silver: Any, store: Any, kafka: Any, pipeline: Any, clock: Any, path: str
    ) -> None:
        """Which snapshot, how old, as of which positions, and whether Kafka has more by now."""
        written = silver.snapshot({0: 10, 1: 20})
        store.refresh()
        clock.advance(milliseconds=1234)
        kafka.ends = {0: 10, 1: 20}
        pipeline.look()
        assert answer(client, path)["snapshot"] == {
            "id": written.id,
            "created_at": "2025-12-22T15:04:05.123456Z",
            "age_ms": 1234,
            "positions": [
                {"topic": "ventes", "topic_id": "topic-1", "partition": 0, "offset": 10},
                {"topic": "ventes", "topic_id": "topic-1", "partition": 1, "offset": 20},
            ],
            "caught_up": True,
        }
        kafka.ends = {0: 10, 1: 21}
        pipeline.look()
        assert answer(client, path)["snapshot"]["caught_up"] is False
        kafka.error = RuntimeError("away")
        pipeline.look()
        assert answer(client, path)["snapshot"]["caught_up"] is None

    @pytest.mark.parametrize("path", PATHS)
    def test_waits_for_the_first_snapshot(self, client: FlaskClient, path: str) -> None:
        """Before it there are no figures: 503, to be tried again soon."""
        response = client.get(path)
        assert response.status_code == 503
        assert response.json["error"]["code"] == "no_snapshot"
        assert int(response.headers["Retry-After"]) >= 1


def test_dates_of_the_calendar_are_read_as_such() -> None:
    """Every date from 0002 to 9998 is one, as 24 hours of UTC."""
    from web.parameters import date as read_date

    for day in (date(2, 1, 1), date(2024, 2, 29), date(9998, 12, 31)):
        moment = read_date(day.isoformat())
        assert moment.start == datetime(day.year, day.month, day.day, tzinfo=UTC)
        assert moment.end - moment.start == timedelta(days=1)
