"""How long it takes from the produce call to the figure in the API, with the whole pipeline running.

    python benchmarks/freshness.py [--rate 500] [--seconds 60]

Among ordinary sales, each of a stream of tracers names a product of its own; a tracer has arrived when the API first
answers with its product. The API is asked every 50 ms, which is in the figures.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Producer

from salesviews import settings
from salesviews.machine import ports
from salesviews.settings import Settings

TRACERS_A_SECOND = 5
ASK_INTERVAL_S = 0.05


def get(used: Settings, path: str) -> Any:
    with urllib.request.urlopen(f"http://{used.host}:{used.port}{path}", timeout=5) as answer:
        return json.load(answer)


def until_ready(used: Settings, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            get(used, "/readyz")
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the pipeline was not ready in time")


@contextmanager
def running(**options: Any) -> Iterator[tuple[Settings, subprocess.Popen[bytes]]]:
    """The whole pipeline, on a folder and ports of its own; it is ready.

    :param options: of its process
    """
    with tempfile.TemporaryDirectory(prefix="salesviews-benchmark-") as home:
        variables = {
            "SALESVIEWS_HOME": home,
            "SALESVIEWS_KAFKA_PORT": str(ports.free()),
            "SALESVIEWS_PORT": str(ports.free()),
        }
        used = settings.read(variables)
        pipeline = subprocess.Popen(
            [sys.executable, "-m", "salesviews", "up"],
            env={**os.environ, **variables},
            stdout=subprocess.DEVNULL,
            **options,
        )
        try:
            until_ready(used)
            yield used, pipeline
        finally:
            pipeline.send_signal(signal.SIGTERM)
            pipeline.wait(60)


def sale(identity: int, product: str) -> bytes:
    return json.dumps(
        {
            "vente_id": identity,
            "client_id": identity % 1000,
            "produit_id": 1,
            "timestamp": datetime.now(UTC).isoformat(),
            "quantite": 1,
            "montant": 9.99,
            "produit_nom": product,
            "categorie": "Mesure",
            "pays": "France",
            "segment": "Particulier",
        }
    ).encode()


def produce(used: Settings, rate: int, seconds: int, sent_at: dict[str, float]) -> None:
    producer = Producer({**used.kafka_config, "linger.ms": 5})
    start = time.monotonic()
    for identity in range(rate * seconds):
        time.sleep(max(start + identity / rate - time.monotonic(), 0))
        product = "Produit"
        if identity % (rate // TRACERS_A_SECOND) == 0:
            product = f"Traceur {identity}"
            sent_at[product] = time.monotonic()
        producer.produce(used.topic, sale(identity, product), key=str(identity))
        producer.poll(0)
    producer.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    with running() as (used, _):
        sent_at: dict[str, float] = {}
        delays_s: list[float] = []
        sender = threading.Thread(target=produce, args=(used, arguments.rate, arguments.seconds, sent_at))
        sender.start()
        arrived: set[str] = set()
        while sender.is_alive() or len(arrived) < len(sent_at):
            time.sleep(ASK_INTERVAL_S)
            rows = get(used, "/api/aggregated_sales")["data"]
            now = time.monotonic()
            new = {row["produit_nom"] for row in rows} & sent_at.keys() - arrived
            delays_s += [now - sent_at[product] for product in new]
            arrived |= new
        sender.join()
    cuts = statistics.quantiles(delays_s, n=100)
    print(
        f"{len(delays_s)} tracers at {arguments.rate} sales/s, snapshots every {used.snapshot_interval_s:g} s: "
        f"median {statistics.median(delays_s):.2f} s, p95 {cuts[94]:.2f} s, largest {max(delays_s):.2f} s"
    )


if __name__ == "__main__":
    main()
