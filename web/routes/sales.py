"""The business's first three questions: which products sell where, which products lead, and when."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response

from salesviews import views
from salesviews.errors import ParameterError
from web import parameters
from web.answers import Answers
from web.parameters import Moment, Parameter
from web.questions import Questions
from web.snapshot import Snapshot, instant_of

_HOUR = views.HOUR.duration
_DEFAULT_HOURS = timedelta(hours=24)
LONGEST_RANGE = timedelta(days=366)

AGGREGATED_SALES = (
    Parameter("year", parameters.whole_number(1, 9999), "year of the sale"),
    Parameter("month", parameters.whole_number(1, 12), "month of the sale"),
    Parameter("pays", parameters.text, "country, exactly; repeatable", is_repeatable=True),
    Parameter("produit", parameters.text, "product name, exactly; repeatable", is_repeatable=True),
    Parameter("categorie", parameters.text, "product line, exactly; repeatable", is_repeatable=True),
)
TOP_PRODUCTS = (Parameter("limit", parameters.whole_number(1, 1000), "how many", default=10),)
HOURLY_SALES = (
    Parameter("date", parameters.date, "the 24 hours of a date (UTC); not with from and to"),
    Parameter("from", parameters.moment, "the first hour: hours that start at or after it"),
    Parameter("to", parameters.moment, "the end: hours that start before it; of a date, the end of that day"),
)

_COLUMNS = {"year": "annee", "month": "mois", "pays": "pays", "produit": "produit_nom", "categorie": "categorie"}

_TOP_PRODUCTS_ORDER = "revenue_total DESC, produit_nom, categorie"
_TOP_PRODUCTS_SQL = (
    "SELECT produit_nom, categorie, ventes_count, revenue_total, quantite_moyenne FROM top_produits "
    f"ORDER BY {_TOP_PRODUCTS_ORDER} LIMIT $1"
)
_HOURLY_SALES_SQL = """
    SELECT strftime(hours.heure, '%Y-%m-%d %H:%M') AS heure,
           coalesce(sales.ventes_count, 0) AS ventes_count,
           coalesce(sales.revenue_total, 0.00) AS revenue_total
    FROM (SELECT unnest(generate_series($1::TIMESTAMPTZ, $2::TIMESTAMPTZ, INTERVAL 1 HOUR)) AS heure) AS hours
    LEFT JOIN hourly_sales AS sales ON sales.heure = hours.heure
"""


def routes(questions: Questions, answers: Answers, clock: Callable[[], datetime]) -> Blueprint:
    sales = Blueprint("sales", __name__)

    @sales.get("/api/aggregated_sales")
    def aggregated_sales() -> Response:
        with questions.read(AGGREGATED_SALES) as (values, snapshot):
            rows = _aggregated_sales(snapshot, values)
        return answers.of_json(rows, snapshot.manifest, snapshot.as_of)

    @sales.get("/api/top_products")
    def top_products() -> Response:
        with questions.read(TOP_PRODUCTS) as (values, snapshot):
            rows = snapshot.json_rows(_TOP_PRODUCTS_SQL, _TOP_PRODUCTS_ORDER, [values["limit"]])
        return answers.of_json(rows, snapshot.manifest, snapshot.as_of)

    @sales.get("/api/hourly_sales")
    def hourly_sales() -> Response:
        with questions.read(HOURLY_SALES) as (values, snapshot):
            now = clock() if snapshot.as_of is None else snapshot.manifest.created_at
            first, end = _hours(values["date"], values["from"], values["to"], _latest_hour(snapshot) or _hour(now))
            rows = snapshot.json_rows(_HOURLY_SALES_SQL, "heure", [first, end - _HOUR])
        return answers.of_json(rows, snapshot.manifest, snapshot.as_of)

    return sales


def _aggregated_sales(snapshot: Snapshot, values: dict[str, Any]) -> str:
    conditions, given = [], []
    for name, column in _COLUMNS.items():
        if values[name] not in (None, ()):
            given.append(values[name])
            number = len(given)
            conditions.append(f"{column} IN ${number}" if isinstance(values[name], tuple) else f"{column} = ${number}")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return snapshot.json_rows(
        "SELECT produit_nom, categorie, pays, annee, mois, "
        "nombre_ventes, chiffre_affaires, panier_moyen, clients_uniques "
        f"FROM ventes_aggreges {where}",
        "chiffre_affaires DESC, produit_nom, categorie, pays, annee, mois",
        given,
    )


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
