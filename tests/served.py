"""The real server over a lake that the real stages wrote, and the witness of what it must show.

Kafka is what a test says. The market is small: fourteen months of sales of few products, countries and segments, with
every kind of dirt, so that each figure of the page can be computed again by the oracle.
"""

import asyncio
import json
import random
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lakes import TOPIC_ID, LakeMaker
from oracle import Message, Oracle

from salesviews import manifest
from salesviews.errors import SalesviewsError
from salesviews.event import Motif
from salesviews.lake import Lake
from salesviews.machine import ports
from salesviews.maintenance.history import History
from salesviews.maintenance.retention import Retention
from salesviews.manifest import Manifest
from salesviews.simulation import dirt
from web import server
from web.access import Access
from web.answers import Answers
from web.app import create_app
from web.audits import AuditWatch
from web.events import EventFeed
from web.gateway import Gateway
from web.past import PastSnapshots
from web.pipeline import Group, Member, Observation, Partition, PipelineWatch
from web.snapshot import SnapshotStore

PARTITIONS = 2
PRODUCTS = {
    "Ordinateur portable": ("Électronique", 899.99),
    "Téléphone": ("Électronique", 649.5),
    "Casque audio": ("Électronique", 129.0),
    "Café en grains": ("Épicerie", 14.9),
    "Thé vert": ("Épicerie", 9.95),
    "Chocolat noir": ("Épicerie", 4.2),
    "Chaise": ("Maison", 89.0),
    "Lampe": ("Maison", 39.9),
    "Bureau": ("Maison", 249.0),
    "Carnet": ("Papeterie", 6.5),
    "Stylo plume": ("Papeterie", 24.0),
    "<b>Sac</b> & 'cie'": ("Mode", 59.0),
}
COUNTRIES = ("France", "Allemagne", "UK", "Espagne", "Côte d'Ivoire")
SEGMENTS = ("Particulier", "Entreprise", "Pro")
NOW = datetime(2025, 12, 22, 15, 30, tzinfo=UTC)
"""Of the latest sales: a Monday."""
HISTORY_DAYS = 425
_DAYS_OF_A_BATCH = 12
OPENING_HOURS = range(7, 23)


def _sale(rng: random.Random, vente_id: int, at: datetime) -> dict[str, Any]:
    product = rng.choices(list(PRODUCTS), weights=range(len(PRODUCTS), 0, -1))[0]
    category, price = PRODUCTS[product]
    quantity = rng.choices((1, 2, 3), weights=(6, 2, 1))[0]
    client = int(rng.triangular(1, 60, 5))
    return {
        # Beyond what a JavaScript number holds exactly.
        "vente_id": 2**60 + vente_id,
        "client_id": client,
        "produit_id": 100 + list(PRODUCTS).index(product),
        "timestamp": at.isoformat()[:26],
        "quantite": quantity,
        "montant": round(price * quantity, 2),
        "client_nom": f"Client {client}",
        "produit_nom": product,
        "categorie": category,
        "pays": COUNTRIES[client % len(COUNTRIES)],
        "segment": SEGMENTS[client % len(SEGMENTS)],
    }


class ServedLake(LakeMaker):
    """A lake whose messages are told to a witness as well."""

    def __init__(self, root: Path, seed: int = 7) -> None:
        super().__init__(Lake(str(root)), lambda: datetime.now(UTC))
        self.sent: list[Message] = []
        self._oracle: Oracle | None = None
        self._rng = random.Random(seed)
        self._count = 0

    def send(self, partition: int, payloads: Any, sent_at: datetime = NOW, **more: Any) -> None:
        first = self.ends.get(partition, 0)
        super().send(partition, payloads, sent_at, **more)
        self.sent += [
            Message(partition, first + place, sent_at, payload, TOPIC_ID) for place, payload in enumerate(payloads)
        ]

    @property
    def ends(self) -> dict[int, int]:
        """The next offset of each partition."""
        return dict(self._ends)

    @property
    def oracle(self) -> Oracle:
        """The witness of all that was sent so far."""
        if self._oracle is None or len(self._oracle.outcomes) < len(self.sent):
            self._oracle = Oracle(self.sent)
        return self._oracle

    def fill(self) -> None:
        """The whole history, in one snapshot."""
        days_ago = [*range(HISTORY_DAYS, 60, -6), *range(60, 1, -1)]
        batches = [days_ago[at : at + _DAYS_OF_A_BATCH] for at in range(0, len(days_ago), _DAYS_OF_A_BATCH)]
        for place, days in enumerate([*batches, [1], [0]]):
            times = sorted(time for day in days for time in self._times(day))
            self.send(place % PARTITIONS, self._payloads(times), times[-1] + timedelta(seconds=2))
        self.checkpoint()

    def sell(self, count: int = 5) -> None:
        """Some more sales at ``NOW``, in a snapshot of their own."""
        self.send(self._count % PARTITIONS, self._payloads([NOW] * count))
        self.checkpoint()

    def _times(self, days_ago: int) -> list[datetime]:
        midnight = (NOW - timedelta(days=days_ago)).replace(hour=0, minute=0)
        hours = [hour for hour in OPENING_HOURS if midnight + timedelta(hours=hour) <= NOW]
        return [
            min(midnight + timedelta(hours=self._rng.choice(hours), seconds=self._rng.randrange(3600)), NOW)
            for _ in range(self._rng.randrange(16, 40))
        ]

    def _payloads(self, times: list[datetime]) -> list[bytes | None]:
        made: list[bytes | None] = []
        for at in times:
            self._count += 1
            payload = json.dumps(_sale(self._rng, self._count, at), ensure_ascii=False).encode()
            kind = self._rng.random()
            if kind < 0.03:
                made.append(self._rng.choice(dirt.SHAPES[self._rng.choice(list(Motif))])(payload))
            elif kind < 0.05 and made and made[-1] is not None:
                made.append(made[-1])
            else:
                made.append(payload)
        return made


class ServedKafka:
    """What Kafka answers: what the lake has, and ``waiting`` messages more; or an error."""

    def __init__(self, made: ServedLake) -> None:
        self._made = made
        self.waiting = 0
        self.error: SalesviewsError | None = None

    def __call__(self) -> Observation:
        if self.error is not None:
            raise self.error
        ends = self._made.ends
        ends[0] = ends.get(0, 0) + self.waiting
        return Observation(
            (),
            tuple(Partition("ventes", TOPIC_ID, number, 0, end) for number, end in sorted(ends.items())),
            {"ingest": _group("ingest", 2), "views": _group("views", 1)},
        )


def _group(name: str, processes: int) -> Group:
    members = tuple(Member(f"{name}-{place}", "127.0.0.1", (f"ventes/{place}",)) for place in range(processes))
    return Group(f"salesviews-ventes-{name}", "stable", members, 0)


class Served:
    """A server of a lake, that can be stopped, and started again on the same port of the loopback."""

    def __init__(self, source: Lake, kafka: ServedKafka, port: int | None = None, token: str = "") -> None:
        self._source = source
        self._token = token
        self._port = port or ports.free()
        self.kafka = kafka
        self.ahead = timedelta(0)
        """How far the server's clock is ahead: what it has seen by then has waited for longer."""
        self.url = f"http://127.0.0.1:{self._port}/"
        self._running: tuple[Any, threading.Thread, tuple[Any, ...]] | None = None

    def start(self) -> None:
        def now() -> datetime:
            return datetime.now(UTC) + self.ahead

        store = SnapshotStore(self._source, now)
        past = PastSnapshots(self._source, History(self._source, Retention(days=7, step_s=600), now))
        pipeline = PipelineWatch(self.kafka, now)
        audits = AuditWatch(self._source)
        feed = EventFeed(store, past.history, Answers(pipeline, now), lambda: audits.last)
        access = Access(self._token, "127.0.0.1")
        app = create_app(store, past, pipeline, now, lambda: audits.last, self._source, feed, access)
        listener = server._listen("127.0.0.1", self._port)
        serving = server._Server(Gateway(app, feed, server.THREADS), feed)
        threads = (store, pipeline, audits, feed)
        for each in threads:
            each.start()
        # uvicorn takes signals in the main thread only: this one is ended by `stop`.
        thread = threading.Thread(target=lambda: asyncio.run(serving.serve([listener])), name="served", daemon=True)
        thread.start()
        self._running = serving, thread, threads

    def stop(self) -> None:
        """As a signal does: requests under way are finished, streams of events end at once."""
        if self._running is None:
            return
        serving, thread, threads = self._running
        serving.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive(), "the server did not end"
        for each in reversed(threads):
            each.close()
        self._running = None

    @property
    def manifest(self) -> Manifest:
        """Of the newest snapshot that the processors wrote."""
        found = manifest.read(self._source)
        assert found is not None
        return found

    def __enter__(self) -> "Served":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> None:
    """Serves one with new sales all the time, to look at: ``python tests/served.py FOLDER PORT``."""
    made = ServedLake(Path(sys.argv[1]) / "lake")
    made.fill()
    with Served(made.lake, ServedKafka(made), int(sys.argv[2])) as served:
        print(served.url, flush=True)
        while True:
            time.sleep(5)
            made.sell()


if __name__ == "__main__":
    main()
