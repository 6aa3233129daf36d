"""What it costs to remember ids and first clients: CPU time a sale and memory, in files and in memory alone.

    python benchmarks/sorted_runs.py [--ids 30000000] [--clients 10000000] [--sales 2000000]

Each line is a process of its own, which fills an index in takes of 100,000, as a backlog does, and then judges more
takes. The last two columns compare it with the same in memory alone. "Anonymous" is memory that the machine cannot take
back; mapped files come on top, as far as nobody else needs the space. Then: what a start costs, with the pages of the
files in memory and without, and how long it takes to make lost files again from ``ventes_clean``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from processors import memory
from processors.clients import GROUP, NewClients
from processors.dedup import DedupIndex
from processors.memory import Memory
from processors.positions import Mark, Positions
from processors.sorted_runs import SortedRuns
from salesviews import lake
from salesviews.lake import Lake
from salesviews.typed import SourcePartition
from sinks.appends import Stream, append_once

TAKE = 100_000
SMALL_TAKE = 500
SMALL_TAKES = 100
SOURCE = SourcePartition("topic-1", 0, "ventes")


def cpu_s() -> float:
    return time.process_time()


def memory_mb(name: str) -> int:
    """A line of what Linux tells of this process."""
    [line] = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(name)]
    return int(line.split()[1]) // 1024


class Ids:
    """Sales with new ids."""

    def __init__(self, folder: Path | None, first_sequence: int, order: str) -> None:
        self.runs = SortedRuns(folder, "benchmark", first_sequence, has_pairs=False)
        self._index = DedupIndex(self.runs)
        self._order = order
        self._random = np.random.default_rng(first_sequence + 7)

    def take(self, first: int, count: int) -> Callable[[], object]:
        positions = np.arange(first, first + count)
        ids = positions if self._order == "ascending" else self._random.integers(-(2**63), 2**63 - 1, count)
        return lambda: self._index.judge(ids, positions)

    def seal(self, last: int) -> None:
        self._index.seal(last, last)


class Clients:
    """Sales each of a client that is new to its group, of 200 x 10 groups or of 20,000 x 200."""

    def __init__(self, folder: Path | None, first_sequence: int, order: str) -> None:
        self.runs = SortedRuns(folder, "benchmark", first_sequence, has_pairs=True)
        self._index = NewClients(self.runs, "benchmark")
        products, countries = (200, 10) if order == "few groups" else (20_000, 200)
        self._products = pa.array([f"Produit {number}" for number in range(products)])
        self._countries = pa.array([f"Pays {number}" for number in range(countries)])
        self._random = np.random.default_rng(first_sequence + 7)

    def take(self, _first: int, count: int) -> Callable[[], object]:
        product = self._random.integers(0, len(self._products), count)
        texts = {
            "produit_nom": self._products.take(pa.array(product)),
            "categorie": self._countries.take(pa.array(product % 8)),
            "pays": self._countries.take(pa.array(self._random.integers(0, len(self._countries), count))),
        }
        when = pa.array(np.full(count, np.datetime64("2026-02-27T11:30", "us"))).cast(pa.timestamp("us", tz="UTC"))
        clients = pa.array(self._random.integers(0, 2**40, count))
        sales = pa.table({"timestamp": when, "client_id": clients, **{name: texts[name] for name in GROUP}})
        return lambda: self._index.flag(sales)

    def seal(self, last: int) -> None:
        self.runs.seal(last)


KINDS: dict[str, Callable[[Path | None, int, str], Ids | Clients]] = {"ids": Ids, "clients": Clients}


def fill(kind: str, order: str, count: int, folder: str) -> dict[str, Any]:
    """Fill an index, and judge small and large takes when it is full.

    :param folder: empty: all is kept in memory
    """
    index = KINDS[kind](Path(folder) if folder else None, 0, order)
    base_mb = memory_mb("RssAnon")
    spent: dict[str, float] = {"judge": 0.0, "seal": 0.0, "merge": 0.0}
    anonymous_mb = longest_s = most_runs = 0
    for first in range(0, count, TAKE):
        judge = index.take(first, TAKE)
        seal = index.seal if index.runs.unsealed >= memory._SEAL_ENTRIES else (lambda _: None)
        moments = [cpu_s()]
        for work in (judge, lambda seal=seal, first=first: seal(first), index.runs.step):
            work()
            moments.append(cpu_s())
        for name, start_s, end_s in zip(spent, moments, moments[1:], strict=False):
            spent[name] += end_s - start_s
        longest_s = max(longest_s, moments[-1] - moments[-2])
        most_runs = max(most_runs, len(index.runs._files))
        anonymous_mb = max(anonymous_mb, memory_mb("RssAnon") - base_mb)
    result: dict[str, Any] = {name: each / count * 1e6 for name, each in spent.items()}
    for name, size, times in (("small takes", SMALL_TAKE, SMALL_TAKES), ("large takes", TAKE, 5)):
        takes = [index.take(count + number * size, size) for number in range(times)]
        start_s = cpu_s()
        for judge in takes:
            judge()
        result[name] = (cpu_s() - start_s) / times / size * 1e6
    return result | {
        "longest step ms": longest_s * 1000,
        "most runs": most_runs,
        "anonymous MB": anonymous_mb,
        "peak MB": memory_mb("VmHWM"),
    }


def start(kind: str, order: str, count: int, folder: str) -> dict[str, Any]:
    """Open an index and judge a first small take; twice, the first time without the files in memory."""
    result = {}
    for state in ("cold", "warm"):
        if state == "cold":
            for path in Path(folder).iterdir():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start_s, started_s = cpu_s(), time.perf_counter()
        index = KINDS[kind](Path(folder), 2**62, order)
        judge = index.take(count, SMALL_TAKE)
        judge()
        result[f"{state} cpu ms"] = (cpu_s() - start_s) * 1000
        result[f"{state} wall ms"] = (time.perf_counter() - started_s) * 1000
    return result


def make(count: int, folder: str) -> dict[str, Any]:
    """Make lost files again from ``ventes_clean``, which has its sales in order, and then start from them."""
    source = Lake(f"{folder}/lake")
    source.create(lake.CLEAN)
    random = np.random.default_rng(7)
    for first in range(0, count, TAKE):
        places = np.arange(first, first + TAKE)
        sales = Clients(None, first, "many groups")
        product = random.integers(0, 1000, TAKE)
        columns = {
            "vente_id": pa.array(places),
            "client_id": pa.array(random.integers(0, 200_000, TAKE)),
            "timestamp": pa.repeat(pa.scalar(datetime(2026, 2, 27, tzinfo=UTC), pa.timestamp("us", tz="UTC")), TAKE),
            "produit_nom": sales._products.take(pa.array(product)),
            "categorie": sales._countries.take(pa.array(product % 8)),
            "pays": sales._countries.take(pa.array(random.integers(0, 50, TAKE))),
            "annee": pa.repeat(pa.scalar(2026, pa.int32()), TAKE),
            "mois": pa.repeat(pa.scalar(2, pa.int32()), TAKE),
            "partition": pa.repeat(pa.scalar(0, pa.int32()), TAKE),
            "offset": pa.array(places),
            "topic_id": pa.repeat(SOURCE.topic_id, TAKE),
            "sequence": pa.array(places),
        }
        schema = lake.CLEAN.schema
        rows = pa.table(
            [columns.get(name, pa.nulls(TAKE, schema.field(name).type)) for name in schema.names], schema=schema
        )
        append_once(source, lake.CLEAN, [Stream("benchmark", rows, "sequence", first + TAKE)])
    positions = Positions([Mark(SOURCE, count)])
    result = {}
    for state in ("made again", "started"):
        beats = [time.perf_counter()]

        def beat(moments: list[float] = beats) -> None:
            moments.append(time.perf_counter())

        base_mb, start_s = memory_mb("RssAnon"), cpu_s()
        made = Memory(source, Path(folder) / "memory", count, positions, [], beat)
        result[f"{state} us"] = (cpu_s() - start_s) / count * 1e6
        result[f"{state} cpu ms"] = (cpu_s() - start_s) * 1000
        result[f"{state} longest between beats ms"] = max(np.diff([*beats, time.perf_counter()])) * 1000
        result[f"{state} anonymous MB"] = memory_mb("RssAnon") - base_mb
        made.seal(count - 1)
        made.close()
    return result


def apart(work: str, *arguments: Any) -> dict[str, Any]:
    """The result of a function of this file, called in a process of its own."""
    command = [sys.executable, __file__, "--work", json.dumps([work, *arguments])]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ids", type=int, default=30_000_000)
    parser.add_argument("--clients", type=int, default=10_000_000)
    parser.add_argument("--sales", type=int, default=2_000_000)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work, *arguments = json.loads(given.work)
        print(json.dumps({"fill": fill, "start": start, "make": make}[work](*arguments)))
        return
    names = ("judge", "seal", "merge", "small takes", "large takes", "longest step ms", "most runs", "anonymous MB")
    print(f"{'':<50}" + "".join(f"{name:>16}" for name in names) + f"{'peak MB':>9}{'us ratio':>9}{'MB ratio':>9}")
    scenarios = [("ids", order, given.ids) for order in ("ascending", "random")]
    scenarios += [("clients", order, given.clients) for order in ("few groups", "many groups")]
    starts: list[str] = []
    for kind, order, count in scenarios:
        with tempfile.TemporaryDirectory(prefix="salesviews-benchmark-") as folder:
            alone = apart("fill", kind, order, count, "")
            filled = apart("fill", kind, order, count, folder)
            begun = apart("start", kind, order, count, folder)
        cost = [sum(each[name] for name in ("judge", "seal", "merge")) for each in (filled, alone)]
        for where, each, ratios in (
            ("in memory", alone, ""),
            (
                "in files",
                filled,
                f"{cost[0] / cost[1]:>9.2f}{filled['anonymous MB'] / alone['anonymous MB']:>9.2f}",
            ),
        ):
            columns = "".join(f"{each[name]:>16.{3 if isinstance(each[name], float) else 0}f}" for name in names)
            print(f"{f'{count:,} {kind}, {order}, {where}':<50}{columns}{each['peak MB']:>9}{ratios}", flush=True)
        starts.append(f"{count:,} {kind}, {order}: " + ", ".join(f"{name} {ms:.0f}" for name, ms in begun.items()))
    print("\nA start, with a first take of 500:", *starts, sep="\n  ")
    with tempfile.TemporaryDirectory(prefix="salesviews-benchmark-") as folder:
        made = apart("make", given.sales, folder)
    print(f"\nFrom {given.sales:,} sales in ventes_clean:", *(f"{k} {v:.2f}" for k, v in made.items()), sep="\n  ")


if __name__ == "__main__":
    main()
