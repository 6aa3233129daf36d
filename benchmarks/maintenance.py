"""How long a commit takes, and how many files there are, over thousands of commits, with `maintain` on its timer.

    python benchmarks/maintenance.py [--commits 20000] [--without]

Each round is the smallest that the sinks write, without a broker: one sale into Bronze, then a snapshot that changes
two views. Time is compressed: an hour of snapshots is ``RECENT_S`` here, and everything else in proportion, so that a
run sees thinning and expiry too. ``--without`` leaves maintenance out. Times are medians of each thousand rounds; the
CPU is of the whole process, maintenance included, so that it tells a trend even where other work shares the machine.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from processors import gains
from salesviews import lake, maintenance, manifest
from salesviews.lake import Lake
from salesviews.maintenance import Options
from salesviews.maintenance.retention import Retention
from salesviews.typed import Interval, SourcePartition
from salesviews.view_rows import ViewRows
from salesviews.views import HOURLY_SALES
from sinks.appends import writer_properties
from sinks.bronze import BronzeBatch, BronzeSink
from sinks.silver import Reached, SilverSink, Take

RECENT_S = 60.0
"""An hour of snapshots every 3 s is 1,200; here it is as many as are written in this time."""

lake.PROPERTIES = {**lake.PROPERTIES, "delta.deletedFileRetentionDuration": f"interval {RECENT_S:.0f} seconds"}
OPTIONS = Options(Retention(days=900 / 86_400, step_s=10, recent_s=RECENT_S), grace_s=RECENT_S)
EVERY_S = 10.0
REPORT = 1_000
SOURCE = SourcePartition("topic-1", 0, "ventes")
HOUR = datetime(2026, 1, 1, 12, tzinfo=UTC)


def now() -> datetime:
    return datetime.now(UTC)


def row(schema: pa.Schema, **values: object) -> pa.Table:
    return pa.Table.from_pylist([values], schema=schema)


class Nobody:
    """Gets what is published."""

    def publish(self, rows: ViewRows) -> None:
        pass

    def finish(self, sequence: int) -> None:
        pass


def rounds(target: Lake, commits: int) -> Iterator[tuple[float, float]]:
    """Writes, and gives how long Bronze and a snapshot took in each round."""
    bronze, silver = BronzeSink(target, lambda: None), SilverSink(target, now, 0, 30, Nobody(), 1)
    for sink in (bronze, silver):
        sink.start()
    silver.begin(Reached(manifest.EMPTY_SEQUENCE, {}, False), {})
    for offset in range(commits):
        interval = Interval(SOURCE, offset, offset + 1, 0, offset + 1)
        raw = row(
            lake.BRONZE.schema,
            vente_id=offset,
            offset=offset,
            partition=0,
            topic_id=SOURCE.topic_id,
            payload=b"{}",
            jour=HOUR.date(),
        )
        bronze.add(BronzeBatch(interval, raw))
        sale = row(
            lake.CLEAN.schema,
            vente_id=offset,
            client_id=offset % 1000,
            timestamp=HOUR,
            quantite=1,
            montant=1,
            annee=HOUR.year,
            mois=HOUR.month,
            sequence=offset,
        )
        sums = {name: [offset + 1] for name in HOURLY_SALES.measure_names}
        changed = gains.of_table(HOURLY_SALES, pa.table({"start_ms": [int(HOUR.timestamp() * 1000)]} | sums))
        silver.add(Take(sale, lake.REJECTED.schema.empty_table(), offset, {SOURCE: offset + 1}, True, [changed]))
        started_s = time.perf_counter()
        bronze.flush()
        middle_s = time.perf_counter()
        silver.flush()
        silver.committed()
        for _ in silver.snapshot():
            pass
        yield middle_s - started_s, time.perf_counter() - middle_s


def open_ms(target: Lake) -> float:
    """The time to open the newest version of the four tables that are written."""
    started_s = time.perf_counter()
    for table in (lake.BRONZE, lake.CLEAN, lake.of_view(HOURLY_SALES), lake.SNAPSHOTS):
        target.open(table).file_uris()
    return (time.perf_counter() - started_s) * 1000


def counts(root: Path) -> tuple[int, int, float]:
    """Data files, log files, and MB of all."""
    files = [path for path in root.rglob("*") if path.is_file()]
    logs = sum("_delta_log" in path.parts for path in files)
    return len(files) - logs, logs, sum(path.stat().st_size for path in files) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=20_000)
    parser.add_argument("--without", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="salesviews-benchmark-") as folder:
        target = Lake(folder)
        bronze_ms: list[float] = []
        silver_ms: list[float] = []
        runs_s: list[float] = []
        due_s = time.monotonic() + EVERY_S
        cpu_s = time.process_time()
        print(
            "commits | Bronze ms | snapshot ms | CPU ms a round | open ms | data files | log files | MB | maintain s",
            flush=True,
        )
        for done, (bronze_s, silver_s) in enumerate(rounds(target, arguments.commits), start=1):
            bronze_ms.append(bronze_s * 1000)
            silver_ms.append(silver_s * 1000)
            if not arguments.without and time.monotonic() >= due_s:
                result = maintenance.run(target, OPTIONS, writer_properties)
                if not result.is_done:
                    raise SystemExit(f"maintenance had problems: {result}")
                runs_s.append(result.seconds)
                due_s = time.monotonic() + EVERY_S
            if done % REPORT == 0:
                cpu_ms = (time.process_time() - cpu_s) * 1000 / REPORT
                data, logs, megabytes = counts(Path(folder))
                print(
                    f"{done:,} | {statistics.median(bronze_ms):.1f} | {statistics.median(silver_ms):.1f} | "
                    f"{cpu_ms:.1f} | {open_ms(target):.1f} | {data:,} | {logs:,} | {megabytes:.1f} | "
                    f"{statistics.median(runs_s) if runs_s else 0:.2f}",
                    flush=True,
                )
                for each in (bronze_ms, silver_ms, runs_s):
                    each.clear()
                cpu_s = time.process_time()


if __name__ == "__main__":
    main()
