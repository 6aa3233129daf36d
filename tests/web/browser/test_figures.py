"""What the page says, against the witness: every tile, under several filters."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from oracle import Row, quotient
from served import NOW, ServedLake

DAY = timedelta(days=1)
NONE = "\N{EN DASH}"
MIDNIGHT = NOW.replace(hour=0, minute=0)
SEEN = NOW.replace(minute=0) + timedelta(hours=1)
"""The end of the latest hour with sales."""


@dataclass(frozen=True)
class Case:
    """An address, and the period that it means, with the one before it as far as it is comparable."""

    search: str
    start: datetime
    end: datetime
    start_before: datetime
    end_before: datetime
    filters: dict[str, str]

    def sales(self, clean: list[Row], start: datetime, end: datetime) -> list[Row]:
        return [
            row
            for row in clean
            if start <= row["timestamp"] < end
            and all((row[name] or "inconnu") == value for name, value in self.filters.items())
        ]


def day(year: int, month: int, number: int = 1) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)


CASES = {
    "the latest day": Case("", MIDNIGHT, MIDNIGHT + DAY, MIDNIGHT - DAY, SEEN - DAY, {}),
    "a month": Case("?period=2025-11", day(2025, 11), day(2025, 12), day(2025, 10), day(2025, 11), {}),
    "a month that is not over": Case(
        "?period=2025-12", day(2025, 12), day(2026, 1), day(2025, 11), SEEN - timedelta(days=30), {}
    ),
    "a country": Case(
        "?period=7d&pays=France",
        MIDNIGHT - 6 * DAY,
        MIDNIGHT + DAY,
        MIDNIGHT - 13 * DAY,
        SEEN - 7 * DAY,
        {"pays": "France"},
    ),
    "a product": Case(
        "?period=2025-12-01..2025-12-10&produit_nom=%3Cb%3ESac%3C%2Fb%3E+%26+%27cie%27",
        day(2025, 12, 1),
        day(2025, 12, 11),
        day(2025, 11, 21),
        day(2025, 12, 1),
        {"produit_nom": "<b>Sac</b> & 'cie'"},
    ),
    "a segment of a country": Case(
        "?period=2025-11&segment=Pro&pays=UK",
        day(2025, 11),
        day(2025, 12),
        day(2025, 10),
        day(2025, 11),
        {"segment": "Pro", "pays": "UK"},
    ),
}


def cents(amount: Decimal) -> str:
    return f"€{amount:,.2f}"


def whole(amount: Decimal) -> str:
    return f"€{amount.quantize(Decimal(1), ROUND_HALF_UP):,}"


def plain(count: int) -> str:
    return f"{count:,}"


def headline(amount: Decimal) -> str:
    return cents(amount) if amount < 100_000 else whole(amount)


def compared(now: Decimal | int, before: Decimal | int | None, show: Callable[[Any], str]) -> str:
    if not before:
        return "nothing in the period before"
    change = _percent(now, before)
    return f"{change:+,}% against {show(before)}" if change else f"0.0% against {show(before)}"


def _percent(now: Decimal | int, before: Decimal | int) -> Decimal:
    return Decimal(100 * (float(now) - float(before)) / float(before)).quantize(Decimal("0.1"), ROUND_HALF_UP)


def figures(sales: list[Row]) -> tuple[Decimal, int, Decimal | None, int]:
    """Revenue, sales, average basket, customers."""
    revenue = sum((row["montant"] for row in sales), Decimal(0))
    basket = quotient(revenue, len(sales)) if sales else None
    return revenue, len(sales), basket, len({row["client_id"] for row in sales})


def bars(sales: list[Row], *keys: str) -> list[tuple[str, str]]:
    """Name and amount, the largest first."""
    sums: dict[tuple[str, ...], Decimal] = {}
    for row in sales:
        key = tuple(row[name] or "inconnu" for name in keys)
        sums[key] = sums.get(key, Decimal(0)) + row["montant"]
    ordered = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return [(key[0], whole(amount)) for key, amount in ordered]


def shown_bars(window: Any, tile: str) -> list[tuple[str, str]]:
    return list(zip(window.texts(f"#{tile} .name"), window.texts(f"#{tile} .amount"), strict=True))


def is_refused(window: Any, tile: str) -> bool:
    """Whether a tile says in words that it cannot answer, and shows no figure."""
    refused = window.page.locator(f"#{tile} .refusal").is_visible()
    assert refused != window.page.locator(f"#{tile} > .content").is_visible()
    return bool(refused)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_figure_is_the_witness_s(window: Any, made: ServedLake, case: Case) -> None:
    """Law: what a tile shows is what the sales within all filters give; what no view can tell is said in words."""
    window.open(case.search)
    clean = made.oracle.ventes_clean
    sales = case.sales(clean, case.start, case.end)
    now, before = figures(sales), figures(case.sales(clean, case.start_before, case.end_before))
    # Where no view has the filters by hour, a period that is not over is compared with the whole one before.
    by_day = bool({"produit_nom", "categorie", "segment"} & set(case.filters))

    shows = (headline, plain, headline, plain)
    for name, show, value, earlier in zip(("revenue", "sales", "basket", "customers"), shows, now, before, strict=True):
        assert window.text(f"#headline-{name} .figure") == (NONE if value is None else show(value)), name
        said = window.text(f"#headline-{name} .compared").removeprefix("▲ ").removeprefix("▼ ")
        assert said == compared(value or 0, earlier, show), name

    if is_refused(window, "products"):
        assert "segment" in case.filters
    else:
        assert shown_bars(window, "products") == bars(sales, "produit_nom", "categorie")[:10]
    for tile, key in (("countries", "pays"), ("categories", "categorie"), ("segments", "segment")):
        if is_refused(window, tile):
            assert {key, *case.filters} & {"segment"}
            assert {key, *case.filters} & {"categorie", "produit_nom"}
        else:
            assert shown_bars(window, tile) == bars(sales, key)[:8], tile

    window.page.locator("#course summary").click()
    rows = window.texts("#course-table tr")
    points = dict(_points(sales, by_hour=case.end - case.start <= 8 * DAY and not by_day))
    assert sum(Decimal(_amount(row)) for row in rows) == now[0]
    assert sorted(_amount(row) for row in rows if _amount(row) != "0.00") == sorted(points.values())

    if is_refused(window, "week"):
        assert by_day
    else:
        cells = window.page.locator("#week-table a[href]")
        spoken = cells.evaluate_all("cells => cells.map(cell => cell.ariaLabel)")
        said = {tuple(re.split(", |:00", text)[:2]): text.rpartition(" in all, ")[2] for text in spoken}
        assert said == {cell: cents(amount) for cell, amount in _week(sales).items()}

    if not is_refused(window, "months"):
        assert window.texts("#months-table tr") == _months(case, clean)

    is_by_month = not case.filters and case.start.day == 1 and case.end.day == 1
    assert is_refused(window, "customers") == is_refused(window, "returning") == (not is_by_month)
    if not is_refused(window, "customers"):
        best = sorted(_sums(sales, "client_id").items(), key=lambda item: (-item[1], item[0]))[:8]
        assert [row.split(" ")[:2] for row in window.texts("#customers-table tr")] == [
            [str(client), cents(amount)] for client, amount in best
        ]

    assert is_refused(window, "quality") == is_refused(window, "rejects") == bool(case.filters)
    if not is_refused(window, "quality"):
        arrived = [
            result for message, _, result in made.oracle.outcomes if case.start <= message.kafka_timestamp < case.end
        ]
        rejected = [result for result in arrived if result not in ("valide", "doublon")]
        assert window.text("#quality-valid") == f"{arrived.count('valide'):,}"
        assert window.text("#quality-duplicates") == f"{arrived.count('doublon'):,}"
        assert window.text("#quality-rejected") == f"{len(rejected):,}"
        assert sorted(map(int, window.texts("#quality-motifs dd"))) == sorted(
            rejected.count(motif) for motif in set(rejected)
        )
        assert window.text("#quality-sentence") == f"of {len(arrived):,} messages that arrived"


def _points(sales: list[Row], *, by_hour: bool) -> list[tuple[datetime, str]]:
    sums: dict[datetime, Decimal] = {}
    for row in sales:
        at = row["timestamp"].replace(minute=0, second=0, microsecond=0)
        start = at if by_hour else at.replace(hour=0)
        sums[start] = sums.get(start, Decimal(0)) + row["montant"]
    return [(start, f"{amount:.2f}") for start, amount in sorted(sums.items())]


def _amount(row: str) -> str:
    """The revenue of a row of the line's table, which comes before that of the period before."""
    amounts = [part.replace(",", "") for part in row.replace("€", " €").split() if part.startswith("€")]
    return amounts[0][1:]


def _week(sales: list[Row]) -> dict[tuple[str, str], Decimal]:
    sums: dict[tuple[str, str], Decimal] = {}
    for row in sales:
        key = (f"{row['timestamp']:%A}", f"{row['timestamp']:%H}")
        sums[key] = sums.get(key, Decimal(0)) + row["montant"]
    return sums


def _months(case: Case, clean: list[Row]) -> list[str]:
    """The last thirteen months, each with the one a year before where there were sales of anything by then."""
    sums = _sums(case.sales(clean, day(2000, 1), day(2100, 1)), "annee", "mois")
    first = min((row["annee"], row["mois"]) for row in clean)
    rows = []
    for back in range(13):
        year, month = divmod(NOW.year * 12 + NOW.month - 1 - back, 12)
        now, before = (sums.get((each, month + 1), Decimal(0)) for each in (year, year - 1))
        has_before = (year - 1, month + 1) >= first
        change = f"{_percent(now, before):+,}%" if has_before and before else NONE
        so_far = " so far" if back == 0 else ""
        rows.append(
            f"{day(year, month + 1):%B %Y}{so_far} {whole(now)} {whole(before) if has_before else NONE} {change}"
        )
    return rows


def _sums(sales: list[Row], *keys: str) -> dict[Any, Decimal]:
    sums: dict[Any, Decimal] = {}
    for row in sales:
        key = row[keys[0]] if len(keys) == 1 else tuple(row[name] for name in keys)
        sums[key] = sums.get(key, Decimal(0)) + row["montant"]
    return sums
