"""Sales by any of their dimensions, without knowing the views: each question is answered by the smallest view that can.

What no view has together cannot be asked together: the answer is an error that says so, never a number without one of
the filters.
"""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from flask import Blueprint

from salesviews import lake, views
from salesviews.views import View
from web import grouping, parameters, periods
from web.endpoints import Column, Endpoint
from web.grouping import FROM, PANIER_MOYEN, TO, Grouping, NoViewError
from web.parameters import Parameter
from web.rows import Page, Query, Rows
from web.snapshot import Snapshot

VIEWS = tuple(view for view in views.VIEWS if view.source is views.Source.SALES and not view.is_personal)
"""Not those of single persons: figures of all are for everybody."""
KEYS = tuple(dict.fromkeys(key for view in VIEWS for key in view.key))
MEASURES = tuple(measure for measure in VIEWS[0].measures if all(measure in view.measures for view in VIEWS))
_KEY_NAMES = tuple(key.name for key in KEYS)
_COLUMNS = (
    *map(grouping.key_column, KEYS),
    *(each.column for each in periods.GRANULARITIES if each.column is not None),
    *map(grouping.measure_column, MEASURES),
    PANIER_MOYEN.column,
)

SALES = Endpoint(
    "/api/sales",
    "sales, revenue and average basket by any dimensions and period that some view has together",
    parameters=grouping.grouping_parameters(KEYS, periods.GRANULARITIES, periods.ALL, "none, that is totals", _COLUMNS),
    columns=_COLUMNS,
    has_all_columns=False,
    about=grouping.ABOUT,
    failures=grouping.NO_VIEW,
    doc=(
        "It is answered from the smallest view that has every column that is grouped or filtered by, and windows fine "
        "enough for the granularity, from and to; `view` in the answer names it. 422 `no_view` if there is none."
    ),
)
DIMENSIONS = Endpoint(
    "/api/keys",
    "the values of each dimension of sales, as for the choices of a filter",
    parameters=(
        Parameter("dimension", parameters.one_of(_KEY_NAMES), "only of this one; repeatable", is_repeatable=True),
    ),
    columns=(
        Column("dimension", pa.string(), "name of the key column"),
        Column("valeur", pa.string(), "a value of it"),
    ),
)


def routes(rows: Rows) -> Blueprint:
    across = Blueprint("across", __name__)

    @rows.get(across, SALES)
    def sales(values: dict[str, Any], snapshot: Snapshot) -> Query:
        asked = Grouping.of(values, KEYS, ())
        view = smallest(asked, snapshot)
        page = Page(values["limit"], values["offset"])
        return asked.query(view, values["order"] or (), page, (PANIER_MOYEN,), {measure.name for measure in MEASURES})

    @rows.get(across, DIMENSIONS)
    def dimensions(values: dict[str, Any], snapshot: Snapshot) -> Query:
        names = [name for name in _KEY_NAMES if name in (values["dimension"] or _KEY_NAMES)]
        holders = {name: _smallest([view for view in VIEWS if name in view.key_names], snapshot) for name in names}
        parts = [f"SELECT '{name}' AS dimension, {name} AS valeur FROM {view.name}" for name, view in holders.items()]
        return Query(f"SELECT DISTINCT dimension, valeur FROM ({' UNION ALL '.join(parts)})", "dimension, valeur")

    return across


def smallest(asked: Grouping, snapshot: Snapshot) -> View:
    """The view with the fewest rows of those that can answer.

    :raises NoViewError: if none can
    """
    able = [
        view
        for view in VIEWS
        if asked.needed <= set(view.key_names)
        and asked.granularity in periods.allowed(view.window)
        and asked.cut_by(view) is None
    ]
    if not able:
        raise NoViewError(_why_not(asked))
    return _smallest(able, snapshot)


def _smallest(able: Sequence[View], snapshot: Snapshot) -> View:
    """:param able: not empty"""
    counts = snapshot.row_counts()
    return min(able, key=lambda view: counts.get(lake.of_view(view).name, math.inf))


def _why_not(asked: Grouping) -> str:
    columns = ", ".join(name for name in _KEY_NAMES if name in asked.needed)
    holders = [view for view in VIEWS if asked.needed <= set(view.key_names)]
    cut = {name for view in holders if (name := asked.cut_by(view)) is not None}
    if not holders:
        what = f"No view has {columns} together"
    elif not any(asked.granularity in periods.allowed(view.window) for view in holders):
        what = f"No view has {columns} by {asked.granularity.name}"
    else:
        bounds = ", ".join(f"{name}={asked.bound(name)}" for name in (FROM.name, TO.name) if name in cut)
        what = f"No view{f' with {columns}' if columns else ''} has windows that {bounds} does not cut in two"
    offered = "; ".join(
        f"{', '.join(view.key_names) or 'no dimension'} by {periods.of_window(view.window).name} or longer"
        for view in VIEWS
    )
    return f"{what}. What can be combined: {offered}."
