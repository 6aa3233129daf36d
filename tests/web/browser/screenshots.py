"""Takes pictures of the dashboard in its main states: ``make screenshots``. They are to be looked at."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chromium
from playwright.sync_api import Browser, Page
from served import Served, ServedKafka, ServedLake

from salesviews.errors import BrokerError
from salesviews.lake import Lake

WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
FIGURES = "#figures[aria-busy=false]"


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, chromium.opened(chromium.bring()) as browser:
        made = ServedLake(Path(home) / "lake")
        made.fill()
        kafka = ServedKafka(made)
        with Served(made.lake, kafka) as served:
            of_figures(browser, served, folder)
            of_lineage(browser, served, folder)
            of_trouble(browser, served, kafka, folder)
        empty = ServedLake(Path(home) / "empty")
        with Served(Lake(str(Path(home) / "none")), ServedKafka(empty)) as served:
            take(browser, served, folder / "empty.png", wait_for="[data-state=waiting]")


def of_figures(browser: Browser, served: Served, folder: Path) -> None:
    take(browser, served, folder / "light.png")
    take(browser, served, folder / "dark.png", color_scheme="dark")
    take(browser, served, folder / "month.png", "?period=2025-11")
    take(browser, served, folder / "filtered.png", "?period=30d&pays=France&segment=Pro")
    take(browser, served, folder / "no-view.png", "?produit_nom=Th%C3%A9+vert&segment=Pro")
    take(browser, served, folder / "nothing.png", "?produit_nom=Nothing")
    take(browser, served, folder / "french.png", "?period=7d", locale="fr-FR")
    take(browser, served, folder / "phone.png", viewport=PHONE)
    take(browser, served, folder / "phone-dark.png", "?period=12m", viewport=PHONE, color_scheme="dark")
    take(browser, served, folder / "print.png", "?period=12m", before=lambda page: page.emulate_media(media="print"))
    take(browser, served, folder / "reading.png", before=read_an_hour, is_whole=False)


def of_lineage(browser: Browser, served: Served, folder: Path) -> None:
    def follow(page: Page) -> None:
        page.locator("#headline-revenue a").click()
        page.locator("#trace[aria-busy=false] tbody a").first.wait_for()

    def follow_on(page: Page) -> None:
        follow(page)
        page.locator("#trace tbody a").nth(1).click()
        page.locator("#trace[aria-busy=false] .proof").first.wait_for()

    def to_message(page: Page) -> None:
        follow_on(page)
        page.locator("#trace tbody a").first.click()
        page.locator("#trace[aria-busy=false] .payload").wait_for()

    for name, steps in (("parts", follow), ("sales", follow_on), ("message", to_message)):
        take(browser, served, folder / f"lineage-{name}.png", before=steps, is_whole=False)
    take(browser, served, folder / "lineage-phone.png", before=follow_on, is_whole=False, viewport=PHONE)
    take(browser, served, folder / "lineage-dark.png", before=to_message, is_whole=False, color_scheme="dark")


def of_trouble(browser: Browser, served: Served, kafka: ServedKafka, folder: Path) -> None:
    def stop(page: Page) -> None:
        served.stop()
        page.locator("[data-state=unreachable]").first.wait_for()

    def delay(page: Page) -> None:
        page.route("**/api/**", lambda _: None)
        page.reload()
        page.wait_for_timeout(500)

    take(browser, served, folder / "loading.png", before=delay)
    kafka.error = BrokerError("Kafka does not answer at 127.0.0.1:9092.")
    take(browser, served, folder / "kafka-unreachable.png", wait_for="[data-state=unknown]", is_whole=False)
    kafka.error, kafka.waiting = None, 12_345
    # A backlog is one once it has waited for a while.
    take(browser, served, folder / "behind.png", wait_for="[data-state=behind], [data-state=stale]", is_whole=False)
    take(browser, served, folder / "error.png", before=stop, is_whole=False)


def read_an_hour(page: Page) -> None:
    page.locator("#course-chart").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")


def take(
    browser: Browser,
    served: Served,
    file: Path,
    search: str = "",
    before: Callable[[Page], None] | None = None,
    wait_for: str = FIGURES,
    is_whole: bool = True,
    **options: Any,
) -> None:
    """:param before: what to do on the page first"""
    context = browser.new_context(**{"locale": "en-GB", "viewport": WIDE} | options)
    page = context.new_page()
    page.goto(served.url + search)
    page.locator(wait_for).first.wait_for()
    if before is not None:
        before(page)
    page.wait_for_timeout(700)  # for transitions
    page.screenshot(path=file, full_page=is_whole)
    context.close()
    print(file, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
