"""The real server over a lake that the real stages wrote, and the witness of what it must show.

Kafka is what a test says. The market is small: fourteen months of sales of few products, countries and segments, with
every kind of dirt, so that each figure of the page can be computed again by the oracle.
"""

import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lakes import TOPIC_ID, LakeMaker
from oracle import Message, Oracle
from web.access import Access
from web.events import EventFeed
from web.gateway import Gateway

from salesviews import audit_result, dirt, ports
from salesviews.event import Motif
from salesviews.history import History
from salesviews.lake import Lake
from salesviews.retention import Retention
from web.answers import Answers
from web.app import create_app
from web.past import PastSnapshots
from web.pipeline import Group, Member, Observation, Partition, PipelineWatch
from web.server import THREADS, _Server
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
HISTORY_DAYS = 425
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


class SiteLake(LakeMaker):
    """A lake whose sales are told to a witness.

    :param now: of the latest sales
    """

    def __init__(self, root: Path, now: datetime, seed: int = 7) -> None:
        self.now = now
        super().__init__(Lake(str(root)), lambda: datetime.now(UTC))
        self.sent: list[Message] = []
        self._rng = random.Random(seed)
        self._count = 0

    def send(self, partition: int, payloads: Any, sent_at: datetime | None = None, **more: Any) -> None:
        moment = sent_at or self.now
        first = self._ends.get(partition, 0)
        super().send(partition, payloads, moment, **more)
        self.sent += [
            Message(partition, first + place, moment, payload, TOPIC_ID) for place, payload in enumerate(payloads)
        ]

    @property
    def ends(self) -> dict[int, int]:
        return dict(self._ends)

    def fill(self) -> None:
        """All of the history, in one snapshot."""
        days = [*range(HISTORY_DAYS, 60, -6), *range(60, 0, -1), 0]
        for days_ago in days:
            midnight = (self.now - timedelta(days=days_ago)).replace(hour=0, minute=0, second=0, microsecond=0)
            hours = [hour for hour in OPENING_HOURS if midnight + timedelta(hours=hour, minutes=59) <= self.now]
            if not hours:
                hours = [0]
            for partition in range(PARTITIONS):
                times = [
                    min(
                        midnight + timedelta(hours=self._rng.choice(hours), seconds=self._rng.randrange(3600)), self.now
                    )
                    for _ in range(self._rng.randrange(8, 20))
                ]
                self.send(partition, self._payloads(sorted(times)), max(times) + timedelta(seconds=2))
        self.checkpoint()

    def sell(self, count: int = 5) -> None:
        """Some more sales of this moment, in a snapshot of their own."""
        self.send(self._count % PARTITIONS, self._payloads([self.now] * count))
        self.checkpoint()

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

    @property
    def oracle(self) -> Oracle:
        return Oracle(self.sent)


class SiteKafka:
    """What Kafka answers: what the lake has, and some messages more."""

    def __init__(self, ends: Callable[[], dict[int, int]]) -> None:
        self._ends = ends
        self.waiting = 0
        self.error: Exception | None = None

    def __call__(self) -> Observation:
        if self.error is not None:
            raise self.error
        return Observation(
            (),
            tuple(
                Partition("ventes", TOPIC_ID, number, 0, end + (self.waiting if number == 0 else 0))
                for number, end in self._ends().items()
            ),
            {
                name: Group(
                    f"salesviews-ventes-{name}",
                    "stable",
                    tuple(Member(f"{name}-{n}", "127.0.0.1", (f"ventes/{n}",)) for n in range(count)),
                    0,
                )
                for name, count in (("ingest", 2), ("views", 1))
            },
        )


class Site:
    """A server on a port of the loopback, that can be stopped and started again."""

    def __init__(self, lake: Lake, kafka: SiteKafka, home: Path) -> None:
        self._lake = lake
        self._home = home
        self.kafka = kafka
        self.port = ports.free()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._server: _Server | None = None
        self.snapshots: SnapshotStore | None = None
        self.pipeline: PipelineWatch | None = None

    def start(self) -> None:
        def now() -> datetime:
            return datetime.now(UTC)

        def last_audit() -> dict[str, Any] | None:
            return audit_result.last(self._home)

        store = SnapshotStore(self._lake, now)
        past = PastSnapshots(self._lake, History(self._lake, Retention(days=7, step_s=600), now))
        pipeline = PipelineWatch(self.kafka, now)
        feed = EventFeed(store, past.history, Answers(pipeline, now), last_audit)
        app = create_app(store, past, pipeline, now, last_audit, self._lake, feed=feed, access=Access("", "127.0.0.1"))
        server = _Server(Gateway(app, feed, THREADS), feed)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        for part in (store, pipeline, feed):
            part.start()
        self._parts = (feed, store, pipeline)
        self.pipeline, self.snapshots, self._server = pipeline, store, server
        # uvicorn takes signals in the main thread only: here it is ended by `stop`.
        self._thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), name="site", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._server is None:
            return
        self._server.should_exit = True
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the server did not end"
        for part in self._parts:
            part.close()
        self._server = None

    def __enter__(self) -> "Site":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> None:
    """Serve a site for looking at it: ``python site.py FOLDER [PORT]``."""
    import sys

    lake = SiteLake(Path(sys.argv[1]) / "lake", datetime.now(UTC).replace(minute=30))
    lake.fill()
    site = Site(lake.lake, SiteKafka(lambda: lake.ends), Path(sys.argv[1]) / "home")
    if len(sys.argv) > 2:
        site.port = int(sys.argv[2])
    with site:
        print(f"http://127.0.0.1:{site.port}/", flush=True)
        while True:
            time.sleep(5)
            lake.sell()


if __name__ == "__main__":
    main()
