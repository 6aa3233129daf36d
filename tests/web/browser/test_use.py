"""The page in use: filters and the address, from a figure to its raw message, news while it is open."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from oracle import quotient
from playwright.sync_api import expect
from served import NOW, Served, ServedKafka, ServedLake

from salesviews.errors import BrokerError
from salesviews.lake import Lake

TRACE = "#trace[aria-busy=false]"


def test_filters_live_in_the_address(window: Any) -> None:
    """Law: what is chosen is in the address; a reload, Back and Forward show what the address says."""
    page = window.open()
    page.get_by_label("Country").select_option("=France")
    window.settle()
    page.get_by_label("Period").select_option("30d")
    window.settle()
    assert page.url == f"{window.url}?period=30d&pays=France"
    chosen = window.text("#headline-revenue .figure")
    page.reload()
    window.settle()
    assert window.text("#headline-revenue .figure") == chosen
    assert page.get_by_label("Country").input_value() == "=France"
    page.go_back()
    window.settle()
    assert page.url == f"{window.url}?pays=France"
    assert page.get_by_label("Period").input_value() == "today"
    page.go_forward()
    window.settle()
    assert window.text("#headline-revenue .figure") == chosen
    page.get_by_role("link", name="Clear filters").click()
    window.settle()
    assert page.url == window.url
    assert page.get_by_label("Country").input_value() == ""


def test_a_name_filters_and_a_month_is_picked(window: Any) -> None:
    page = window.open("?period=30d")
    page.locator("#countries .name", has_text="Espagne").click()
    window.settle()
    assert [text for text, *_ in [window.texts("#countries .name")]] == ["Espagne"]
    page.locator("#months-table a", has_text="November 2025").click()
    window.settle()
    assert page.url == f"{window.url}?period=2025-11&pays=Espagne"
    page.get_by_role("button", name="The month before").click()
    window.settle()
    assert "period=2025-10" in page.url
    assert window.text("#showing").startswith("October 2025, compared with September 2025")


def test_no_number_ignores_a_filter(window: Any) -> None:
    """Law: where no view has the filters together, tiles say so, and no figure of theirs is left on the page."""
    page = window.open("?segment=Pro&categorie=Maison&period=2025-11")
    sales = ("headline-revenue", "headline-sales", "headline-basket", "course", "products", "countries", "categories")
    tiles = (*sales, "segments", "months", "week", "customers", "returning", "quality", "rejects")
    for tile in tiles:
        assert page.locator(f"#{tile} .refusal").is_visible(), tile
        assert not page.locator(f"#{tile} .content").is_visible(), tile
        assert not re.search(r"\d", window.text(f"#{tile} .refusal")), tile
    assert window.text("#headline-revenue .refusal") == "No view keeps these figures by category and segment together."


def test_an_address_that_names_nothing_known(window: Any) -> None:
    """What no sale has is shown as chosen, with nothing in it; a period that is none is the default."""
    page = window.open("?pays=Atlantis&period=2025-13")
    assert page.get_by_label("Country").input_value() == "=Atlantis"
    assert page.get_by_label("Period").input_value() == "today"
    assert window.text("#headline-sales .figure") == "0"
    assert window.text("#countries .empty") == "No sales for these filters in this period."


def open_trace(window: Any, selector: str) -> None:
    window.page.locator(selector).first.click()
    window.page.locator(TRACE).wait_for()


def test_from_a_figure_to_the_raw_message(window: Any, made: ServedLake) -> None:
    """Law: from a figure one comes by clicks to the very bytes of a sale behind it, and back again."""
    page = window.open("?pays=France&period=7d")
    revenue = window.text("#headline-revenue .figure")
    open_trace(window, "#headline-revenue .figure")
    parts = window.texts(f"{TRACE} tbody tr")
    assert f"is the sum of {len(parts)} parts" in window.text("#trace-content")
    amounts = [part.rpartition("€")[2].replace(",", "") for part in parts]
    assert f"€{sum(map(Decimal, amounts)):,.2f}" == revenue
    open_trace(window, "#trace tbody a")
    page.locator(f"{TRACE} .proof.good").wait_for()
    assert "add up to exactly this figure" in window.text("#trace-content")
    sale = window.texts("#trace section:first-child tbody a")[0]
    open_trace(window, "#trace tbody a")
    page.locator(f"{TRACE} .payload").wait_for()
    (message,) = [
        message
        for message, outcome, result in made.oracle.outcomes
        if result == "valide" and outcome.fields["vente_id"] == int(sale)
    ]
    assert page.locator("#trace .payload").inner_text() == (message.payload or b"").decode()
    assert f"ventes (topic-1), {message.partition}, {message.offset}" in window.text("#trace-content")
    # The address says it all: it can be opened anew.
    page.reload()
    page.locator(f"{TRACE} .payload").wait_for()
    for _ in range(3):
        page.go_back()
    expect(page.locator("#trace")).to_be_hidden()
    assert page.url == f"{window.url}?pays=France&period=7d"


@pytest.mark.parametrize(
    "selector",
    ["#products .amount", "#segments .amount", "#week-table a[href]", "#months-table .figure"],
)
def test_every_figure_leads_to_sales_that_add_up(window: Any, selector: str) -> None:
    page = window.open("?period=7d")
    figure = page.locator(selector).first
    exact = figure.get_attribute("title")
    amount = re.findall(r"€([\d,.]+\d)", exact or "")[0]
    figure.click()
    page.locator(f"{TRACE} :is(.proof, tbody)").first.wait_for()
    if page.locator("#trace .proof").count():
        assert page.locator("#trace .proof.good").count() == 1
        assert f"€{amount}" in window.text("#trace .values")
    else:
        rows = window.texts("#trace tbody tr")
        total = sum(Decimal(row.rpartition("€")[2].replace(",", "")) for row in rows)
        assert f"{total:,.2f}" == amount


def test_a_figure_leads_to_the_sales_as_it_was_read(window: Any, made: ServedLake, server: Served) -> None:
    """Law: what is behind a figure adds up to what was read, though more sales have come since."""
    page = window.open()
    revenue, link = window.text("#headline-revenue .figure"), page.locator("#headline-revenue a").get_attribute("href")
    made.sell(20)
    window.wait_for_snapshot(server.manifest.id)
    assert window.text("#headline-revenue .figure") != revenue
    page.goto(window.url + str(link))
    page.locator(f"{TRACE} tbody tr").first.wait_for()
    amounts = [row.rpartition("€")[2].replace(",", "") for row in window.texts("#trace tbody tr")]
    assert f"€{sum(map(Decimal, amounts)):,.2f}" == revenue


def test_what_was_left_out_and_why(window: Any, made: ServedLake) -> None:
    """The messages that do not count lead to what was received, and duplicates to the one that counts instead."""
    page = window.open()
    shown = window.texts("#rejects-table tr a")
    rejected = [result for _, _, result in made.oracle.outcomes if result != "valide"]
    assert len(shown) == min(len(rejected), 8)
    assert page.locator("#rejects-table a", has_text="Duplicate").count() == rejected[-8:].count("doublon")
    place = shown.index("Duplicate") if "Duplicate" in shown else 0
    page.locator("#rejects-table a").nth(place).click()
    page.locator(f"{TRACE} .chapter").wait_for()
    assert shown[place] in window.text("#trace .chapter h3")
    # A figure names what was left out of it.
    page = window.open("?trace=kind%3Dparts%26view%3Dqualite%26motif%3Ddoublon")
    page.locator(f"{TRACE} tbody a").first.click()
    page.locator(f"{TRACE} .proof.good").wait_for()
    assert "Counted: " in window.text("#trace-content")


def test_all_rejections_of_a_period(window: Any) -> None:
    page = window.open("?period=2025-11")
    rejected = int(window.text("#quality-rejected"))
    open_trace(window, "#quality-rejected")
    page.locator(f"{TRACE} tbody tr").first.wait_for()
    assert sum(int(row.split()[-1]) for row in window.texts("#trace tbody tr")) == rejected
    assert not {"Valid", "Duplicate"} & set(window.texts("#trace td.text"))


def test_a_snapshot_that_is_not_there(window: Any) -> None:
    """Where the snapshot of an old address is gone, it says so, and offers the newest instead."""
    page = window.open("?trace=kind%3Dparts%26view%3Dhourly_sales%26as_of%3D99999")
    page.locator(f"{TRACE} .refusal").wait_for()
    page.get_by_role("link", name="Show it as it is now").click()
    page.locator(f"{TRACE} tbody tr").first.wait_for()
    assert "as_of" not in page.url
    # The browser takes the answer that there is none for an error.
    assert all("404" in error for error in window.errors)
    window.errors.clear()


def test_a_customer_leads_to_sales(window: Any, made: ServedLake) -> None:
    page = window.open("?period=2025-11")
    client = window.texts("#customers-table a")[0]
    open_trace(window, "#customers-table a")
    sales = [row for row in made.oracle.ventes_clean if row["client_id"] == int(client)]
    page.locator(f"{TRACE} tbody a").first.wait_for()
    latest = max(sales, key=lambda row: (row["timestamp"], -row["vente_id"]))
    assert len(window.texts("#trace tbody tr")) == min(len(sales), 200)
    # Numbers of sales are beyond what JavaScript holds exactly.
    assert window.texts("#trace tbody a")[0] == str(latest["vente_id"])
    open_trace(window, "#trace tbody a")
    page.locator(f"{TRACE} .payload").wait_for()
    assert json.loads(page.locator("#trace .payload").inner_text())["vente_id"] == latest["vente_id"]


def test_news_come_without_a_reload(window: Any, made: ServedLake, server: Served) -> None:
    """Law: a new snapshot is shown as it is served, and what somebody reads or has chosen stays where it is."""
    page = window.open()
    page.evaluate("window.isThisPage = true")
    page.locator("#course summary").click()
    page.locator("#filter-pays").focus()
    page.evaluate("window.firstBar = document.querySelector('#products li')")
    assert window.text("#pipeline-terms").count("live") == 1
    made.sell(40)
    window.wait_for_snapshot(server.manifest.id)
    today = [row for row in made.oracle.ventes_clean if row["timestamp"].date() == NOW.date()]
    revenue = sum(row["montant"] for row in today)
    assert window.text("#headline-revenue .figure") == f"€{revenue:,.2f}"
    assert window.text("#headline-basket .figure") == f"€{quotient(revenue, len(today)):,.2f}"
    assert page.evaluate("window.isThisPage && window.firstBar.isConnected")
    assert page.evaluate("document.activeElement.id") == "filter-pays"
    assert page.locator("#course-table").is_visible()


def test_a_server_that_is_started_again(open_window: Callable[..., Any], made: ServedLake) -> None:
    """Law: while the server is away the page says so and keeps what it shows; once it is back, so are the news."""
    with Served(made.lake, ServedKafka(made)) as server:
        window = open_window(server.url)
        page = window.open()
        revenue = window.text("#headline-revenue .figure")
        server.stop()
        expect(page.locator("#freshness-state")).to_have_text("Reconnecting")
        expect(page.locator("#notice")).to_contain_text("The server does not answer")
        assert window.text("#headline-revenue .figure") == revenue
        made.sell()
        server.start()
        expect(page.locator("#freshness-state")).to_have_text("Up to date")
        expect(page.locator("#notice")).to_be_hidden()
        window.wait_for_snapshot(server.manifest.id)
        assert window.text("#headline-revenue .figure") != revenue
        # It is told of news again, by events.
        expect(page.locator("#pipeline-terms")).to_contain_text("live")
        page.close()
        assert all("ERR_CONNECTION" in error or "ERR_INCOMPLETE" in error for error in window.errors)
        window.errors.clear()


def test_without_events_it_asks(open_window: Callable[..., Any], made: ServedLake) -> None:
    """Where events do not come through, as behind some proxies, the page asks every few seconds."""
    window = open_window()
    window.page.route("**/api/events", lambda route: route.fulfill(status=502, body="no"))
    page = window.open()
    expect(page.locator("#pipeline-terms")).to_contain_text("every 3")
    sales = window.text("#headline-sales .figure")
    made.sell(10)
    expect(page.locator("#headline-sales .figure")).not_to_have_text(sales)
    assert all("502" in error for error in window.errors)
    window.errors.clear()


def test_how_fresh_the_figures_are(window: Any, server: Served, made: ServedLake) -> None:
    """What Kafka says of the pipeline is in sight: up to date, behind, or unknown."""
    page = window.open()
    state = page.locator("#freshness-state")
    expect(state).to_have_text("Up to date")
    expect(page.locator("#freshness-age")).to_have_text(re.compile(r"^Snapshot \d+, .+ old$"))
    server.kafka.error = BrokerError("Kafka does not answer.")
    try:
        expect(state).to_have_text("Kafka not reachable")
        expect(page.locator("#notice")).to_contain_text("unknown whether newer sales are waiting")
    finally:
        server.kafka.error = None
    expect(state).to_have_text("Up to date")
    server.kafka.waiting = 1234
    try:
        # Sales on their way are no backlog; those that wait for longer are. What Kafka said may be from before a sale.
        expect(page.locator("#pipeline-terms")).to_contain_text("1,234 messages")
        expect(state).to_have_text("Up to date")
        server.ahead = timedelta(seconds=20)
        made.sell()
        expect(state).to_have_text(re.compile(r"^Catching up, 1,2\d\d messages behind$"))
        server.ahead = timedelta(minutes=2)
        made.sell()
        expect(state).to_have_text(re.compile(r"^Stale, 1,2\d\d messages behind$"))
    finally:
        server.kafka.waiting = 0
        server.ahead = timedelta(0)
    expect(state).to_have_text("Up to date")


def test_a_session_that_ends(open_window: Callable[..., Any], made: ServedLake) -> None:
    """Where a token is set: whoever signs in comes to the address that was asked for, and is told when it is over."""
    with Served(made.lake, ServedKafka(made), token="a token of the tests") as server:
        window = open_window(server.url)
        page = window.page
        address = f"{server.url}?period=7d&pays=France"
        for _ in range(2):
            page.goto(address)
            page.get_by_label("Access token").fill("a token of the tests")
            page.get_by_role("button", name="Sign in").click()
            window.settle()
            assert page.url == address
            page.context.clear_cookies()
            made.sell()
            expect(page.locator("#notice")).to_contain_text("Your session is over.")
            expect(page.get_by_role("link", name="Sign in")).to_have_attribute("href", re.compile("pays%3DFrance"))
        page.close()
        assert all("401" in error for error in window.errors)
        window.errors.clear()


def test_before_the_first_snapshot(open_window: Callable[..., Any], made: ServedLake, tmp_path: Any) -> None:
    with Served(Lake(str(tmp_path / "nothing")), ServedKafka(made)) as server:
        page = open_window(server.url).page
        page.goto(server.url)
        expect(page.locator("#freshness-state")).to_have_text("Waiting for a first snapshot")
        expect(page.locator("#notice")).to_contain_text("Figures appear here")
        page.close()
