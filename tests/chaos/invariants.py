"""What holds of every answer of the API, at any time, and of all of them together.

- The figures of one snapshot agree: hourly sales, aggregated sales and top products have the same number of sales and
  the same revenue, quality counts as many valid messages, and received = valid + duplicates + rejected.
- A snapshot answers the same whenever it is asked for.
- Snapshots and positions never go back, nor do sales and revenue.
- An answer is 200, unless the web process was killed or stopped while it was asked.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import requests
from chaos.cluster import Cluster

INTERVAL_S = 0.15
TIMEOUT_S = 60.0
AGAIN_SHARE = 0.1
"""Of the questions, those about a snapshot that was seen before."""
_KNOWN_S = 1.0
"""After so long it is known whether something was done to the web process."""


@dataclass(eq=False)
class Figures:
    """What the answers that were read of a snapshot say.

    :param sales: number of sales, by endpoint
    :param revenue: likewise
    """

    positions: dict[str, int]
    sales: dict[str, int] = field(default_factory=dict)
    revenue: dict[str, Decimal] = field(default_factory=dict)


def _totals(count: str, amount: str) -> Callable[[Any], tuple[int, Decimal]]:
    return lambda rows: (sum(row[count] for row in rows), sum((row[amount] for row in rows), Decimal(0)))


def _all_hours() -> str:
    today = datetime.now(UTC)
    return f"?from={today - timedelta(days=30):%Y-%m-%d}&to={today + timedelta(days=2):%Y-%m-%d}"


ENDPOINTS: Mapping[str, tuple[Callable[[], str], Callable[[Any], tuple[int, Decimal]] | None]] = {
    "/api/hourly_sales": (_all_hours, _totals("ventes_count", "revenue_total")),
    "/api/aggregated_sales": (lambda: "?", _totals("nombre_ventes", "chiffre_affaires")),
    "/api/top_products": (lambda: "?limit=1000", _totals("ventes_count", "revenue_total")),
    "/api/quality": (lambda: "?", None),
}
"""Each with a query for all that it has, and how its rows are summed."""


class Watch:
    """Asks, all the time, and compares.

    :param seed: of what is asked
    """

    def __init__(self, cluster: Cluster, seed: int, askers: int = 2) -> None:
        self.violations: list[str] = []
        self.answers: Counter[str] = Counter()
        self.figures: dict[int, Figures] = {}
        self._cluster = cluster
        self._newest = (0, dict[str, int]())
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_on, args=(random.Random(f"{seed} {number}"),), name=f"asker-{number}")
            for number in range(askers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop asking; then what only shows over all snapshots is compared."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        known = [(number, each) for number, each in sorted(self.figures.items()) if each.sales and each.revenue]
        for (before, earlier), (after, later) in pairwise(known):
            for what in ("sales", "revenue"):
                if max(getattr(earlier, what).values()) > min(getattr(later, what).values()):
                    self._violated(f"{what} went back from snapshot {before} to {after}: {earlier}, {later}")

    @property
    def newest(self) -> int:
        """The newest snapshot that was served."""
        return self._newest[0]

    def is_known(self, number: int) -> bool:
        """Every endpoint has answered for this snapshot."""
        with self._lock:
            return number in self.figures and len(self.figures[number].sales) == len(ENDPOINTS)

    def totals(self, number: int) -> tuple[int, Decimal]:
        """Sales and revenue of a snapshot, as far as they were asked for."""
        with self._lock:
            figures = self.figures.get(number, Figures({}))
            return max(figures.sales.values(), default=0), max(figures.revenue.values(), default=Decimal(0))

    def _violated(self, what: str) -> None:
        self.violations.append(what)

    def _ask_on(self, rng: random.Random) -> None:
        session = requests.Session()
        while not self._ending.wait(INTERVAL_S):
            try:
                self._ask(session, rng)
            except Exception as error:  # it must not end this thread unseen
                self._violated(f"{type(error).__name__}: {error}")

    def _ask(self, session: requests.Session, rng: random.Random) -> None:
        path = rng.choice(list(ENDPOINTS))
        query = ENDPOINTS[path][0]()
        with self._lock:
            floor = self._newest
            seen = list(self.figures)
        is_again = bool(seen) and rng.random() < AGAIN_SHARE
        if is_again:
            query += f"&as_of={rng.choice(seen)}"
        asked_at = time.monotonic()
        try:
            answer = session.get(self._cluster.settings.url + path + query, timeout=TIMEOUT_S)
            trouble = "" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:500]}"
            is_excusable = answer.status_code >= 500
        except requests.RequestException as error:
            trouble, is_excusable = str(error), True
        if trouble:
            failed_at = time.monotonic()
            self._ending.wait(_KNOWN_S)
            if not is_excusable or not self._cluster.is_web_excused(asked_at, failed_at):
                self._violated(f"{path}{query}: {trouble}")
            self.answers["none, from a web process that was down"] += 1
            return
        self._cluster.note_answer(asked_at)
        body = json.loads(answer.content, parse_float=Decimal)
        with self._lock:
            self._compare(path, body, None if is_again else floor)
        self.answers[f"{path}{' of an earlier snapshot' if is_again else ''}"] += 1

    def _compare(self, path: str, body: Any, floor: tuple[int, dict[str, int]] | None) -> None:
        number = body["snapshot"]["id"]
        positions = {f"{at['topic_id']}/{at['partition']}": at["offset"] for at in body["snapshot"]["positions"]}
        if floor is not None:
            before, reached = floor
            if number < before or any(positions.get(place, 0) < offset for place, offset in reached.items()):
                self._violated(f"{path} went back from snapshot {before} ({reached}) to {number} ({positions})")
            if number > self._newest[0]:
                self._newest = number, positions
        figures = self.figures.setdefault(number, Figures(positions))
        if figures.positions != positions:
            self._violated(f"{path}: snapshot {number} is at {positions}, and was at {figures.positions}")
        totals = ENDPOINTS[path][1]
        if totals is None:
            self._compare_quality(body["data"], figures, number)
        else:
            figures.sales[path], figures.revenue[path] = totals(body["data"])
        if len({*figures.sales.values()}) > 1 or len({*figures.revenue.values()}) > 1:
            self._violated(f"the answers of snapshot {number} disagree: {figures}")

    def _compare_quality(self, quality: Any, figures: Figures, number: int) -> None:
        figures.sales["/api/quality"] = quality["valid"]
        parts = quality["valid"] + quality["duplicates"] + sum(quality["rejected"].values())
        if quality["received"] != parts or quality["received"] + quality["lost"] != sum(figures.positions.values()):
            self._violated(f"snapshot {number} at {figures.positions} does not add up: {quality}")
