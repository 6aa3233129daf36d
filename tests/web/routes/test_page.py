import gzip
import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from salesviews import event
from web.routes import across

BY_OTHERS = "vendor"
"""The folder of packages that are served as they were published."""


@pytest.fixture
def static(app: Flask) -> Path:
    return Path(str(app.static_folder))


def own_files(static: Path) -> list[Path]:
    return [file for file in static.iterdir() if file.name != BY_OTHERS]


def test_all_that_the_page_loads_is_here(client: FlaskClient, static: Path) -> None:
    """Page, styles and scripts name no other host, and every file that they name is served."""
    page = client.get("/")
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    pages = page.text + client.get("/api/docs").text
    named = {name for name in re.findall(r'(?:src|href)="(/[^"]*)"', pages) if name.startswith("/static/")}
    for script in static.glob("*.js"):
        named |= {f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', script.read_text())}
    served = {f"/static/{file.relative_to(static)}" for file in static.rglob("*") if file.is_file()}
    assert {file for file in served if not file.endswith(".LICENSE")} == named
    for address in named:
        assert client.get(address).status_code == 200, address
    for text in [page.text, *(file.read_text() for file in own_files(static))]:
        assert set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"]*", text)) <= {"http://www.w3.org/2000/svg"}


def test_packages_of_others_say_their_version_and_licence(static: Path) -> None:
    for script in (static / BY_OTHERS).glob("*.js"):
        name = script.name.partition(".")[0]
        assert re.match(rf"/\*! \S+/{name} \(v\d+\.\d+\.\d+\) \*/", script.read_text()), script
        assert (static / BY_OTHERS / f"{name}.LICENSE").read_text().startswith("The MIT License")


@pytest.mark.parametrize("name", ["dashboard.js", "dashboard.css", "vendor/uPlot.iife.min.js"])
def test_files_are_compressed_and_kept_by_browsers(client: FlaskClient, static: Path, name: str) -> None:
    """Law: the same bytes once they are unpacked; unchanged they are a 304, compressed or not."""
    plain = client.get(f"/static/{name}")
    packed = client.get(f"/static/{name}", headers={"Accept-Encoding": "gzip"})
    assert plain.data == gzip.decompress(packed.data) == (static / name).read_bytes()
    assert len(packed.data) == int(packed.headers["Content-Length"]) < 0.6 * len(plain.data)
    for response in (plain, packed):
        again = client.get(
            f"/static/{name}", headers={"If-None-Match": response.headers["ETag"], "Accept-Encoding": "gzip"}
        )
        assert (again.status_code, again.data) == (304, b"")


def test_no_script_in_the_page_itself(client: FlaskClient) -> None:
    """Scripts and styles come from files, as the policy of the page demands: nothing inline would run."""
    page = client.get("/").text
    assert re.findall(r"<script[^>]*>([^<]+)</script>|<style|\son\w+=|\sstyle=", page) == []


def test_values_go_into_the_page_as_text(static: Path) -> None:
    """No script makes markup of a value: a product name with markup in it is shown, and does nothing."""
    for script in static.glob("*.js"):
        text = script.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), (
            script
        )


def test_every_text_is_there_in_both_languages(client: FlaskClient, static: Path) -> None:
    """Law: a key that the page or a script uses is in the catalogue; and a key of it is used, with two texts."""
    catalogue = (static / "texts.js").read_text()
    entries = dict(re.findall(r"^  (\w+): (\[.*\]),$", catalogue, re.MULTILINE))
    assert all(re.fullmatch(r'\["(?:[^"\\]|\\.)+", "(?:[^"\\]|\\.)+"\]', texts) for texts in entries.values())
    used = set(re.findall(r'data-(?:text|label)="(\w+)"', client.get("/").text))
    scripts = "".join(file.read_text() for file in static.glob("*.js") if file.name != "texts.js")
    used |= {*re.findall(r'\bt\("(\w+)"', scripts), "signOut"}
    assert used <= set(entries)
    by_value = {event.PERDU, event.DOUBLON, event.VALIDE, *event.REJECTIONS, "en_attente"}
    assert {key for key in entries if not re.search(rf"\b{key}\b", scripts) and key not in used} <= {
        *by_value,
        *(f"all_{dimension.name}" for dimension in across.KEYS),
    }
