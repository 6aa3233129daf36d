"""The addresses of the API, declared as values: what each takes, and what it gives.

A route reads its parameters from the declaration, and the OpenAPI document (``/api/openapi.json``) describes it. So
each endpoint is declared where its route is, and is known to the application once the route's blueprint is.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from flask import Blueprint, Flask, Response
from flask.blueprints import BlueprintSetupState

from web.parameters import Parameter

_EXTENSION = "salesviews.endpoints"
_PERSONAL = "salesviews.personal"


@dataclass(frozen=True)
class Column:
    """A column of rows.

    :param arrow: its type in Arrow and Parquet. In JSON and CSV an amount (a decimal with two places) is a number with
        two decimals, a date ``2025-12-22``, an instant ``2025-12-22T10:00:00Z``
    :param unit: of its numbers, where ``doc`` does not say it
    :param is_nullable: it may have no value
    :param example: a value, as JSON has it
    """

    name: str
    arrow: pa.DataType
    doc: str
    unit: str | None = None
    is_nullable: bool = False
    example: Any = None

    @property
    def field(self) -> pa.Field:
        noted = {"doc": self.doc} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, self.arrow, self.is_nullable, noted)


@dataclass(frozen=True)
class Endpoint:
    """An address, answered to GET.

    :param summary: what it answers, in a line
    :param columns: of its rows, all that a request may ask for, in order; () where it gives no rows
    :param has_all_columns: each row has all of them, whatever is asked
    :param schema: JSON Schema (``web.schemas``) of ``data``, where it gives no rows
    :param about: JSON Schemas of members that may be beside ``data`` and ``snapshot``
    :param doc: what one must know beyond the parameters
    :param has_as_of: ``as_of`` is taken, and the answer is of the snapshot that it names
    :param failures: statuses that it may answer beside the usual ones, with what they mean
    :param media: what it gives; of rows, the default
    :param is_personal: it shows single customers or raw payloads: who may ask is limited
    """

    path: str
    summary: str
    parameters: tuple[Parameter, ...] = ()
    columns: tuple[Column, ...] = ()
    has_all_columns: bool = True
    schema: Mapping[str, Any] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    doc: str = ""
    has_as_of: bool = True
    failures: Mapping[int, str] = field(default_factory=dict)
    media: str = "application/json"
    is_personal: bool = False

    @property
    def name(self) -> str:
        """``api_views_hourly_sales``"""
        return self.path.strip("/").replace("/", "_").replace(".", "_")


def get(blueprint: Blueprint, endpoint: Endpoint) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Decorates the function that answers an endpoint, and makes the endpoint known."""

    def declare(state: BlueprintSetupState) -> None:
        state.app.extensions.setdefault(_EXTENSION, {})[endpoint.path] = endpoint
        if endpoint.is_personal:
            state.app.extensions.setdefault(_PERSONAL, set()).add(f"{blueprint.name}.{endpoint.name}")

    def decorate(answer: Callable[..., Response]) -> Callable[..., Response]:
        blueprint.record(declare)
        blueprint.add_url_rule(endpoint.path, endpoint.name, answer)
        return answer

    return decorate


def personal(app: Flask) -> Collection[str]:
    """Flask's names of the endpoints that show single persons."""
    found: Collection[str] = app.extensions.get(_PERSONAL, ())
    return found


def of(app: Flask) -> dict[str, Endpoint]:
    """The endpoints of an application, by path."""
    return dict(app.extensions.get(_EXTENSION, {}))
