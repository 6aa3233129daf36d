"""The business's first three questions: which products sell where, which products lead, and when."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from flask import Blueprint

from salesviews import money, views
from salesviews.errors import ParameterError
from web import parameters
from web.endpoints import Column, Endpoint
from web.parameters import Moment, Parameter
from web.rows import Query, Rows
from web.snapshot import Snapshot, instant_of

_HOUR = views.HOUR.duration
_DEFAULT_HOURS = timedelta(hours=24)
LONGEST_RANGE = timedelta(days=366)

_PRODUCT = (Column("produit_nom", pa.string(), "product"), Column("categorie", pa.string(), "product line"))

TOP_PRODUCTS = Endpoint(
    "/api/top_products",
    "the products with the largest revenue, over all time",
    parameters=(Parameter("limit", parameters.whole_number(1, 1000), "how many", default=10),),
    columns=(
        *_PRODUCT,
        Column("ventes_count", pa.int64(), "sales"),
        Column("revenue_total", money.SUM_ARROW, "sum of montant"),
        Column("quantite_moyenne", pa.float64(), "mean quantite of a sale"),
    ),
)
AGGREGATED_SALES = Endpoint(
    "/api/aggregated_sales",
    "which products sell where: by product, country and month, by revenue",
    parameters=(
        Parameter("year", parameters.whole_number(1, 9999), "year of the sale"),
        Parameter("month", parameters.whole_number(1, 12), "month of the sale"),
        Parameter("pays", parameters.text, "country, exactly; repeatable", is_repeatable=True),
        Parameter("produit", parameters.text, "product name, exactly; repeatable", is_repeatable=True),
        Parameter("categorie", parameters.text, "product line, exactly; repeatable", is_repeatable=True),
    ),
    columns=(
        *_PRODUCT,
        Column("pays", pa.string(), "country"),
        Column("annee", pa.int32(), "year of the sales (UTC)"),
        Column("mois", pa.int32(), "month of the sales (UTC), from 1 to 12"),
        Column("nombre_ventes", pa.int64(), "sales"),
        Column("chiffre_affaires", money.SUM_ARROW, "sum of montant"),
        Column("panier_moyen", money.DECIMAL_ARROW, "mean montant of a sale, rounded to the cent"),
        Column("clients_uniques", pa.int64(), "distinct clients"),
    ),
)
HOURLY_SALES = Endpoint(
    "/api/hourly_sales",
    "when: sales and revenue of each hour, with zeros where there are none",
    parameters=(
        Parameter("date", parameters.date, "the 24 hours of a date (UTC); not with from and to"),
        Parameter("from", parameters.moment, "the first hour: hours that start at or after it"),
        Parameter("to", parameters.moment, "the end: hours that start before it; of a date, the end of that day"),
    ),
    columns=(
        Column("heure", pa.string(), "start of the hour (UTC): 2025-12-22 10:00"),
        Column("ventes_count", pa.int64(), "sales"),
        Column("revenue_total", money.SUM_ARROW, "sum of montant"),
    ),
    doc=f"Default: the 24 hours that end with the latest sale. At most {LONGEST_RANGE.days} days.",
)

_FILTERS = {"year": "annee", "month": "mois", "pays": "pays", "produit": "produit_nom", "categorie": "categorie"}

_HOURLY_SALES_SQL = """
    SELECT strftime(hours.heure, '%Y-%m-%d %H:%M') AS heure,
           coalesce(sales.ventes_count, 0) AS ventes_count,
           coalesce(sales.revenue_total, 0.00) AS revenue_total
    FROM (SELECT unnest(generate_series($1::TIMESTAMPTZ, $2::TIMESTAMPTZ, INTERVAL 1 HOUR)) AS heure) AS hours
    LEFT JOIN hourly_sales AS sales ON sales.heure = hours.heure
"""


def routes(rows: Rows, clock: Callable[[], datetime]) -> Blueprint:
    sales = Blueprint("sales", __name__)

    @rows.get(sales, AGGREGATED_SALES)
    def aggregated_sales(values: dict[str, Any], _snapshot: Snapshot) -> Query:
        given = {_FILTERS[name]: value for name, value in values.items() if value not in (None, ())}
        conditions = [
            f"{column} {'IN' if isinstance(value, tuple) else '='} ${place + 1}"
            for place, (column, value) in enumerate(given.items())
        ]
        return Query(
            "FROM ventes_aggreges" + (f" WHERE {' AND '.join(conditions)}" if conditions else ""),
            order="chiffre_affaires DESC, produit_nom, categorie, pays, annee, mois",
            parameters=list(given.values()),
        )

    @rows.get(sales, TOP_PRODUCTS)
    def top_products(values: dict[str, Any], _snapshot: Snapshot) -> Query:
        order = "revenue_total DESC, produit_nom, categorie"
        return Query(f"FROM top_produits ORDER BY {order} LIMIT $1", order, [values["limit"]])

    @rows.get(sales, HOURLY_SALES)
    def hourly_sales(values: dict[str, Any], snapshot: Snapshot) -> Query:
        now = clock() if snapshot.as_of is None else snapshot.manifest.created_at
        first, end = _hours(values["date"], values["from"], values["to"], _latest_hour(snapshot) or _hour(now))
        return Query(_HOURLY_SALES_SQL, "heure", [first, end - _HOUR])

    return sales


def _latest_hour(snapshot: Snapshot) -> datetime | None:
    ((since_1970_us,),) = snapshot.query("SELECT epoch_us(max(heure)) FROM hourly_sales WHERE ventes_count > 0")
    return None if since_1970_us is None else instant_of(since_1970_us)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _hours(
    date: Moment | None, first: Moment | None, last: Moment | None, latest: datetime
) -> tuple[datetime, datetime]:
    """The range of hours that is asked for: from its first, to before its end.

    Without parameters it is the 24 hours that end with ``latest``; ``from`` alone goes to there, ``to`` alone takes the
    24 hours before it.

    :raises ParameterError: if the parameters contradict one another, or the range is too long
    """
    if date is not None:
        for name, value in (("from", first), ("to", last)):
            if value is not None:
                raise ParameterError(name, f"{name} is given beside date: date is a whole range of its own.")
        return date.start, date.end
    end = latest + _HOUR if last is None else last.end
    start = end - _DEFAULT_HOURS if first is None else first.start
    if first is not None and last is not None and start >= end:
        raise ParameterError("to", f"to ({end:%Y-%m-%dT%H:%MZ}) is not after from ({start:%Y-%m-%dT%H:%MZ}).")
    if end - start > LONGEST_RANGE:
        raise ParameterError(
            "from",
            f"From {start:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ} is more than the {LONGEST_RANGE.days} days "
            "that one request may ask for: give a later from, or an earlier to.",
        )
    return _first_hour(start), _first_hour(end)


def _first_hour(moment: datetime) -> datetime:
    """The first hour that starts at or after a moment."""
    return moment if moment == _hour(moment) else _hour(moment) + _HOUR
