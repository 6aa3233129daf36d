"""How long after a SIGKILL the figures move again, with the whole pipeline running under its supervisor.

    python benchmarks/recovery.py [--rounds 5] [--rate 200]

In each round each process is killed once, in turn. At that moment a sale of a product of its own is produced; the
recovery time is until the API first answers with it: the process was started again, found where it was, and a snapshot
has arrived. A round has one such sale without a kill too, to compare with. The API is asked every 50 ms.
"""

import argparse
import signal
import statistics
import subprocess
import threading
import time
from contextlib import suppress

import psutil
from confluent_kafka import Producer
from freshness import ASK_INTERVAL_S, get, running, sale

from salesviews.machine.supervisor import HEALTHY_S
from salesviews.settings import Settings

KILLED = ("", "web", "ingest", "views", "broker")
LONGEST_S = 180.0


class Sales:
    """Sales at a steady rate, and the tracers among them."""

    def __init__(self, used: Settings, rate: int) -> None:
        self._used = used
        self._producer = Producer({**used.kafka_config, "linger.ms": 5, "log_level": 0})
        self._rate = rate
        self._lock = threading.Lock()
        self._identity = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sell)

    def __enter__(self) -> "Sales":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def produce(self, product: str) -> None:
        with self._lock:
            self._identity += 1
            self._producer.produce(self._used.topic, sale(self._identity, product), key=str(self._identity))
        self._producer.poll(0)

    def _sell(self) -> None:
        while not self._ended.wait(1 / self._rate):
            self.produce("Produit")


def kill(supervisor: psutil.Process, command: str) -> None:
    """SIGKILL, once the process is so old that the supervisor starts it again at once."""
    [found] = [child for child in supervisor.children() if child.cmdline()[-1] == command]
    time.sleep(max(found.create_time() + HEALTHY_S + 1 - time.time(), 0))
    for each in (*found.children(recursive=True), found):
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)


def arrival_s(used: Settings, product: str) -> float:
    """Seconds until the API answers with a product."""
    start = time.monotonic()
    while time.monotonic() - start < LONGEST_S:
        with suppress(OSError):
            if any(row["produit_nom"] == product for row in get(used, "/api/aggregated_sales")["data"]):
                return time.monotonic() - start
        time.sleep(ASK_INTERVAL_S)
    raise SystemExit(f"{product} did not arrive within {LONGEST_S:g} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=200, help="sales a second")
    arguments = parser.parse_args()
    measured: dict[str, list[float]] = {command: [] for command in KILLED}
    with running(stderr=subprocess.DEVNULL) as (used, pipeline), Sales(used, arguments.rate) as sales:
        supervisor = psutil.Process(pipeline.pid)
        for number in range(arguments.rounds):
            for command, times in measured.items():
                if command:
                    kill(supervisor, command)
                product = f"Traceur {number} {command}"
                sales.produce(product)
                times.append(arrival_s(used, product))
    print(f"{arguments.rounds} rounds at {arguments.rate} sales/s, snapshots every {used.snapshot_interval_s:g} s")
    for command, times in measured.items():
        spread = f"{min(times):.1f} to {max(times):.1f} s"
        print(f"{command or 'no kill':>8}: median {statistics.median(times):5.1f} s, {spread}")


if __name__ == "__main__":
    main()
