"""Signing in with the token, and out again; without a script."""

from flask import Blueprint, redirect, render_template, request
from werkzeug.wrappers import Response

from web.access import Access, open_to_all

_HOME = "/"


def routes(access: Access) -> Blueprint:
    login = Blueprint("login", __name__)

    @login.get("/login")
    @open_to_all
    def ask() -> Response | str:
        if not access.needs_token or access.has_session():
            return redirect(_next(request.args.get("next")), 303)
        return _page("")

    @login.post("/login")
    @open_to_all
    def sign_in() -> Response | tuple[str, int] | tuple[str, int, dict[str, str]]:
        if not access.needs_token:
            return redirect(_HOME, 303)
        if wait_s := access.wait_s():
            return _page(f"Too many wrong tokens. Wait {wait_s} s."), 429, {"Retry-After": str(wait_s)}
        if not access.is_token(request.form.get("token", "")):
            return _page("This is not the token."), 401
        answer = redirect(_next(request.form.get("next")), 303)
        access.begin_session(answer)
        return answer

    @login.post("/logout")
    @open_to_all
    def sign_out() -> Response:
        answer = redirect("/login" if access.needs_token else _HOME, 303)
        access.end_session(answer)
        return answer

    return login


def _page(trouble: str) -> str:
    return render_template("login.html", trouble=trouble, next=_next(request.values.get("next")))


def _next(path: str | None) -> str:
    """Where to go from here: a path of this server, never another site."""
    # Browsers read a backslash as a slash, and drop tabs and line ends.
    if path is None or not path.startswith("/") or path.startswith("//"):
        return _HOME
    return path if path.isprintable() and "\\" not in path else _HOME
