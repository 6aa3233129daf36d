"""Products by rank, period after period, and how each moved."""

from typing import Any

import pyarrow as pa
from flask import Blueprint

from salesviews import money, views
from web import grouping, parameters, periods
from web.endpoints import Column, Endpoint
from web.grouping import AMOUNT, Grouping
from web.parameters import Parameter
from web.routes import across
from web.rows import Query, Rows
from web.snapshot import Snapshot

_PERIODS = (periods.WEEK, periods.MONTH)
_MEASURES = ("revenue_total", "ventes_count", "quantite_totale")
_STEPS = {periods.WEEK.name: "INTERVAL 7 DAY", periods.MONTH.name: "INTERVAL 1 MONTH"}

RANKINGS = Endpoint(
    "/api/rankings",
    "the rank of each product, week by week or month by month, and its move since the period before",
    parameters=(
        grouping.granularity_parameter(_PERIODS, periods.MONTH),
        Parameter("by", parameters.one_of(_MEASURES), "what products are ranked by", default=_MEASURES[0]),
        Parameter("limit", parameters.whole_number(1, 1000), "how many ranks of each period", default=10),
        *grouping.filter_parameters(across.KEYS),
    ),
    columns=(
        Column("debut_periode", pa.date32(), "first day of the week (Monday) or month (UTC)"),
        Column("rang", pa.int64(), "1 is the most; null: no sale in this period", None, is_nullable=True),
        grouping.key_column(views.PRODUIT),
        grouping.key_column(views.CATEGORIE),
        Column("ventes_count", pa.int64(), "sales", "count"),
        Column("revenue_total", money.SUM_ARROW, "sum of montant", AMOUNT),
        Column("quantite_totale", pa.decimal128(38, 0), "sum of quantite", "quantity"),
        Column("rang_precedent", pa.int64(), "rank in the period before; null: no sale in it", None, is_nullable=True),
        Column(
            "mouvement", pa.int64(), "ranks gained since then; null where one of them is", "count", is_nullable=True
        ),
        Column(
            "statut",
            pa.string(),
            "nouveau: no sale in the period before; sorti: none in this one; hausse, baisse, stable; null in the first "
            "period that has sales",
            is_nullable=True,
        ),
    ),
    about=grouping.ABOUT,
    failures=grouping.NO_VIEW,
    doc=(
        "Rows are those whose rank, or for `sorti` whose rank in the period before, is within the limit. Equal "
        "products are ranked by name. The last period may not be over."
    ),
)

_SQL = """
    WITH sommes AS (SELECT * RENAME ("{period}" AS debut_periode) FROM ({found}) WHERE ventes_count > 0),
    rangs AS (
        SELECT *, row_number() OVER (PARTITION BY debut_periode ORDER BY "{by}" DESC, produit_nom, categorie) AS rang
        FROM sommes
    ),
    paires AS (
        SELECT a.debut_periode, a.produit_nom, a.categorie, a.ventes_count, a.revenue_total, a.quantite_totale, a.rang,
               b.rang AS rang_precedent
        FROM rangs AS a LEFT JOIN rangs AS b ON b.debut_periode = (a.debut_periode - {step})::DATE
            AND b.produit_nom = a.produit_nom AND b.categorie = a.categorie
        UNION ALL
        SELECT (b.debut_periode + {step})::DATE, b.produit_nom, b.categorie, 0, 0, 0, NULL, b.rang
        FROM rangs AS b ANTI JOIN rangs AS a ON b.debut_periode = (a.debut_periode - {step})::DATE
            AND b.produit_nom = a.produit_nom AND b.categorie = a.categorie
        WHERE b.debut_periode < (SELECT max(debut_periode) FROM sommes)
    )
    SELECT debut_periode, rang, produit_nom, categorie, ventes_count::BIGINT AS ventes_count,
           revenue_total::DECIMAL(38,2) AS revenue_total, quantite_totale::DECIMAL(38,0) AS quantite_totale,
           rang_precedent, rang_precedent - rang AS mouvement,
           CASE WHEN debut_periode = (SELECT min(debut_periode) FROM sommes) THEN NULL
                WHEN rang IS NULL THEN 'sorti' WHEN rang_precedent IS NULL THEN 'nouveau'
                WHEN rang < rang_precedent THEN 'hausse' WHEN rang > rang_precedent THEN 'baisse'
                ELSE 'stable' END AS statut
    FROM paires WHERE coalesce(rang, rang_precedent) <= ${limit} {where}
"""


def routes(rows: Rows) -> Blueprint:
    blueprint = Blueprint("rankings", __name__)

    @rows.get(blueprint, RANKINGS)
    def rankings(values: dict[str, Any], snapshot: Snapshot) -> Query:
        granularity = periods.BY_NAME[values["granularity"]]
        assert granularity.column is not None
        product = (views.PRODUIT.name, views.CATEGORIE.name)
        asked = Grouping(product, granularity, grouping.filters(values, across.KEYS), None, None)
        found = asked.query(across.smallest(asked, snapshot), only=_MEASURES)
        given = [*found.parameters, values["limit"]]
        conditions, more = periods.within(grouping.bounds(values), "debut_periode", len(given))
        sql = _SQL.format(
            found=found.sql,
            period=granularity.column.name,
            step=_STEPS[granularity.name],
            by=values["by"],
            limit=len(given),
            where=" ".join(f"AND {condition}" for condition in conditions),
        )
        order = "debut_periode, rang NULLS LAST, rang_precedent, produit_nom, categorie"
        return Query(sql, order, [*given, *more], about=found.about)

    return blueprint
