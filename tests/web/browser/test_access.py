"""For everybody, everywhere: no faults that keep people out, keyboard, phones, the dark, paper, both languages."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

PHONE = {"width": 360, "height": 740}
STATES = {
    "light": ("", {}),
    "dark": ("?period=2025-11", {"color_scheme": "dark"}),
    "phone": ("?period=12m", {"viewport": PHONE}),
    "refused": ("?segment=Pro&categorie=Maison", {"color_scheme": "dark"}),
    "lineage": ("?trace=kind%3Dparts%26view%3Dhourly_sales", {}),
}


def faults(window: Any, axe: str) -> list[str]:
    """What axe-core finds that is serious or worse, with where."""
    # As a tool of the developer it is no script of the page, which its policy would have to allow.
    window.page.evaluate(axe)
    found = window.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
def test_no_fault_that_keeps_people_out(open_window: Callable[..., Any], axe: str, state: Any) -> None:
    """Law: in each state axe-core finds nothing serious; the dark is dark."""
    search, options = state
    window = open_window(**options)
    page = window.open(search)
    if "trace" in search:
        page.locator("#trace[aria-busy=false] tbody a").first.wait_for()
    assert faults(window, axe) == []
    grounds = page.evaluate(
        "[document.documentElement, document.querySelector('.panel')]"
        ".map(each => getComputedStyle(each).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))"
    )
    is_dark = options.get("color_scheme") == "dark"
    assert all(max(colour) < 60 if is_dark else min(colour) > 230 for colour in grounds)


@pytest.mark.parametrize("search", ["?period=12m", "?segment=Pro&categorie=Maison"])
def test_on_a_phone_nothing_goes_sideways(open_window: Callable[..., Any], search: str) -> None:
    window = open_window(viewport=PHONE, has_touch=True, is_mobile=True, locale="fr-FR")
    page = window.open(search)

    def width() -> int:
        return int(page.evaluate("Math.max(document.documentElement.scrollWidth, innerWidth)"))

    assert width() == PHONE["width"]
    if "segment" in search:
        return
    page.locator("#countries .amount").first.click()
    page.locator("#trace[aria-busy=false] tbody a").first.click()
    page.locator("#trace[aria-busy=false] .proof").first.wait_for()
    assert width() == PHONE["width"]
    assert page.locator("#trace").bounding_box() == {"x": 0, "y": 0, **PHONE}
    hidden = page.locator("#trace-content").evaluate("each => each.scrollWidth - each.clientWidth")
    assert hidden == 0


def test_with_the_keyboard_alone(window: Any) -> None:
    """Law: each filter, figure and step can be reached and used without a pointer, and focus is never lost."""
    page = window.open()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "figures"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#trace[aria-busy=false]").wait_for()
    assert page.evaluate("document.activeElement.id") == "trace-title"
    page.keyboard.press("Escape")
    expect(page.locator("#trace")).to_be_hidden()
    assert page.evaluate("document.activeElement.closest('.tile').id") == "headline-revenue"
    # The line: each point is read aloud.
    page.locator("#course-chart").focus()
    page.keyboard.press("End")
    expect(page.locator("#course-reading")).to_contain_text("Mon 22 Dec, 15:00, so far")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#course-reading")).to_contain_text("Mon 22 Dec, 14:00:")
    # The week is one stop, and arrows go through its cells.
    page.locator("#week-table [tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.cell") == "2-1"
    assert page.locator("#week-table [tabindex='0']").count() == 1


def test_on_paper(window: Any) -> None:
    """The figures and what they are of; nothing to click, no masthead over them."""
    page = window.open("?period=2025-11")
    page.emulate_media(media="print")
    assert page.locator("#headline-revenue .figure").is_visible()
    assert page.locator("#showing").is_visible()
    for selector in (".filters .field", "#filter-clear", "#print", "#language", "details"):
        assert not page.locator(selector).first.is_visible(), selector
    assert page.evaluate("getComputedStyle(document.querySelector('.masthead')).position") == "static"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_in_french(open_window: Callable[..., Any]) -> None:
    window = open_window(locale="fr-FR")
    page = window.open("?period=2025-11")
    assert page.evaluate("document.documentElement.lang") == "fr"
    assert window.text("#headline-revenue h2") == "Chiffre d\N{RIGHT SINGLE QUOTATION MARK}affaires"
    assert window.text("#headline-revenue .figure").replace("\N{NARROW NO-BREAK SPACE}", " ").endswith(" €")
    assert window.text("#showing") == "novembre 2025, par rapport à octobre 2025"
    # Another language is chosen for good in this browser.
    with page.expect_navigation():
        page.get_by_label("Langue").select_option("en")
    window.settle()
    assert window.text("#headline-revenue h2") == "Revenue"
    page.reload()
    window.settle()
    assert page.evaluate("document.documentElement.lang") == "en"


def test_the_first_paint_is_small(window: Any, request: pytest.FixtureRequest) -> None:
    """README says how many bytes the page takes before its figures are asked for: page, styles, scripts."""
    page = window.open()
    sizes = page.evaluate(
        """[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
            .filter(each => !each.name.includes("/api/") && !each.name.endsWith("/icon.svg"))
            .map(each => [each.name, each.encodedBodySize])"""
    )
    files = dict(map(tuple, sizes))
    readme = (request.config.rootpath / "README.md").read_text()
    kilobytes, count = map(int, re.findall(r"(\d+) kB in (\d+) files", readme)[0])
    assert len(files) == count
    assert sum(files.values()) == pytest.approx(1000 * kilobytes, rel=0.05)
