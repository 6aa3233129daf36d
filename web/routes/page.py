"""The dashboard's page; all its figures come from the API."""

from flask import Blueprint, render_template


def routes() -> Blueprint:
    page = Blueprint("page", __name__)

    @page.get("/")
    def dashboard() -> str:
        return render_template("dashboard.html")

    return page
