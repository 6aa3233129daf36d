"""The dashboard's page; all its figures come from the API."""

from flask import Blueprint, render_template

from web.access import Access


def routes(access: Access) -> Blueprint:
    page = Blueprint("page", __name__)

    @page.get("/")
    def dashboard() -> str:
        return render_template("dashboard.html", has_session=access.has_session())

    return page
