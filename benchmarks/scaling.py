"""What ingest processes give that are added: sales a second, and CPU time a sale, of 1, 2 and 4 of them.

    python benchmarks/scaling.py [--sales 1000000] [--processes 1 2 4]

Each round has a topic of its own, of four partitions, whose sales are in Kafka already. All processes are started at
once; the clock runs from the moment that all of them share the partitions, until Bronze has every message.
"""

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

from pipeline import cpu_s, end_offsets, free_port, process

from salesviews import lake, settings
from salesviews.machine import broker
from salesviews.settings import Settings
from salesviews.simulation import generate
from salesviews.topics import topic_id
from salesviews.typed import SourcePartition
from sinks.appends import covered
from sinks.bronze import stream_name


def measure(used: Settings, environment: dict[str, str], count: int, sales: int) -> None:
    generate.run(used, sales=sales, rate=0, seed=1, dirty_pct=2.0, late_pct=1.0, days=1.0)
    target, ends, identity = lake.Lake(used.lake), end_offsets(used), topic_id(used, used.topic)
    sources = [SourcePartition(identity, number, used.topic) for number in range(len(ends))]
    target.create(lake.BRONZE)
    with contextlib.ExitStack() as stack:
        logs = [used.home / f"{used.topic}-{number}.log" for number in range(count)]
        running = [stack.enter_context(process("ingest", environment, log)) for log in logs]
        while not all(b"now processing incoming messages" in log.read_bytes() for log in logs):
            time.sleep(0.05)
        before_s, start = sum(map(cpu_s, running)), time.monotonic()
        while any((covered(target, lake.BRONZE, stream_name(each)) or 0) < ends[each.partition] for each in sources):
            time.sleep(0.2)
        wall_s, spent_s = time.monotonic() - start, sum(map(cpu_s, running)) - before_s
    rate, cost_us = sales / wall_s, spent_s / sales * 1e6
    print(f"{count} processes: {rate:10,.0f} sales/s   {cost_us:6.2f} µs CPU a sale   {wall_s:5.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sales", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="salesviews-scaling-") as home:
        shared = {"SALESVIEWS_HOME": home, "SALESVIEWS_KAFKA_PORT": str(free_port())}
        with process("broker", shared, Path(home) / "broker.log"):
            broker.wait_until_ready(settings.read(shared), 60)
            for count in arguments.processes:
                round_of = {"SALESVIEWS_TOPIC": f"ventes-{count}", "SALESVIEWS_LAKE": f"{home}/lake-{count}"}
                measure(settings.read(shared | round_of), shared | round_of, count, arguments.sales)


if __name__ == "__main__":
    main()
