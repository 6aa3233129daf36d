"""The API described: the OpenAPI document for programs, and the same for people."""

from typing import Any

from flask import Blueprint, Response, current_app, render_template

from web import endpoints, openapi
from web.answers import json_response
from web.endpoints import Endpoint

DOCUMENT = Endpoint(
    "/api/openapi.json",
    "this description, as an OpenAPI 3.1 document",
    media="application/vnd.oai.openapi+json",
    has_as_of=False,
)
PAGE = Endpoint("/api/docs", "this description, to be read", media="text/html", has_as_of=False)


def routes() -> Blueprint:
    documentation = Blueprint("documentation", __name__)

    @endpoints.get(documentation, DOCUMENT)
    def document() -> Response:
        answer = json_response(_document())
        answer.mimetype = DOCUMENT.media
        return answer

    @endpoints.get(documentation, PAGE)
    def page() -> Response:
        return Response(render_template("api.html", document=_document()), mimetype=PAGE.media)

    return documentation


def _document() -> dict[str, Any]:
    return openapi.document(endpoints.of(current_app).values())
