"""A small lake of dirty sales with its witness: what was sent, in the total order, and the oracle of it.

The sales have few products, countries, segments, days and hours, so that every figure of the lake can be asked for; and
every kind of dirt: rejections, duplicates (some with other content, some in the other partition), oddities, late ones.
"""

import copy
import json
import random
import shutil
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lakes import START, TOPIC_ID, LakeMaker
from oracle import Message, Oracle

from salesviews import manifest
from salesviews.event import Motif
from salesviews.lake import Lake
from salesviews.manifest import Manifest
from salesviews.simulation import dirt

Headers = list[tuple[str, bytes | None]] | None

EXTREME: tuple[dict[str, Any], ...] = (
    {"montant": "9999999999999999.99", "quantite": 2**63 - 1, "produit_nom": "cher"},
    {"montant": "9999999999999999.99", "quantite": 2**63 - 1, "produit_nom": "cher", "client_id": -(2**63)},
    {"produit_nom": "nul \x00 ici", "pays": ""},
    {"pays": "Côte d'Ivoire", "categorie": '" OR 1=1 --'},
    {"montant": 17.985, "timestamp": "2026-02-27T00:30:00+01:00"},
    {"timestamp": "2026-02-27T09:59:59.999700"},
    {"timestamp": "2026-02-27T10:00:00"},
)


@dataclass
class Sent:
    """A message, and the key and headers that it had beside its payload."""

    message: Message
    key: bytes | None
    headers: Headers


@dataclass
class WitnessedLake(LakeMaker):
    """A lake maker that remembers what it was sent."""

    root: Path
    sent: list[Sent] = field(default_factory=list)
    snapshots: list[int] = field(default_factory=list)
    """For each snapshot, how many messages were sent before it."""

    def __post_init__(self) -> None:
        super().__init__(Lake(str(self.root)))

    def send(self, partition: int, payloads: Any, sent_at: datetime = START, skipped: int = 0, **more: Any) -> None:
        first = self._ends.get(partition, 0) + skipped
        keys = [None if place % 3 else b"cl\xc3\xa9-%d" % place for place in range(len(payloads))]
        headers: list[Headers] = [
            None if place % 4 else [("source", b"test"), ("brut", b"\xff\x00"), ("source", None)]
            for place in range(len(payloads))
        ]
        super().send(partition, payloads, sent_at, skipped, keys=keys, headers=headers, **more)
        self.sent += [
            Sent(Message(partition, first + place, sent_at, payload, TOPIC_ID), keys[place], headers[place])
            for place, payload in enumerate(payloads)
        ]

    def restart(self) -> None:
        super().restart()
        del self.sent[self.snapshots[-1] :]

    def checkpoint(self) -> None:
        super().checkpoint()
        self.snapshots.append(len(self.sent))

    def manifest(self, number: int = -1) -> Manifest:
        """The manifest of a snapshot, counted from the first; default: the newest."""
        found = manifest.read(self.lake, None if number == -1 else number + 2)
        assert found is not None
        return found

    def copy(self, root: Path) -> "WitnessedLake":
        """The same lake in another folder, to be damaged; it is not written to any more."""
        shutil.copytree(self.root, root)
        copied = copy.copy(self)
        copied.root, copied.lake = root, Lake(str(root))
        copied.sent, copied.snapshots = list(self.sent), list(self.snapshots)
        return copied

    def oracle(self, number: int = -1) -> Oracle:
        """The witness of a snapshot."""
        return Oracle(sent.message for sent in self.sent[: self.snapshots[number]])


def sale(rng: random.Random, vente_id: int, now: datetime) -> dict[str, Any]:
    """An ordinary sale of the small market, up to two days old."""
    back = rng.choice([timedelta(0), timedelta(minutes=50), timedelta(days=1), timedelta(days=2)])
    return {
        "vente_id": vente_id,
        "client_id": rng.randrange(1, 7),
        "produit_id": rng.randrange(100, 103),
        "timestamp": (now - back - timedelta(seconds=rng.randrange(3000))).isoformat()[:19],
        "quantite": rng.randrange(1, 5),
        "montant": rng.randrange(1, 100_000) / 100,
        "client_nom": "Zoé",
        "produit_nom": rng.choice(["Café", "Thé"]),
        "categorie": rng.choice(["Épicerie", "Boissons"]),
        "pays": rng.choice(["France", "UK"]),
        "segment": rng.choice(["Pro", "Particulier"]),
    }


def payloads(rng: random.Random, count: int, first_id: int, now: datetime, known: list[bytes]) -> list[bytes | None]:
    """Messages, half of them dirty.

    :param known: valid sales, to be sent again; those made here are added
    """
    made: list[bytes | None] = []
    for vente_id in range(first_id, first_id + count):
        payload = json.dumps(sale(rng, vente_id, now), ensure_ascii=False).encode()
        kind = rng.random()
        if kind < 0.15:
            made.append(rng.choice(dirt.SHAPES[rng.choice(list(Motif))])(payload))
        elif kind < 0.35 and known:
            again = rng.choice(known)
            made.append(rng.choice([*dirt.CONFLICTS, lambda same: same])(again))
        elif kind < 0.5:
            made.append(rng.choice(dirt.ODDITIES)(payload))
        else:
            known.append(payload)
            made.append(payload)
    return made


def make(root: Path, seed: int, count: int = 84) -> WitnessedLake:
    """A lake of three snapshots, from the end of a month into the next, in two partitions, with gaps and losses."""
    rng = random.Random(seed)
    made = WitnessedLake(root)
    known: list[bytes] = []
    next_id = 1
    for place, hours in enumerate((0, 9, 18, 27, 27, 45)):
        now = START + timedelta(hours=hours, minutes=rng.randrange(60))
        batch = payloads(rng, count // 6, next_id, now, known)
        next_id += count // 6
        if place == 2:
            for fields in EXTREME:
                batch.append(json.dumps(sale(rng, next_id, now) | fields, ensure_ascii=False).encode())
                next_id += 1
        # Out of bounds: in a month that has sales, and under a day of that month.
        soon = {"timestamp": f"{now + timedelta(days=1, minutes=10):%Y-%m-%dT%H:%M:%S}"}
        batch.append(json.dumps(sale(rng, next_id, now) | soon).encode())
        next_id += 1
        made.send(place % 2, batch, now, skipped=2 * (place % 3), lost=place % 3)
        if place % 2:
            made.checkpoint()
    return made


def make_years(root: Path, seed: int) -> WitnessedLake:
    """A lake of 15 months to ``START``, one of them without sales, in one snapshot."""
    rng = random.Random(seed)
    made = WitnessedLake(root)
    next_id = 1
    for months_ago in range(14, -1, -1):
        if months_ago in (8, 9):
            continue
        known: list[bytes] = []  # duplicates are found within the horizon only
        for days_ago in sorted(rng.sample(range(28), 4), reverse=True):
            now = START - timedelta(days=31 * months_ago + days_ago, minutes=rng.randrange(600))
            batch = payloads(rng, 14, next_id, now, known)
            next_id += 14
            made.send(days_ago % 2, batch, now)
    made.checkpoint()
    return made
