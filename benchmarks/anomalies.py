"""How often `/api/anomalies` is wrong on generated sales, and what it finds.

    python benchmarks/anomalies.py [--weeks 40] [--runs 5] [--seed 1]

False alarms: hours that are called anomalies where there is none, of all hours that are judged. The sales are those of
the generator itself; and random numbers along its week's curve, with no more scatter than chance, with more (each hour
multiplied by a random factor of that standard deviation), and growing by 1 % a week. Detection: of the hours that were
multiplied by 0.2 and by 3, of which one a week is planted, those that are found.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from salesviews.simulation import market, world
from web.routes import anomalies

_FIRST = datetime(2025, 1, 6, tzinfo=UTC)
_WEEK_HOURS = 168
_MEANS = (2, 10, 50, 500, 5000)
"""Sales an hour, on average over the week."""
_GENERATED_MEANS = (10, 50, 200)

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Verdict:
    """Of each hour that was judged, whether it was called an anomaly."""

    hours: Counts
    is_anomaly: npt.NDArray[np.bool_]


def curve() -> npt.NDArray[np.float64]:
    """[hour of the week from Monday]: sales, with a mean of 1."""
    hours = world.world().density.reshape(_WEEK_HOURS, -1).sum(axis=1)
    shape: npt.NDArray[np.float64] = hours / hours.mean()
    return shape


def judged(counts: Counts) -> Verdict:
    """What the route's query says of hours."""
    hours = [_FIRST + timedelta(hours=hour) for hour in range(len(counts))]
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        table = pa.table({"heure": pa.array(hours, pa.timestamp("us", tz="UTC")), "ventes_count": counts})
        connection.register("hourly_sales", table)
        end = f"TIMESTAMPTZ '{hours[-1] + timedelta(hours=1)}'"
        start = f"TIMESTAMPTZ '{_FIRST}'"
        sql = anomalies.judged_sql("SELECT * FROM hourly_sales", start, start, end, shows_all=True)
        found = connection.sql(
            f"SELECT epoch(heure)::BIGINT AS heure, sens IS NOT NULL AS found FROM ({sql}) ORDER BY 1"
        )
        rows = found.fetchnumpy()
    number: Counts = (np.asarray(rows["heure"]) - int(_FIRST.timestamp())) // 3600
    return Verdict(number, np.asarray(rows["found"], dtype=np.bool_))


def generated(seed: int, mean: int, weeks: int) -> Counts:
    """Sales of the generator itself, by hour."""
    end = _FIRST + timedelta(weeks=weeks)
    counts: Counts = np.zeros(weeks * _WEEK_HOURS, np.int64)
    marker = b'"timestamp": "'
    for batch in market.messages(seed, mean * len(counts), _FIRST, end, 0, 1, 1):
        texts = [payload[(at := payload.index(marker) + len(marker)) : at + 13] for _, payload in batch if payload]
        hours = np.array(texts).astype("datetime64[h]") - np.datetime64(_FIRST.replace(tzinfo=None), "h")
        numbers = hours.astype(np.int64)
        np.add.at(counts, numbers[numbers >= 0], 1)  # late sales may be of the time before
    return counts


def rates(rng: np.random.Generator, mean: float, weeks: int, scatter: float, growth: float) -> npt.NDArray[np.float64]:
    """Expected sales of each hour."""
    hours = np.arange(weeks * _WEEK_HOURS)
    factor = rng.gamma(1 / scatter**2, scatter**2, len(hours)) if scatter else np.ones(len(hours))
    expected: npt.NDArray[np.float64] = mean * np.tile(curve(), weeks) * factor * (1 + growth) ** (hours / _WEEK_HOURS)
    return expected


def planted(rng: np.random.Generator, expected: npt.NDArray[np.float64], factor: float) -> Counts:
    """One hour a week, in place: of those in which there are not much fewer sales than on average."""
    busy = np.flatnonzero(curve() > 0.5)
    weeks = len(expected) // _WEEK_HOURS
    hours: Counts = rng.choice(busy, weeks) + np.arange(weeks) * _WEEK_HOURS
    expected[hours] *= factor
    return hours


def lines(weeks: int, runs: int, seed: int) -> Iterator[str]:
    yield f"seed {seed}, {runs} runs of {weeks} weeks"
    yield f"{'sales an hour':>14} {'scatter':>8} {'growth':>7} {'false alarms':>22} {'x0.2 found':>11} {'x3 found':>9}"
    for mean in _GENERATED_MEANS:
        verdict = judged(generated(seed, mean, weeks))
        alarms, hours = int(verdict.is_anomaly.sum()), len(verdict.hours)
        yield f"{mean:>14} {'the generator':>16} {f'{alarms} of {hours:,} ({alarms / hours:.3%})':>22}"
    rng = np.random.default_rng(seed)
    for scatter, growth in ((0.0, 0.0), (0.1, 0.0), (0.3, 0.0), (0.0, 0.01)):
        for mean in _MEANS:
            alarms = hours = 0
            found = {0.2: 0, 3.0: 0}
            there = dict(found)
            for _ in range(runs):
                verdict = judged(rng.poisson(rates(rng, mean, weeks, scatter, growth)))
                alarms += int(verdict.is_anomaly.sum())
                hours += len(verdict.hours)
                for factor in found:
                    expected = rates(rng, mean, weeks, scatter, growth)
                    at = planted(rng, expected, factor)
                    verdict = judged(rng.poisson(expected))
                    is_planted = np.isin(verdict.hours, at)
                    found[factor] += int(verdict.is_anomaly[is_planted].sum())
                    there[factor] += int(is_planted.sum())
            share = {factor: f"{found[factor] / there[factor]:.0%}" for factor in found}
            yield (
                f"{mean:>14} {scatter:>8.0%} {growth:>7.0%} {f'{alarms} of {hours:,} ({alarms / hours:.3%})':>22} "
                f"{share[0.2]:>11} {share[3.0]:>9}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=40)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for line in lines(arguments.weeks, arguments.runs, arguments.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
