"""One browser, one server and one lake for all tests of the page; each test has a window of its own.

A window notes what must never be: errors that the browser reports (refusals by the page's policy are some), and
requests to anybody but the server.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chromium
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request
from programs import PATIENCE_S
from served import Served, ServedKafka, ServedLake

PATIENCE_MS = 1000 * PATIENCE_S


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> ServedLake:
    """The lake, with its witness. A test may add sales, and never takes any away."""
    lake = ServedLake(tmp_path_factory.mktemp("served") / "lake")
    lake.fill()
    return lake


@pytest.fixture(scope="session")
def server(made: ServedLake) -> Iterator[Served]:
    with Served(made.lake, ServedKafka(made)) as served:
        yield served


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium.opened(chromium.find()) as browser:
        yield browser


@dataclass
class Window:
    """A page in the browser.

    :param errors: what the browser reported
    :param foreign: addresses of other hosts that were asked for
    """

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self, search: str = "") -> Page:
        """Go to an address of the page, and wait for its figures."""
        self.page.goto(self.url + search)
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until the figures are those of the filters that the address names."""
        self.page.wait_for_function(
            """() => {
                const { dataset, ariaBusy } = document.getElementById("figures");
                const given = new URLSearchParams(location.search);
                return ariaBusy === "false" && !("pending" in dataset)
                    && Object.entries(JSON.parse(dataset.state)).every(([name, value]) => given.get(name) === value);
            }"""
        )

    def wait_for_snapshot(self, number: int) -> None:
        self.page.wait_for_function(
            "number => Number(document.getElementById('figures').dataset.snapshot) === number", arg=number
        )

    def texts(self, selector: str) -> list[str]:
        """What one reads there, of what can be seen."""
        found = self.page.locator(selector)
        return [" ".join(text.split()) for text in found.all_inner_texts()]

    def text(self, selector: str) -> str:
        (text,) = self.texts(selector)
        return text


@pytest.fixture
def open_window(browser: Browser, server: Served) -> Iterator[Callable[..., Window]]:
    """``open_window(color_scheme="dark")``: options of Playwright's ``new_context``."""
    windows: list[Window] = []

    def make(url: str | None = None, **options: Any) -> Window:
        context = browser.new_context(
            **{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options
        )
        context.set_default_timeout(PATIENCE_MS)
        window = Window(context.new_page(), url or server.url)

        def note(message: ConsoleMessage) -> None:
            # That no view can answer a question is an answer, which the browser takes for an error.
            if message.type in ("error", "warning") and "status of 422" not in message.text:
                window.errors.append(message.text)

        def check(request: Request) -> None:
            if not request.url.startswith((window.url, "data:", "blob:")):
                window.foreign.append(request.url)

        window.page.on("console", note)
        window.page.on("pageerror", lambda error: window.errors.append(str(error)))
        window.page.on("request", check)
        windows.append(window)
        return window

    yield make
    for window in windows:
        window.page.context.close()
    assert [error for window in windows for error in window.errors] == []
    assert [address for window in windows for address in window.foreign] == []


@pytest.fixture
def window(open_window: Callable[..., Window]) -> Window:
    return open_window()


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that looks for faults that keep people out."""
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
