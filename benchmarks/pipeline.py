"""CPU time a sale of ingest and of views, on generated sales that are in Kafka already.

    python benchmarks/pipeline.py [--sales 2000000] [--days 1] [--dirty 2] [--late 1]

Each processor runs alone, as `salesviews ingest` and `salesviews views` run it, until it has caught up. What is counted
is its own CPU time, all threads, user and system, from the moment that it is ready; start-up is shown beside it.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from confluent_kafka import Consumer, TopicPartition

from salesviews import lake, manifest, settings
from salesviews.machine import broker
from salesviews.settings import Settings
from salesviews.simulation import generate
from salesviews.topics import topic_id
from salesviews.typed import SourcePartition
from sinks.appends import covered
from sinks.bronze import stream_name


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@contextmanager
def process(command: str, environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "salesviews", command],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield psutil.Process(child.pid)
        finally:
            child.send_signal(signal.SIGTERM)
            if child.wait(60) != 0:
                print(log.read_text()[-2000:], file=sys.stderr)


def cpu_s(running: psutil.Process) -> float:
    times = running.cpu_times()
    return float(times.user + times.system)


def peak_bytes(running: psutil.Process) -> int:
    """The most memory that it had, where Linux tells; else what it has."""
    status = Path(f"/proc/{running.pid}/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    return int(running.memory_info().rss)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def until(condition: Callable[[], bool], running: psutil.Process) -> None:
    while not condition():
        if not running.is_running() or running.status() == psutil.STATUS_ZOMBIE:
            raise SystemExit("the process ended before it had caught up")
        time.sleep(0.1)


def end_offsets(used: Settings) -> list[int]:
    consumer = Consumer({**used.kafka_config, "group.id": "benchmark"})
    partitions = consumer.list_topics(used.topic).topics[used.topic].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(used.topic, number))[1] for number in sorted(partitions)]
    consumer.close()
    return ends


def measure(command: str, used: Settings, environment: dict[str, str], is_done: Callable[[], bool], sales: int) -> None:
    log = used.home / f"{command}.log"
    with process(command, environment, log) as running:
        until(lambda: b"now processing incoming messages" in log.read_bytes(), running)
        start_cpu_s, start = cpu_s(running), time.monotonic()
        until(is_done, running)
        spent_s, wall_s = cpu_s(running) - start_cpu_s, time.monotonic() - start
        peak_mb = peak_bytes(running) / 2**20
    print(
        f"{command:7} {spent_s / sales * 1e6:6.2f} µs CPU a sale   {sales / wall_s:10,.0f} sales/s   "
        f"start-up {start_cpu_s:.1f} s CPU   at most {peak_mb:,.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sales", type=int, default=2_000_000)
    parser.add_argument("--days", type=float, default=1.0)
    parser.add_argument("--dirty", type=float, default=2.0)
    parser.add_argument("--late", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="salesviews-benchmark-") as home:
        environment = {"SALESVIEWS_HOME": home, "SALESVIEWS_KAFKA_PORT": str(free_port())}
        used = settings.read(environment)
        with process("broker", environment, Path(home) / "broker.log"):
            broker.wait_until_ready(used, 60)
            generate.run(
                used,
                sales=arguments.sales,
                rate=0,
                seed=1,
                dirty_pct=arguments.dirty,
                late_pct=arguments.late,
                days=arguments.days,
            )
            target = lake.Lake.of(used)
            ends = end_offsets(used)
            identity = topic_id(used, used.topic)
            sources = [SourcePartition(identity, number, used.topic) for number in range(len(ends))]

            def ingested() -> bool:
                if not target.exists(lake.BRONZE):
                    return False
                done = [covered(target, lake.BRONZE, stream_name(source)) for source in sources]
                return all((position or 0) >= end for position, end in zip(done, ends, strict=True))

            def counted() -> bool:
                if not target.exists(lake.SNAPSHOTS):
                    return False
                found = manifest.read(target)
                positions = found.positions if found else {}
                return all(positions.get(source, 0) >= end for source, end in zip(sources, ends, strict=True))

            measure("ingest", used, environment, ingested, arguments.sales)
            measure("views", used, environment, counted, arguments.sales)
            folders = {name: Path(used.lake) / name for name in ("bronze", "silver")} | {"Kafka": used.home / "kafka"}
            held = (f"{name} {bytes_in(folder) / arguments.sales:,.0f}" for name, folder in folders.items())
            print(f"bytes a sale: {', '.join(held)}")


if __name__ == "__main__":
    main()
