"""Who may ask for what: rules of requests, applied to every route before it is reached.

What a route shows is declared: with ``open_to_all``, or with ``Endpoint.is_personal`` where it shows single customers,
single sales, or messages as they were received. A route that declares nothing shows data:

| shows      | without a token set                        | with SALESVIEWS_WEB_TOKEN                  |
|------------|--------------------------------------------|--------------------------------------------|
| `open`     | everybody                                  | everybody                                  |
| `data`     | everybody who reaches the server           | `Authorization: Bearer`, or a session      |
| `personal` | on the loopback only; elsewhere it is 403  | `Authorization: Bearer`, or a session      |

A session is a signed cookie, with a key that is derived from the token: the server keeps nothing, sessions outlive it,
and another token ends them all. Signing out deletes the cookie.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Callable
from enum import StrEnum
from math import ceil
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from flask import Flask, Response, current_app, redirect, request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.wrappers import Response as AnyResponse

from web import endpoints, errors
from web.attempts import Attempts

COOKIE = "salesviews_session"
SESSION_S = 12 * 3600
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

Route = TypeVar("Route", bound=Callable[..., Any])


class Shows(StrEnum):
    """What a route shows."""

    OPEN = "open"
    DATA = "data"
    PERSONAL = "personal"


def open_to_all(route: Route) -> Route:
    """Declare that a route shows nothing that needs a token."""
    route.shows = Shows.OPEN  # type: ignore[attr-defined]
    return route


def shown_by(app: Flask, endpoint: str | None) -> Shows:
    """What an endpoint shows. Of an address that is none, nothing is said without a token."""
    if endpoint in endpoints.personal(app):
        return Shows.PERSONAL
    return getattr(app.view_functions.get(endpoint or ""), "shows", Shows.DATA)


class Access:
    """The rules of one server.

    :param token: '' where none is set
    :param host: on which the server listens
    """

    def __init__(self, token: str, host: str, attempts: Attempts | None = None) -> None:
        self.is_on_loopback = _is_loopback(host)
        self.needs_token = bool(token)
        self._attempts = attempts or Attempts()
        self._digest = _digest(token)
        self._sessions = _sessions(token) if token else None

    def guard(self, app: Flask) -> None:
        """Apply the rules to every request of an application."""

        @app.before_request
        def check() -> AnyResponse | None:
            return self._refusal(shown_by(app, request.endpoint))

        @app.after_request
        def keep_private(response: Response) -> Response:
            if self.needs_token and shown_by(app, request.endpoint) is not Shows.OPEN:
                response.cache_control.public = False
                response.cache_control.private = True
                response.vary.update(("Authorization", "Cookie"))
            return response

    def has_session(self) -> bool:
        """Whether this request comes with a session."""
        if self._sessions is None:
            return False
        try:
            self._sessions.loads(request.cookies.get(COOKIE, ""), max_age=SESSION_S)
        except BadSignature:
            return False
        return True

    def wait_s(self) -> int:
        """For how many seconds no attempt of this client is looked at; 0 where it is."""
        return ceil(self._attempts.wait_s(_client()))

    def is_token(self, given: str) -> bool:
        """Whether it is the token; one that is not counts as an attempt of this client."""
        # Digests are equally long: the time that it takes says nothing of the token, not even its length.
        if self.needs_token and hmac.compare_digest(_digest(given), self._digest):
            return True
        self._attempts.fail(_client())
        return False

    def begin_session(self, response: AnyResponse) -> None:
        """Only where a token is set: there is nothing to sign in to without one."""
        assert self._sessions is not None
        is_https = request.is_secure or request.headers.get("X-Forwarded-Proto") == "https"
        response.set_cookie(
            COOKIE, self._sessions.dumps(1), max_age=SESSION_S, httponly=True, samesite="Strict", secure=is_https
        )

    def end_session(self, response: AnyResponse) -> None:
        response.delete_cookie(COOKIE, httponly=True, samesite="Strict")

    def _refusal(self, shows: Shows) -> AnyResponse | None:
        """Why a request is not answered; None where it is."""
        if not self._is_host_right():
            return errors.response(
                400,
                "other_host",
                f"This server listens on this machine only, and {request.host!r} is no name of it. "
                "Set SALESVIEWS_WEB_TOKEN if it is reached by that name through a proxy.",
            )
        if request.method not in _SAFE_METHODS and not _is_from_here():
            return errors.response(403, "other_origin", "This request comes from a page of another site.")
        if shows is Shows.OPEN:
            return None
        if self.needs_token:
            return self._refusal_without_token()
        if shows is Shows.PERSONAL and not self.is_on_loopback:
            return errors.response(
                403,
                "token_not_set",
                "This shows single customers or sales, and whoever reaches this server could see it: set "
                "SALESVIEWS_WEB_TOKEN and start it again, or listen on the loopback only (SALESVIEWS_HOST=127.0.0.1).",
            )
        return None

    def _refusal_without_token(self) -> AnyResponse | None:
        if request.authorization is None:
            return None if self.has_session() else _ask_for_token()
        if wait_s := self.wait_s():
            answer = errors.response(429, "too_many_attempts", f"Too many wrong tokens. Wait {wait_s} s.")
            answer.headers["Retry-After"] = str(wait_s)
            return answer
        is_bearer = request.authorization.type == "bearer"
        return None if is_bearer and self.is_token(request.authorization.token or "") else _ask_for_token()

    def _is_host_right(self) -> bool:
        """A name that another site's owner has pointed at this machine (DNS rebinding) is no name of it.

        With a token it does not matter: the session is of another name, and the site does not know the token.
        """
        if self.needs_token or not self.is_on_loopback:
            return True
        return _is_loopback(urlsplit(f"//{request.host}").hostname or "")


def _ask_for_token() -> AnyResponse:
    """The login page where a person looks at a page, 401 for programs."""
    if _is_page() and request.method in ("GET", "HEAD"):
        return redirect(f"/login?next={quote(request.full_path.rstrip('?'), safe='/')}", 303)
    answer = errors.response(
        401, "token_needed", "This needs the token: send it as `Authorization: Bearer …`, or sign in at /login."
    )
    answer.headers["WWW-Authenticate"] = 'Bearer realm="salesviews"'
    return answer


def _is_page() -> bool:
    """Whether a person looks at it: a page, or a mistyped address of one."""
    if (endpoint := endpoints.of(current_app).get(request.path)) is not None:
        return endpoint.media == "text/html"
    is_asked_for = "text/html" in request.headers.get("Accept", "")
    return request.blueprint == "page" or (is_asked_for and not request.path.startswith("/api/"))


def _is_from_here() -> bool:
    """Whether a request that changes something comes from a page of this server, or from no page at all."""
    if (site := request.headers.get("Sec-Fetch-Site")) is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _client() -> str:
    return request.remote_addr or ""


def _sessions(token: str) -> URLSafeTimedSerializer:
    # Slow on purpose: who has a cookie could try tokens against it, anywhere.
    key = hashlib.scrypt(token.encode(), salt=b"salesviews session", n=2**14, r=8, p=1)
    return URLSafeTimedSerializer(key, salt="session", signer_kwargs={"digest_method": hashlib.sha256})


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
