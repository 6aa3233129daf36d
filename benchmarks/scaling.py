"""What ingest processes give that are added: sales a second, and CPU time a sale, of 1, 2 and 4 of them.

    python benchmarks/scaling.py [--sales 1000000] [--processes 1 2 4]

Each round has a product of its own, with a topic of four partitions, whose sales are in Kafka already. All processes
are started at once; the clock runs from the moment that all of them share the partitions, until Bronze has every
message.
"""

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
from inputs import INPUTS
from product import Product
from sales import Sales
from traffic import send

from salesviews import lake

CHECKOUT = Path(__file__).parents[1]
READY_S = 300
CAUGHT_UP_S = 3600


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def measure(folder: Path, sales: Sales, count: int) -> None:
    product = Product(CHECKOUT, folder)
    folder.mkdir()
    try:
        product.start_broker()
        messages = send(product, sales, range(sales.end))
        lake.Lake(str(product.lake)).create(lake.BRONZE)
        names = [f"ingest-{number}" for number in range(count)]
        pids = [product.start("ingest", name=name).pid for name in names]
        for name in names:
            product.until(lambda name=name: product.has_said(name, "processing incoming"), name, READY_S, 0.05)  # type: ignore[misc]
        before_s, start_s = sum(map(cpu_s, pids)), time.monotonic()
        product.until(lambda: product.archived() >= messages, names[0], CAUGHT_UP_S)
        wall_s, spent_s = time.monotonic() - start_s, sum(map(cpu_s, pids)) - before_s
    finally:
        product.stop_all()
        product.remove()
    rate, cost_us = messages / wall_s, spent_s / messages * 1e6
    print(f"{count} processes: {rate:10,.0f} sales/s   {cost_us:6.2f} µs CPU a sale   {wall_s:5.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sales", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="salesviews-scaling-") as folder:
        sales = Sales(Path(folder) / "sales.duckdb", dirty_pct=2)
        sales.add(INPUTS["generator"], arguments.sales, 1, datetime.now(UTC))
        for count in arguments.processes:
            measure(Path(folder) / f"run-{count}", sales, count)


if __name__ == "__main__":
    main()
