import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from salesviews.audit import audit_result
from web import create_app
from web.access import COOKIE, SESSION_S, Access, Shows, shown_by
from web.attempts import AT_ONCE, Attempts

TOKEN = "a-token-of-nobody-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LOOPBACK, OUTSIDE = "127.0.0.1", "0.0.0.0"

OPEN = {"/healthz", "/readyz", "/login", "/logout", "/static/<path:filename>"}
PERSONAL = {
    "/api/lineage",
    "/api/customers",
    "/api/customers/months",
    "/api/customers/sales",
    "/api/rejects",
    "/api/views/ventes_par_client",
}
PAGES = {"/", "/api/docs"}


@pytest.fixture
def time_s() -> list[float]:
    """Seconds that passed for those who try tokens, as the only item."""
    return [1000.0]


@pytest.fixture
def make_app(
    silver: Any, store: Any, past: Any, pipeline: Any, clock: Any, home: Any, feed: Any, time_s: list[float]
) -> Callable[..., Flask]:
    """``make_app(token, host)``: the application with a snapshot, as a server on that host makes it.

    Where it is not about them, wrong tokens cost no time: tests of all routes fail more often than a client may.
    """
    silver.snapshot()
    store.refresh()
    pipeline.look()

    def make(token: str = TOKEN, host: str = OUTSIDE, at_once: int = 10_000) -> Flask:
        access = Access(token, host, Attempts(lambda: time_s[0], at_once))
        return create_app(store, past, pipeline, clock, lambda: audit_result.last(home), silver.lake, feed, access)

    return make


@pytest.fixture
def guarded(make_app: Callable[..., Flask]) -> FlaskClient:
    """A client of a server on every address, with a token."""
    return make_app().test_client()


def requests_of(app: Flask) -> Iterator[tuple[str, str, str, Shows]]:
    """Every method of every route: the rule, an address of it, the method, and what it shows."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]*>", "dashboard.js", rule.rule)
        for method in sorted(rule.methods or ()):
            yield rule.rule, path, method, shown_by(app, rule.endpoint)


def sign_in(client: FlaskClient, **form: str) -> Any:
    return client.post("/login", data={"token": TOKEN} | form)


def test_what_each_route_shows_is_known(make_app: Callable[..., Flask]) -> None:
    """Law: open and personal are exactly the routes listed here; any other one shows data, also a new one."""
    shown = {rule: shows for rule, _, _, shows in requests_of(make_app())}
    assert {rule for rule, shows in shown.items() if shows is Shows.OPEN} == OPEN
    assert {rule for rule, shows in shown.items() if shows is Shows.PERSONAL} == PERSONAL
    assert set(shown.values()) == set(Shows)


def test_with_a_token_set_every_route_that_is_not_open_needs_it(make_app: Callable[..., Flask]) -> None:
    """Law: no method of such a route answers without it, or with another one; with it, each is reached."""
    app = make_app()
    for rule, path, method, shows in requests_of(app):
        for headers in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Cookie": f"{COOKIE}=x"}):
            client = app.test_client()
            answer = client.open(path, method=method, headers=headers)
            if shows is Shows.OPEN:
                assert answer.status_code < 400 or (rule, method) == ("/login", "POST")
            elif rule in PAGES and method in ("GET", "HEAD"):
                assert answer.status_code == 303
            else:
                assert answer.status_code == 401, (rule, method, headers)
        if shows is not Shows.OPEN:
            answer = app.test_client().open(path, method=method, headers=BEARER)
            assert answer.status_code not in (303, 401, 403), (rule, method)
    assert app.test_client().get("/nothing").status_code == 401
    assert app.test_client().get("/nothing", headers=BEARER).status_code == 404


@pytest.mark.parametrize(("host", "status"), [(LOOPBACK, 200), ("::1", 200), ("localhost", 200), (OUTSIDE, 403)])
def test_without_a_token_what_is_personal_is_shown_on_the_loopback_only(
    make_app: Callable[..., Flask], host: str, status: int
) -> None:
    """Law: elsewhere such a route is 403, and says what to do; figures are shown."""
    app = make_app("", host)
    for rule, path, _, _ in requests_of(app):
        if rule in PERSONAL:
            answer = app.test_client().get(path)
            assert (answer.status_code == 403) == (status == 403), rule
            if status == 403:
                assert answer.json["error"]["code"] == "token_not_set"
                assert "SALESVIEWS_WEB_TOKEN" in answer.json["error"]["message"]
    assert app.test_client().get("/api/top_products").status_code == 200
    assert app.test_client().get("/").status_code == 200


def test_a_program_is_told_how_and_a_person_is_led_to_the_login(guarded: FlaskClient) -> None:
    """401 in the one form of an error for the API; for the page a redirect that knows where to come back to."""
    answer = guarded.get("/api/top_products", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert answer.json["error"]["code"] == "token_needed"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    answer = guarded.get("/?pays=France&month=2025-12")
    assert (answer.status_code, answer.location) == (303, "/login?next=/%3Fpays%3DFrance%26month%3D2025-12")
    page = guarded.get(answer.location)
    assert page.status_code == 200
    assert 'name="next" value="/?pays=France&amp;month=2025-12"' in page.text
    assert "<script" not in page.text


def test_a_session_opens_what_the_token_opens(guarded: FlaskClient) -> None:
    """From signing in to signing out; the page then shows how to sign out."""
    answer = sign_in(guarded, next="/?pays=France")
    assert (answer.status_code, answer.location) == (303, "/?pays=France")
    assert guarded.get("/api/top_products").status_code == 200
    assert 'action="/logout"' in guarded.get("/").text
    assert guarded.get("/login").status_code == 303
    assert guarded.post("/logout").location == "/login"
    assert guarded.get("/api/top_products").status_code == 401


@pytest.mark.parametrize(("headers", "is_secure"), [({}, False), ({"X-Forwarded-Proto": "https"}, True)])
def test_the_cookie_is_out_of_reach(guarded: FlaskClient, headers: dict[str, str], is_secure: bool) -> None:
    """No script reads it, no other site sends it, it travels encrypted where anything does, and it is not the token."""
    cookie = guarded.post("/login", data={"token": TOKEN}, headers=headers).headers["Set-Cookie"]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", f"max-age={SESSION_S}"} <= attributes
    assert ("secure" in attributes) == is_secure
    assert TOKEN not in cookie
    assert not any(attribute.startswith("domain") for attribute in attributes)


def test_a_session_outlives_the_server_and_not_its_token(make_app: Callable[..., Flask]) -> None:
    """The key is derived from the token: nothing is kept, and another token ends every session."""
    client = make_app().test_client()
    sign_in(client)
    value = client.get_cookie(COOKIE).value  # type: ignore[union-attr]
    for app, status in ((make_app(), 200), (make_app(TOKEN + "2"), 401), (make_app(""), 200)):
        other = app.test_client()
        other.set_cookie(COOKIE, value)
        assert other.get("/api/top_products").status_code == status


def test_a_session_ends(guarded: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time the cookie says nothing any more; neither does one that was changed."""
    sign_in(guarded)
    value = guarded.get_cookie(COOKIE).value  # type: ignore[union-attr]
    monkeypatch.setattr("web.access.SESSION_S", -1)
    assert guarded.get("/api/top_products").status_code == 401
    monkeypatch.undo()
    for number, sign in enumerate(value):
        guarded.set_cookie(COOKIE, f"{value[:number]}{'A' if sign != 'A' else 'B'}{value[number + 1 :]}")
        # The last sign of base64 has bits that say nothing.
        assert guarded.get("/api/top_products").status_code == 401 or number == len(value) - 1


@pytest.mark.parametrize(
    "given", ["", "x", TOKEN[:-1], TOKEN + "\0", TOKEN.upper(), "é" * 20, "' OR 1=1 --", "\udcff", "x" * 60_000]
)
def test_another_token_is_refused(guarded: FlaskClient, given: str) -> None:
    """At the login as in the header, with no word of the right one."""
    answer = sign_in(guarded, token=given.encode("utf-8", "surrogateescape").decode("latin-1"))
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert TOKEN not in answer.text
    assert 'role="alert"' in answer.text
    for scheme in ("Bearer", "Basic", "Token"):
        credential = given.encode("ascii", "ignore").decode().replace("\0", "x")
        answer = guarded.get("/api/top_products", headers={"Authorization": f"{scheme} {credential}"})
        assert answer.status_code == 401
    assert guarded.get(f"/api/top_products?token={TOKEN}").status_code == 401


def test_tokens_are_tried_slowly(make_app: Callable[..., Flask], time_s: list[float]) -> None:
    """Law: after a few wrong tokens an address waits a second for each, even for the right one; others do not.

    A session is no attempt.
    """
    app = make_app(at_once=AT_ONCE)
    signed_in, client, elsewhere = (app.test_client() for _ in range(3))
    sign_in(signed_in)
    elsewhere.environ_base["REMOTE_ADDR"] = "192.0.2.7"
    for _ in range(AT_ONCE):
        assert sign_in(client, token="wrong").status_code == 401
    answer = sign_in(client)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    answer = client.get("/api/top_products", headers=BEARER)
    assert (answer.status_code, answer.json["error"]["code"]) == (429, "too_many_attempts")
    assert signed_in.get("/api/top_products").status_code == 200
    assert elsewhere.get("/api/top_products", headers=BEARER).status_code == 200
    time_s[0] += 1
    assert client.get("/api/top_products", headers=BEARER).status_code == 200


def test_addresses_that_tried_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of them is bounded, however many there are."""
    monkeypatch.setattr("web.attempts._ADDRESSES", 3)
    attempts = Attempts(lambda: 0.0)
    for number in range(10):
        for _ in range(AT_ONCE):
            attempts.fail(f"{number}")
    assert [number for number in range(10) if attempts.wait_s(f"{number}")] == [7, 8, 9]


@pytest.mark.parametrize(
    ("path", "led_to"),
    [
        ("/?a=1", "/?a=1"),
        ("//evil.example/", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ],
)
def test_the_login_leads_to_this_server_only(guarded: FlaskClient, path: str, led_to: str) -> None:
    """Law: no address of a login page leads to another site."""
    assert sign_in(guarded, next=path).location == led_to


def test_markup_in_an_address_is_text(guarded: FlaskClient) -> None:
    """What the address says is put into the page as text."""
    assert "<b>" not in guarded.get('/login?next=/"><b>').text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Origin": "http://localhost"}, 303),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 303),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_another_site_cannot_sign_in_or_out(
    guarded: FlaskClient, path: str, headers: dict[str, str], status: int
) -> None:
    """Law: what changes something is taken from pages of this server, and from programs."""
    assert guarded.post(path, data={"token": TOKEN}, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("given", "is_right"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("[::1]:8000", True),
        ("127.9.9.9", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:8000", False),
        ("localhost.evil.example", False),
        ("192.0.2.1", False),
        ("", False),
    ],
)
def test_on_the_loopback_a_foreign_name_is_refused(make_app: Callable[..., Flask], given: str, is_right: bool) -> None:
    """Law: a site whose name points at this machine reads nothing; with a token, or elsewhere, names are free."""
    for path in ("/", "/api/top_products", "/healthz", "/static/dashboard.js"):
        answer = make_app("", LOOPBACK).test_client().get(path, headers={"Host": given})
        assert (answer.status_code == 200) == is_right
    if given:
        assert make_app("", OUTSIDE).test_client().get("/", headers={"Host": given}).status_code == 200
        assert make_app(TOKEN, LOOPBACK).test_client().get("/healthz", headers={"Host": given}).status_code == 200


def test_no_answer_may_be_kept_by_others(make_app: Callable[..., Flask]) -> None:
    """Law: what needs the token is private, in every answer, and every answer has the headers of safety."""
    app = make_app()
    for rule, path, method, shows in requests_of(app):
        for headers in ({}, BEARER):
            answer = app.test_client().open(path, method=method, headers=headers)
            policy = answer.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in policy
            assert "form-action 'self'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            if shows is not Shows.OPEN:
                assert answer.cache_control.private, (rule, method)
                assert {"authorization", "cookie"} <= {name.lower() for name in answer.vary}


def test_the_token_is_in_no_message(
    make_app: Callable[..., Flask], store: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails, neither the log nor an answer shows it."""
    client = make_app().test_client()
    caplog.set_level(logging.DEBUG)
    texts = [sign_in(client).text, client.get("/").text, sign_in(client, token=TOKEN[1:]).text]

    def fail() -> None:
        raise RuntimeError("inside")

    monkeypatch.setattr(store, "read", fail)
    answer = client.get("/api/quality", headers=BEARER)
    assert answer.status_code == 500
    assert TOKEN not in "".join([*texts, answer.text, caplog.text])
    assert TOKEN[1:] not in "".join([*texts, caplog.text])
