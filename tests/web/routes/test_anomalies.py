"""Hours that leave their band, against the method written out in plain Python."""

import math
import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import answered
import numpy as np
import pytest

HOUR = timedelta(hours=1)
WEEK = 168
FIRST = datetime(2025, 9, 1, tzinfo=UTC)
HOURS = 16 * WEEK + 10
DROP, RISE, SILENCE = 14 * WEEK + 30, 15 * WEEK + 61, 15 * WEEK + 100
SEED = 3


def judged(counts: list[int], hour: int) -> dict[str, float] | None:
    """An hour's expected sales, band, and distance; None: there are too few weeks before."""

    def error(at: int) -> tuple[float, float, float] | None:
        before = [2 * math.sqrt(counts[at - week * WEEK] + 0.375) for week in range(1, 9) if at - week * WEEK >= 0]
        if not before:
            return None
        middle, doubt = statistics.median(before), math.sqrt(1 + math.pi / 2 / len(before))
        return (2 * math.sqrt(counts[at] + 0.375) - middle) / doubt, middle, doubt

    if hour < 4 * WEEK:
        return None
    r, middle, doubt = error(hour)
    errors = [found for at in range(hour - 4 * WEEK, hour) if (found := error(at)) is not None]
    scatter = statistics.median((each[0] ** 2 / 0.4549 - 1) / max((each[1] / 2) ** 2, 1) for each in errors)
    scale = math.sqrt(1 + max((middle / 2) ** 2, 1) * max(scatter, 0))
    width = 4 * scale * doubt
    return {
        "attendu": max((middle / 2) ** 2 - 0.375, 0),
        "bas": max((max(middle - width, 0) / 2) ** 2 - 0.375, 0),
        "haut": ((middle + width) / 2) ** 2 - 0.375,
        "ecart": r / scale,
    }


@pytest.fixture
def counts() -> list[int]:
    """Sales by hour: a week's curve, more scatter than chance, a drop, a threefold hour, and one without sales."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    hours = np.arange(HOURS)
    expected = 200 * (1 + 0.8 * np.sin(hours * 2 * math.pi / 24)) * rng.gamma(400, 1 / 400, HOURS)
    made = rng.poisson(expected)
    made[DROP], made[RISE], made[SILENCE] = made[DROP] // 5, made[RISE] * 3, 0
    return [int(count) for count in made]


@pytest.fixture
def served(silver: Any, store: Any, clock: Any, client: Any, counts: list[int]) -> Any:
    rows = [
        {"heure": FIRST + number * HOUR, "ventes_count": count, "revenue_total": count}
        for number, count in enumerate(counts)
        if count
    ]
    silver.put("hourly_sales", rows)
    # Of the views that can answer the smallest does: it must not be an empty one.
    silver.put("ventes_par_pays", [row | {"pays": "France"} for row in rows] + [rows[0] | {"pays": "UK"}])
    clock.now = FIRST + HOURS * HOUR + timedelta(minutes=5)
    silver.snapshot()
    store.refresh()
    return client


def test_every_hour_is_judged_as_the_method_says(served: Any, counts: list[int]) -> None:
    """Law: expected sales, band and distance are those of the method, hour by hour, from any first hour on."""
    shown = {}
    for query in (f"from={FIRST:%Y-%m-%d}", f"from={FIRST + 15 * WEEK * HOUR:%Y-%m-%d}"):
        rows = answered.rows(served.get(f"/api/anomalies?show=all&{query}"))
        for row in rows:
            hour = (datetime.fromisoformat(row["heure"]) - FIRST) // HOUR
            assert shown.setdefault(hour, row) == row
    assert sorted(shown) == list(range(4 * WEEK, HOURS))
    for hour in [*range(4 * WEEK, HOURS, 97), DROP, RISE, SILENCE]:
        expected = judged(counts, hour)
        assert expected is not None
        assert shown[hour]["ventes_count"] == str(counts[hour])
        for name, value in expected.items():
            assert float(shown[hour][name]) == pytest.approx(value, abs=1e-6), (hour, name)


def test_what_is_planted_is_found(served: Any) -> None:
    """Law: a fifth of the sales, the threefold and none at all are found, and little else."""
    rows = answered.rows(served.get(f"/api/anomalies?from={FIRST:%Y-%m-%d}"))
    found = {(datetime.fromisoformat(row["heure"]) - FIRST) // HOUR: row["sens"] for row in rows}
    planted = {DROP: "bas", RISE: "haut", SILENCE: "bas"}
    assert found.items() >= planted.items()
    assert len(found) <= len(planted) + 2
    everything = answered.rows(served.get(f"/api/anomalies?show=all&from={FIRST:%Y-%m-%d}"))
    assert rows == [row for row in everything if row["sens"]]


def test_the_default_is_a_week_and_hours_that_are_not_over_are_not_judged(served: Any) -> None:
    """Law: the seven days to the latest sale; the hour in which the snapshot was made is never there."""
    end = FIRST + HOURS * HOUR
    rows = answered.rows(served.get("/api/anomalies?show=all"))
    assert [row["heure"] for row in rows[:: len(rows) - 1]] == [
        f"{end - WEEK * HOUR:%Y-%m-%dT%H:%M:%SZ}",
        f"{end - HOUR:%Y-%m-%dT%H:%M:%SZ}",
    ]
    later = answered.rows(served.get(f"/api/anomalies?show=all&to={end + 5 * HOUR:%Y-%m-%dT%H:%M:%SZ}"))
    assert later[-1]["heure"] == f"{end - HOUR:%Y-%m-%dT%H:%M:%SZ}"
    assert served.get("/api/anomalies?from=2024-01-01&to=2025-12-01").status_code == 400


def test_a_country_alone(years_web: Any) -> None:
    """Law: filters are those of a view by hour; others are refused."""
    assert years_web.client.get("/api/anomalies?pays=France").json["view"] == "ventes_par_pays"
    assert years_web.client.get("/api/anomalies?segment=Pro").status_code == 422
