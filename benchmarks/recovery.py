"""How long after a SIGKILL the figures move again, with the whole pipeline running under its supervisor.

    python benchmarks/recovery.py [--rounds 5] [--rate 200]

In each round each process is killed once, in turn. At that moment a sale is produced; the recovery time is until the
API's figures first cover it: the process was started again, found where it was, and a snapshot has arrived. A round has
one such sale without a kill too, to compare with. The API is asked every 50 ms.
"""

import argparse
import signal
import statistics
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from confluent_kafka import Message
from inputs import INPUTS
from product import TOPIC, Product
from sales import Sales
from traffic import send_live

from salesviews.machine.supervisor import HEALTHY_S

CHECKOUT = Path(__file__).parents[1]
KILLED = ("", "web", "ingest", "views", "broker")
READY_S = 300
LONGEST_S = 180.0
ASK_INTERVAL_S = 0.05
LONG_S = 24 * 3600


def kill(supervisor: psutil.Process, command: str) -> None:
    """SIGKILL, once the process is so old that the supervisor starts it again at once."""
    [found] = [child for child in supervisor.children() if child.cmdline()[-1] == command]
    time.sleep(max(found.create_time() + HEALTHY_S + 1 - time.time(), 0))
    for each in (*found.children(recursive=True), found):
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)


def arrival_s(product: Product, message: str) -> float:
    """Seconds from the produce call of a message until the API's figures cover it."""
    start_s = time.monotonic()
    places: list[tuple[int, int]] = []

    def delivered(_error: object, taken: Message) -> None:
        places.append((taken.partition(), taken.offset()))

    producer = product.producer()
    producer.produce(TOPIC, message, on_delivery=delivered)
    while producer.flush(1) and time.monotonic() - start_s < LONGEST_S:
        pass

    def is_served() -> bool:
        positions = product.served_positions()
        return all(positions.get(partition, 0) > offset for partition, offset in places)

    product.until(is_served, "up", LONGEST_S, ASK_INTERVAL_S)
    return time.monotonic() - start_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=200, help="sales a second")
    arguments = parser.parse_args()
    measured: dict[str, list[float]] = {command: [] for command in KILLED}
    with tempfile.TemporaryDirectory(prefix="salesviews-recovery-") as folder:
        sales = Sales(Path(folder) / "sales.duckdb")
        sales.prepare_live(INPUTS["generator"], 1, datetime.now(UTC))
        [[(_, message)]] = sales.messages(sales.add_live(1, datetime.now(UTC)))
        product = Product(CHECKOUT, Path(folder) / "run")
        product.folder.mkdir()
        supervisor = psutil.Process(product.start("up").pid)
        try:
            product.until(lambda: product.has_said("up", "Dashboard: "), "up", READY_S)
            threading.Thread(target=send_live, args=(product, sales, arguments.rate, LONG_S), daemon=True).start()
            for _ in range(arguments.rounds):
                for command, times in measured.items():
                    if command:
                        kill(supervisor, command)
                    times.append(arrival_s(product, message))
        finally:
            product.stop_all()
    print(f"{arguments.rounds} rounds at {arguments.rate} sales/s")
    for command, times in measured.items():
        spread = f"{min(times):.1f} to {max(times):.1f} s"
        print(f"{command or 'no kill':>8}: median {statistics.median(times):5.1f} s, {spread}")


if __name__ == "__main__":
    main()
