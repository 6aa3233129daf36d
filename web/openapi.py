"""The OpenAPI 3.1 document of the API, derived from its declared endpoints (``web.endpoints``)."""

from collections.abc import Iterable
from typing import Any

import salesviews
from web import formats, schemas
from web.endpoints import Endpoint
from web.parameters import Parameter
from web.questions import AS_OF

_ERRORS = {
    400: "a parameter is unknown, or its value cannot be used: the answer names it, and what is allowed",
    404: "there never was such a snapshot, or it has no such figures",
    406: "none of the formats that the client accepts is offered: the answer names those that are",
    410: "the snapshot that `as_of` names is not kept any more: the answer names the nearest that is",
    503: "there is nothing to serve for the moment, or the question takes too long: ask again",
}

_SNAPSHOT_HEADERS = {
    "ETag": ("of the figures: send it as If-None-Match, and an unchanged answer is a 304", schemas.TEXT),
    "Snapshot-Id": ("the snapshot that the figures are from", schemas.TEXT),
    "Snapshot-Created-At": ("when the processors wrote it", schemas.INSTANT),
    "Snapshot-Age-Ms": ("since then, now; also in a 304", schemas.TEXT),
    "Snapshot-Caught-Up": ("whether it has every message that Kafka has now", schemas.TEXT),
    "Snapshot-Positions": ("the next position of each source partition: topic id/partition=offset", schemas.TEXT),
}


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "salesviews",
            "version": salesviews.__version__,
            "description": (
                "Figures of sales, exact and always current. All figures of an answer are from one snapshot, which the "
                "answer names; `as_of` asks for an earlier one. Amounts are exact: JSON numbers with two decimals."
            ),
        },
        "paths": {
            each.path: {"get": _operation(each)} for each in sorted(endpoints, key=lambda endpoint: endpoint.path)
        },
        "components": {
            "schemas": {"Snapshot": schemas.SNAPSHOT, "Error": schemas.ERROR, "Page": schemas.PAGE},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    taken = (*endpoint.parameters, *([AS_OF] if endpoint.has_as_of else []))
    return {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        **({"description": endpoint.doc} if endpoint.doc else {}),
        "parameters": [_parameter(each) for each in taken],
        "responses": _responses(endpoint),
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = dict(parameter.read.schema)
    if parameter.is_repeatable:
        schema = {"type": "array", "items": schema}
    elif parameter.default is not None:
        schema["default"] = parameter.default
    described = {
        "name": parameter.name,
        "in": "query",
        "required": parameter.is_required,
        "description": parameter.doc,
        "schema": schema,
    }
    if parameter.is_repeatable:
        described |= {"style": "form", "explode": True}
    if parameter.example is not None:
        described["example"] = [parameter.example] if parameter.is_repeatable else parameter.example
    return described


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    codes = {*endpoint.failures, 400}
    if endpoint.has_as_of:
        codes |= {404, 410, 503}
    success: dict[str, Any] = {"description": endpoint.summary, "content": _content(endpoint)}
    responses = {"200": success}
    if endpoint.columns:
        codes.add(406)
        headers = {
            name: {"description": doc, "schema": dict(schema)} for name, (doc, schema) in _SNAPSHOT_HEADERS.items()
        }
        success["headers"] = headers
        responses["304"] = {"description": "nothing has changed since the answer with this ETag", "headers": headers}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for code in sorted(codes):
        responses[str(code)] = {"description": endpoint.failures.get(code) or _ERRORS[code], "content": error}
    return responses


def _content(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.media != formats.JSON.mimetype:
        return {endpoint.media: {"schema": dict(schemas.TEXT)}}
    if not endpoint.columns:
        return {endpoint.media: {"schema": _answer(dict(endpoint.schema or {}), is_nullable=True)}}
    data = schemas.listed(
        schemas.record(
            {column.name: schemas.of_column(column) for column in endpoint.columns},
            optional=() if endpoint.has_all_columns else tuple(column.name for column in endpoint.columns),
        )
    )
    content: dict[str, Any] = {formats.JSON.mimetype: {"schema": _answer(data, dict(endpoint.about))}}
    for each in formats.FORMATS[1:]:
        content[each.mimetype] = {"schema": {"type": "string", "description": f"the rows as {each.name}"}}
    return content


def _answer(data: schemas.Schema, about: schemas.Schema | None = None, is_nullable: bool = False) -> dict[str, Any]:
    """:param is_nullable: there may be no snapshot"""
    snapshot: dict[str, Any] = {"$ref": "#/components/schemas/Snapshot"}
    about = about or {}
    return schemas.record(
        {"data": data, "snapshot": schemas.nullable(snapshot) if is_nullable else snapshot, **about},
        optional=tuple(about),
    )
