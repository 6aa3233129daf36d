"""Year over year: the figures of each month beside those of the same month a year before."""

from typing import Any

import pyarrow as pa
from flask import Blueprint

from salesviews import money
from web import grouping, periods
from web.endpoints import Column, Endpoint
from web.grouping import AMOUNT, PANIER_MOYEN, Grouping
from web.routes import across
from web.rows import Query, Rows
from web.snapshot import Snapshot

_COMPARED = {
    "ventes_count": (pa.int64(), "sales", "count"),
    "revenue_total": (money.SUM_ARROW, "sum of montant", AMOUNT),
    "panier_moyen": (money.DECIMAL_ARROW, PANIER_MOYEN.doc, AMOUNT),
}
"""Type, doc and unit of each figure that is compared with the year before."""


def _columns() -> tuple[Column, ...]:
    figures = [
        Column(name, arrow, doc, unit, is_nullable=name == PANIER_MOYEN.name)
        for name, (arrow, doc, unit) in _COMPARED.items()
    ]
    compared = [
        column
        for name, (arrow, _, unit) in _COMPARED.items()
        for column in (
            Column(f"{name}_an_passe", arrow, f"{name} of the same month a year before", unit, is_nullable=True),
            Column(f"{name}_ecart", arrow, f"{name} less that of the year before", unit, is_nullable=True),
            Column(f"{name}_ecart_pct", pa.float64(), f"that as a share of the year before's {name}", "%", True),
        )
    ]
    assert periods.MONTH.column is not None
    return (periods.MONTH.column, *figures, *compared)


MONTHLY_SALES = Endpoint(
    "/api/monthly_sales",
    "sales, revenue and average basket by month, each beside the same month a year before",
    parameters=grouping.filter_parameters(across.KEYS),
    columns=_columns(),
    about=grouping.ABOUT,
    failures=grouping.NO_VIEW,
    doc=(
        "Every month from the first with sales to the last, with zeros where there are none for the filters. What was "
        "before the first month is null; a change in % is null where the year before has nothing. The last month may "
        "not be over. 422 `no_view` if no view has the filters together."
    ),
)

_SQL = """
    WITH trouves AS ({found}),
    mois AS (
        SELECT unnest(generate_series(min(make_date(annee, mois, 1)), max(make_date(annee, mois, 1)),
                                      INTERVAL 1 MONTH))::DATE AS debut_mois
        FROM hourly_sales
    ),
    chiffres AS (
        SELECT debut_mois, coalesce(ventes_count, 0) AS ventes_count,
               coalesce(revenue_total, 0)::DECIMAL(38,2) AS revenue_total, panier_moyen
        FROM mois LEFT JOIN trouves USING (debut_mois)
    )
    SELECT a.*, {compared}
    FROM chiffres AS a LEFT JOIN chiffres AS b ON b.debut_mois = (a.debut_mois - INTERVAL 1 YEAR)::DATE
    {where}
"""


def routes(rows: Rows) -> Blueprint:
    blueprint = Blueprint("monthly_sales", __name__)

    @rows.get(blueprint, MONTHLY_SALES)
    def monthly_sales(values: dict[str, Any], snapshot: Snapshot) -> Query:
        asked = Grouping((), periods.MONTH, grouping.filters(values, across.KEYS), None, None)
        found = asked.query(across.smallest(asked, snapshot), means=(PANIER_MOYEN,), only=_COMPARED)
        conditions, more = periods.within(grouping.bounds(values), "a.debut_mois", len(found.parameters))
        compared = ", ".join(
            f"b.{name} AS {name}_an_passe, a.{name} - b.{name} AS {name}_ecart, "
            f"CASE WHEN b.{name} > 0 THEN 100 * (a.{name} - b.{name})::DOUBLE / b.{name}::DOUBLE END "
            f"AS {name}_ecart_pct"
            for name in _COMPARED
        )
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        return Query(
            _SQL.format(found=found.sql, compared=compared, where=where),
            "debut_mois",
            [*found.parameters, *more],
            about=found.about,
        )

    return blueprint
