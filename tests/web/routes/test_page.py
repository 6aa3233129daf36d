import re
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient


def test_all_that_the_page_loads_is_here(client: FlaskClient, app: Flask) -> None:
    """Page, styles and scripts name no other host, and every file that they name is served."""
    page = client.get("/")
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    pages = page.text + client.get("/api/docs").text
    named = {name for name in re.findall(r'(?:src|href)="(/[^"]*)"', pages) if name.startswith("/static/")}
    static = Path(str(app.static_folder))
    for script in static.glob("*.js"):
        named |= {f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', script.read_text())}
    assert {f"/static/{file.name}" for file in static.iterdir()} == named
    for address in named:
        assert client.get(address).status_code == 200, address
    for text in [page.text, *(file.read_text() for file in static.iterdir())]:
        assert set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"]*", text)) <= {"http://www.w3.org/2000/svg"}


def test_no_script_in_the_page_itself(client: FlaskClient) -> None:
    """Scripts and styles come from files, as the policy of the page demands: nothing inline would run."""
    page = client.get("/").text
    assert re.findall(r"<script[^>]*>([^<]+)</script>|<style|\son\w+=|\sstyle=", page) == []


def test_values_go_into_the_page_as_text(app: Flask) -> None:
    """No script makes markup of a value: a product name with markup in it is shown, and does nothing."""
    for script in Path(str(app.static_folder)).glob("*.js"):
        text = script.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), (
            script
        )
