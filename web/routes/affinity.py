"""Which products are bought together: by the same customer on the same day."""

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from flask import Blueprint

from salesviews import views
from salesviews.errors import ParameterError
from salesviews.lineage import behind
from salesviews.lineage.queries import Queries
from web import grouping, parameters, reading
from web.endpoints import Column, Endpoint
from web.grouping import FROM, LIMIT, OFFSET, TO
from web.parameters import Parameter
from web.reading import LakeReader
from web.rows import Page, Query, Rows
from web.snapshot import Snapshot

DEFAULT = timedelta(days=30)
LONGEST = timedelta(days=92)
_FILTERS = (views.CATEGORIE, views.PAYS, views.SEGMENT)

_COLUMNS = (
    Column("produit_nom", pa.string(), "product"),
    Column("produit_associe", pa.string(), "a product that is bought with it"),
    Column("paniers", pa.int64(), "baskets that have both", "count"),
    Column("paniers_produit", pa.int64(), "baskets that have the first", "count"),
    Column("paniers_associe", pa.int64(), "baskets that have the second", "count"),
    Column("support", pa.float64(), "share of all baskets that have both", "share"),
    Column("confiance", pa.float64(), "share of the first one's baskets that have the second too", "share"),
    Column("lift", pa.float64(), "confidence over the second one's share of all baskets: above 1, together", "ratio"),
)

AFFINITY = Endpoint(
    "/api/affinity",
    "products bought by the same customer on the same day: support, confidence, lift",
    parameters=(
        Parameter(
            views.PRODUIT.name, parameters.text, "only pairs whose first product it is; repeatable", is_repeatable=True
        ),
        *map(grouping.key_parameter, _FILTERS),
        FROM,
        TO,
        Parameter("least", parameters.whole_number(1, 10**9), "how many baskets a pair must have", default=2),
        grouping.order_parameter(_COLUMNS),
        LIMIT,
        OFFSET,
    ),
    columns=_COLUMNS,
    about=reading.ABOUT,
    doc=(
        "A basket is all that a customer bought on a day (UTC) that the filters leave. Each pair is there twice, once "
        f"from either side. Default: the {DEFAULT.days} days that end with the latest sale; at most {LONGEST.days}. It "
        "is counted from single sales, within limits of time and memory: 503 `too_much` where they do not suffice."
    ),
)


def routes(rows: Rows, reader: LakeReader) -> Blueprint:
    blueprint = Blueprint("affinity", __name__)

    @rows.get(blueprint, AFFINITY)
    def affinity(values: dict[str, Any], snapshot: Snapshot) -> Query:
        start, end = _period(values, snapshot)
        filters = grouping.filters(values, _FILTERS)
        products, least = values[views.PRODUIT.name], values["least"]
        return Query(
            "FROM paires",
            grouping.order_sql(values["order"] or ("-paniers",), _COLUMNS, ("produit_nom", "produit_associe")),
            page=Page(values["limit"], values["offset"]),
            tables={
                "paires": reader.table(
                    snapshot.manifest, lambda queries: _pairs(queries, filters, products, least, start, end)
                )
            },
            depends_on=(filters, products, least, start, end),
        )

    return blueprint


def _pairs(
    queries: Queries,
    filters: dict[str, tuple[Any, ...]],
    products: tuple[str, ...],
    least: int,
    start: datetime,
    end: datetime,
) -> pa.Table:
    expressions = {key.name: key.sql for key in _FILTERS}
    conditions = [f"{expressions[name]} IN ${place + 3}" for place, name in enumerate(filters)]
    return queries.table(
        f"""
        WITH paniers AS MATERIALIZED (
            SELECT DISTINCT client_id, timestamp::DATE AS jour, {views.PRODUIT.sql} AS produit
            FROM ({behind.counted_sql(queries, (start, end))}) WHERE {behind.all_of(conditions)}
        ),
        nombres AS (SELECT produit, count(*) AS nombre FROM paniers GROUP BY produit),
        paires AS (
            SELECT a.produit AS produit_nom, b.produit AS produit_associe, count(*) AS paniers
            FROM paniers AS a JOIN paniers AS b ON a.client_id = b.client_id AND a.jour = b.jour
                AND a.produit <> b.produit
            WHERE len($2) = 0 OR a.produit IN $2 GROUP BY ALL HAVING count(*) >= $1
        )
        SELECT produit_nom, produit_associe, paniers, a.nombre AS paniers_produit, b.nombre AS paniers_associe,
               paniers / tous AS support, paniers / a.nombre AS confiance,
               (paniers * tous) / (a.nombre * b.nombre) AS lift
        FROM paires JOIN nombres AS a ON a.produit = produit_nom JOIN nombres AS b ON b.produit = produit_associe
        CROSS JOIN (SELECT count(*) AS tous FROM (SELECT DISTINCT client_id, jour FROM paniers))
        """,
        [least, list(products), *filters.values()],
    )


def _period(values: dict[str, Any], snapshot: Snapshot) -> tuple[datetime, datetime]:
    start, end = reading.period(values, snapshot, lambda end: end - DEFAULT, views.DAY)
    if end - start > LONGEST:
        raise ParameterError(
            FROM.name,
            f"From {start:%Y-%m-%d} to {end:%Y-%m-%d} is more than the {LONGEST.days} days of which pairs are counted: "
            "give a later from, or an earlier to.",
        )
    return start, end
