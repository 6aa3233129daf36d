"""Of what revenue is made: by product line, and by customer segment."""

from typing import Any

import pyarrow as pa
from flask import Blueprint

from salesviews import views
from salesviews.views import Dimension
from web import grouping, periods
from web.endpoints import Column, Endpoint
from web.grouping import PANIER_MOYEN, Grouping
from web.routes import across
from web.rows import Query, Rows
from web.snapshot import Snapshot

_MEASURES = tuple(map(grouping.measure_column, across.MEASURES))
_SHARE = Column(
    "part_pct", pa.float64(), "share of the revenue of all rows; null where that is 0", "%", is_nullable=True
)


def _by(dimension: Dimension, path: str, what: str) -> Endpoint:
    return Endpoint(
        path,
        f"sales, revenue and average basket by {what}, with its share of the revenue; the largest first",
        parameters=grouping.filter_parameters(across.KEYS),
        columns=(grouping.key_column(dimension), *_MEASURES, PANIER_MOYEN.column, _SHARE),
        about=grouping.ABOUT,
        failures=grouping.NO_VIEW,
        doc="422 `no_view` if no view has the filters together with it.",
    )


CATEGORY_SALES = _by(views.CATEGORIE, "/api/category_sales", "product line")
SEGMENT_SALES = _by(views.SEGMENT, "/api/segment_sales", "customer segment")


def routes(rows: Rows) -> Blueprint:
    blueprint = Blueprint("shares", __name__)
    for dimension, endpoint in ((views.CATEGORIE, CATEGORY_SALES), (views.SEGMENT, SEGMENT_SALES)):
        rows.get(blueprint, endpoint)(_route(dimension))
    return blueprint


def _route(dimension: Dimension) -> Any:
    def route(values: dict[str, Any], snapshot: Snapshot) -> Query:
        filters = grouping.filters(values, across.KEYS)
        asked = Grouping((dimension.name,), periods.ALL, filters, *grouping.bounds(values))
        measures = {measure.name for measure in across.MEASURES}
        found = asked.query(across.smallest(asked, snapshot), means=(PANIER_MOYEN,), only=measures)
        total = "sum(revenue_total) OVER ()"
        share = f"CASE WHEN {total} > 0 THEN 100 * revenue_total::DOUBLE / ({total})::DOUBLE END"
        return Query(
            f"SELECT *, {share} AS {_SHARE.name} FROM ({found.sql})",
            f"revenue_total DESC, {dimension.name}",
            found.parameters,
            about=found.about,
        )

    return route
