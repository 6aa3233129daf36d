"""The materialized views: which there are, and the figures of each.

A view's rows may be grouped, as its measures add. Those of a roll-up may not: its figures are means and distinct counts
of a view's, and that view is asked for other groupings.
"""

from typing import Any

from flask import Blueprint, Response

from salesviews import lake, views
from salesviews.lineage import figures
from salesviews.views import RollUp, View
from web import endpoints, grouping, parameters, periods, schemas
from web.answers import Answers
from web.endpoints import Column, Endpoint
from web.grouping import LIMIT, OFFSET, Grouping
from web.parameters import Parameter
from web.questions import Questions
from web.rows import Page, Query, Rows
from web.snapshot import Snapshot

_COLUMN = schemas.record(
    {
        "name": schemas.TEXT,
        "type": schemas.TEXT | {"description": "in Arrow's words", "examples": ["decimal128(38, 2)"]},
        "unit": schemas.nullable(schemas.TEXT),
        "doc": schemas.TEXT,
    }
)
CATALOGUE = Endpoint(
    "/api/views",
    "the views and roll-ups: what each holds, and what may be asked of it",
    schema=schemas.listed(
        schemas.record(
            {
                "name": schemas.TEXT,
                "path": schemas.TEXT | {"description": "where its rows are"},
                "kind": {"enum": ["view", "roll-up"]},
                "doc": schemas.TEXT,
                "source": schemas.TEXT | {"description": "what it counts; of a roll-up, its view"},
                "key": schemas.listed(_COLUMN),
                "window": schemas.nullable(
                    schemas.record(
                        {
                            "column": schemas.TEXT,
                            "granularity": schemas.TEXT,
                            "duration_s": schemas.nullable(schemas.WHOLE, "null: by the calendar"),
                        }
                    ),
                    "null: its figures are not by window",
                ),
                "measures": schemas.listed(_COLUMN),
                "columns": schemas.listed(schemas.TEXT) | {"description": "of its rows, in order"},
                "granularities": schemas.listed(schemas.TEXT) | {"description": "the periods it can be summed by"},
                "parameters": schemas.listed(schemas.TEXT),
                "rows": schemas.nullable(schemas.COUNT, "of its table in this snapshot; null: it has no such table"),
            }
        )
    ),
)

Declared = View | RollUp

ALL: tuple[Declared, ...] = (*views.VIEWS, *views.ROLL_UPS)


def of_view(view: View) -> Endpoint:
    """The endpoint of a view."""
    choices = periods.allowed(view.window)
    measures = tuple(map(grouping.measure_column, view.measures))
    columns = (
        *map(grouping.key_column, view.key),
        *(choice.column for choice in choices if choice.column is not None),
        *measures,
    )
    return Endpoint(
        f"{CATALOGUE.path}/{view.name}",
        view.doc,
        parameters=grouping.grouping_parameters(
            view.key, choices, periods.of_window(view.window), "all of them", columns
        ),
        columns=columns,
        has_all_columns=False,
        about=grouping.ABOUT,
        doc=(
            "Columns: those of group_by, the start of the period, the measures. A measure that cannot be summed over "
            "the grouping that is asked for is left out, and `omitted` says why."
        ),
        is_personal=view.is_personal,
    )


def of_roll_up(roll_up: RollUp) -> Endpoint:
    """The endpoint of a roll-up."""
    columns = _roll_up_columns(roll_up)
    return Endpoint(
        f"{CATALOGUE.path}/{roll_up.name}",
        roll_up.doc,
        parameters=(*_roll_up_filters(roll_up), grouping.order_parameter(columns), LIMIT, OFFSET),
        columns=columns,
        about=grouping.ABOUT,
        doc=f"Its figures do not add: for other groupings, ask {CATALOGUE.path}/{roll_up.view.name}.",
    )


def _roll_up_columns(roll_up: RollUp) -> tuple[Column, ...]:
    docs = {key.name: key.doc for key in roll_up.view.key} | {"annee": "year (UTC)", "mois": "month of the year (UTC)"}
    return (
        *(Column(name, roll_up.schema.field(name).type, docs[name]) for name in roll_up.group),
        *(
            Column(figure.name, figure.arrow, figure.doc, grouping.AMOUNT if figure.is_money else None)
            for figure in roll_up.columns
        ),
    )


def _roll_up_filters(roll_up: RollUp) -> tuple[Parameter, ...]:
    whole = {"annee": parameters.whole_number(1, 9999), "mois": parameters.whole_number(1, 12)}
    return tuple(
        Parameter(
            column.name,
            whole.get(column.name, parameters.text),
            f"{column.doc}, exactly; repeatable",
            is_repeatable=True,
        )
        for column in _roll_up_columns(roll_up)
        if column.name in roll_up.group
    )


def routes(questions: Questions, answers: Answers, rows: Rows) -> Blueprint:
    blueprint = Blueprint("views", __name__)

    @endpoints.get(blueprint, CATALOGUE)
    def catalogue() -> Response:
        with questions.read(()) as (_, snapshot):
            counts = snapshot.row_counts()
        data = [_described(each, counts.get(_table(each).name)) for each in ALL]
        return answers.of_value(data, snapshot.manifest, snapshot.as_of)

    for view in views.VIEWS:
        rows.get(blueprint, of_view(view))(_view_route(view))
    for roll_up in views.ROLL_UPS:
        rows.get(blueprint, of_roll_up(roll_up))(_roll_up_route(roll_up))

    return blueprint


def _view_route(view: View) -> Any:
    def route(values: dict[str, Any], _snapshot: Snapshot) -> Query:
        asked = Grouping.of(values, view.key, view.key_names)
        return asked.query(view, values["order"] or (), Page(values["limit"], values["offset"]))

    return route


def _roll_up_route(roll_up: RollUp) -> Any:
    columns = _roll_up_columns(roll_up)

    def route(values: dict[str, Any], _snapshot: Snapshot) -> Query:
        filters = {name: values[name] for name in roll_up.group if values[name]}
        where = " AND ".join(f'"{name}" IN ${place + 1}' for place, name in enumerate(filters))
        return Query(
            f'SELECT {", ".join(column.name for column in columns)} FROM "{roll_up.name}"'
            f"{f' WHERE {where}' if where else ''}",
            order=grouping.order_sql(values["order"] or (), columns, roll_up.group),
            parameters=list(filters.values()),
            page=Page(values["limit"], values["offset"]),
            about={"view": roll_up.name},
        )

    return route


def _table(declared: Declared) -> lake.Table:
    return lake.of_view(declared) if isinstance(declared, View) else lake.of_roll_up(declared)


def _described(declared: Declared, row_count: int | None) -> dict[str, Any]:
    view = declared if isinstance(declared, View) else declared.view
    table = figures.FigureTable(declared)
    endpoint = of_view(declared) if isinstance(declared, View) else of_roll_up(declared)
    by_name = {column.name: column for column in endpoint.columns}
    is_view = isinstance(declared, View)
    return {
        "name": declared.name,
        "path": endpoint.path,
        "kind": "view" if is_view else "roll-up",
        "doc": declared.doc,
        "source": str(view.source) if is_view else view.name,
        "key": [_column(by_name[field.name]) for field in table.key],
        "window": None
        if table.window is None
        else {
            "column": table.window.column,
            "granularity": periods.of_window(table.window).name,
            "duration_s": None if table.window == views.MONTH else int(table.window.duration.total_seconds()),
        },
        "measures": [_column(by_name[name]) for name in table.columns],
        "columns": [name for name in declared.schema.names if name in by_name],
        "granularities": [each.name for each in periods.allowed(view.window)] if is_view else [],
        "parameters": [parameter.name for parameter in endpoint.parameters],
        "rows": row_count,
    }


def _column(column: Column) -> dict[str, Any]:
    return {"name": column.name, "type": str(column.arrow), "unit": column.unit, "doc": column.doc}
