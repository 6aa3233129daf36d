import logging
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/api/quality/", 404, "not_found"),
        ("GET", "/static/../app.py", 404, "not_found"),
        ("GET", "/static/%2e%2e/app.py", 404, "not_found"),
        ("POST", "/api/quality", 405, "method_not_allowed"),
        ("DELETE", "/", 405, "method_not_allowed"),
        ("GET", "/api/top_products?limit=0", 400, "bad_parameter"),
        ("GET", "/api/top_products", 503, "no_snapshot"),
    ],
)
def test_every_error_has_the_one_form(client: FlaskClient, method: str, path: str, status: int, code: str) -> None:
    """Whatever the path, a program finds status, code and message in the same place."""
    response = client.open(path, method=method)
    assert response.status_code == status
    assert response.mimetype == "application/json"
    assert set(response.json) == {"error"}
    error = response.json["error"]
    assert (error["status"], error["code"]) == (status, code)
    assert error["message"]
    assert set(error) - {"parameter"} == {"status", "code", "message"}


def test_a_method_that_is_not_taken_names_those_that_are(client: FlaskClient) -> None:
    """405 comes with Allow, as HTTP demands."""
    assert set(client.post("/api/quality").headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_an_unexpected_error_is_logged_and_not_shown(
    app: Flask, store: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns that it failed; the traceback is in the log, as an error."""

    def fail() -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(store, "read", fail)
    response = app.test_client().get("/api/quality")
    assert response.status_code == 500
    assert response.json["error"]["code"] == "internal_server_error"
    assert "secret" not in response.text
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "/api/quality" in record.getMessage()


@pytest.mark.parametrize("path", ["/", "/api/quality", "/nothing", "/healthz", "/static/dashboard.js"])
def test_every_answer_has_the_headers_of_safety(client: FlaskClient, path: str) -> None:
    """Nothing runs but this application's own files, and no other site frames or reads it."""
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_figures_are_not_kept_by_caches(client: FlaskClient) -> None:
    """An old figure is a wrong one; files of the page are kept, and asked for anew."""
    assert client.get("/api/quality").headers["Cache-Control"] == "no-store"
    static = client.get("/static/dashboard.js")
    assert static.headers["Cache-Control"] == "no-cache"
    again = client.get("/static/dashboard.js", headers={"If-None-Match": static.headers["ETag"]})
    assert again.status_code == 304
