"""The dashboard's page; all its figures come from the API."""

from pathlib import Path

from flask import Blueprint, render_template

from web.access import Access

_STATIC = Path(__file__).parent.parent / "static"


def routes(access: Access) -> Blueprint:
    page = Blueprint("page", __name__)
    # The browser asks for all of them at once, and does not find out one after the other which it needs.
    modules = sorted(file.name for file in _STATIC.glob("*.js"))

    @page.get("/")
    def dashboard() -> str:
        return render_template("dashboard.html", modules=modules, has_session=access.has_session())

    return page
