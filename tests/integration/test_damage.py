"""Damaged files of the lake: who reads them next recovers, or ends with an error that names them.

    pytest tests/integration/test_damage.py --damages 100 --damage-seed 7

Of silent changes inside the data of Bronze and of the appended Silver tables nothing but the audit knows: these files
have no digest. Everything else that is damaged must show by itself.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from lakes import DEDUP_DAYS, START
from pipelines import comparable
from stages import Ingest, Views, World

from salesviews import audit, lake, manifest
from salesviews.errors import SalesviewsError
from salesviews.lake import Lake, Table
from salesviews.tables import files
from salesviews.views import HOURLY_SALES, TOP_PRODUITS, VENTES_PAR_PAYS
from sinks.bronze import stream_name
from web.snapshot import SnapshotStore, short_name

SALES = 40
"""Of each partition before each snapshot."""
SNAPSHOTS = 4

Tables = dict[str, Counter[str]]


class Harm(StrEnum):
    FLIP = "a bit is another"
    ZERO = "some bytes are zero"
    CUT = "its end is missing"
    EMPTY = "it is empty"
    GONE = "it is gone"

    def do(self, file: Path, rng: random.Random) -> None:
        content = bytearray(file.read_bytes())
        place = rng.randrange(max(len(content), 1))
        match self:
            case Harm.FLIP:
                content[place] ^= 1 << rng.randrange(8)
            case Harm.ZERO:
                length = min(rng.choice((1, 8, 64, 512)), len(content) - place)
                content[place : place + length] = bytes(length)
            case Harm.CUT:
                del content[place:]
            case Harm.EMPTY:
                content.clear()
            case Harm.GONE:
                file.unlink()
                return
        file.write_bytes(content)


LOUD = (Harm.CUT, Harm.EMPTY, Harm.GONE)
"""Harm to a Parquet file that no reader can miss."""


def data_of(source: Lake, table: Table) -> list[Path]:
    found = manifest.read(source)
    assert found is not None
    listed = found.listing(source, table) if table.name in found.tables else files.listing(source, table)
    return [Path(source.uri(table)) / path for paths in listed.files.values() for path in paths]


def log_of(pattern: str) -> Callable[[Lake, Table], list[Path]]:
    return lambda source, table: list((Path(source.uri(table)) / "_delta_log").glob(pattern))


def last_of(pattern: str) -> Callable[[Lake, Table], list[Path]]:
    return lambda source, table: sorted(log_of(pattern)(source, table))[-1:]


@dataclass(frozen=True)
class Target:
    """Files that can be harmed, and how."""

    table: Table
    what: str
    find: Callable[[Lake, Table], list[Path]]
    harms: tuple[Harm, ...] = tuple(Harm)

    def __str__(self) -> str:
        return f"{self.table.name.rpartition('/')[2]} {self.what}"


WRITTEN_ONCE = (lake.BRONZE, lake.CLEAN, lake.REJECTED)
SERVED = (lake.of_view(HOURLY_SALES), lake.of_view(VENTES_PAR_PAYS), lake.of_roll_up(TOP_PRODUITS))
TARGETS = [
    *(Target(table, "data", data_of, LOUD) for table in WRITTEN_ONCE),
    *(Target(table, "data", data_of) for table in (*SERVED, lake.SNAPSHOTS)),
    *(
        Target(table, what, find)
        for table in (*WRITTEN_ONCE, *SERVED, lake.SNAPSHOTS)
        for what, find in (
            ("log", log_of("*.json")),
            ("last log entry", last_of("*.json")),
            ("log checkpoint", log_of("*.checkpoint*.parquet")),
            ("pointer to the log checkpoint", log_of("_last_checkpoint")),
        )
    ),
]


def sale(vente_id: int) -> bytes:
    sold = {"client_id": vente_id % 7, "timestamp": f"2026-0{1 + vente_id % 2}-20T{vente_id % 24:02}:30:00Z"}
    named = {"produit_nom": f"produit {vente_id % 5}", "pays": ["France", "UK", None][vente_id % 3]}
    return json.dumps({"vente_id": vente_id, "quantite": 1, "montant": vente_id / 4} | sold | named).encode()


class Pipeline:
    """A home in which the stages work, each of them as a new process at each step."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.world = World(home)
        self.store = SnapshotStore(self.world.lake, lambda: START)

    def copy(self, home: Path) -> "Pipeline":
        shutil.copytree(self.home, home)
        made = Pipeline(home)
        made.world.kafka = deepcopy(self.world.kafka)
        return made

    def produce(self, first_id: int) -> None:
        """New sales, all earlier ones again, and some that do not count."""
        for partition in range(2):
            ids = range(first_id + partition, first_id + SALES, 2)
            again = range(partition, first_id, 2)
            self.world.kafka.produce(partition, [*map(sale, ids), *map(sale, again), None, b"{"], START)

    def ingest(self) -> None:
        process = Ingest(self.world)
        process.read({0: 10_000, 1: 10_000}, 1_000_000, True)
        process.checkpoint()

    def views(self) -> None:
        process = Views(self.world)
        while process.take(2):
            pass
        process.checkpoint()

    def served(self) -> tuple[int, Tables]:
        self.store.refresh()
        with self.store.read() as snapshot:
            return snapshot.manifest.id, {
                table.name: comparable(snapshot._cursor.sql(f'FROM "{short_name(table)}"').to_arrow_table().to_pylist())
                for table in lake.OVERWRITTEN
            }

    def audit(self) -> bool:
        return audit.run(self.world.lake, audit.Options(DEDUP_DAYS, wait_s=0), stream_name).holds


@dataclass(frozen=True)
class Sound:
    """:param served: what each snapshot shows; the last one is that of ``go_on``"""

    pipeline: Pipeline
    served: dict[int, Tables]


def go_on(pipeline: Pipeline) -> list[Exception]:
    """New processes of each kind, with more messages. Gives the errors with which they ended."""
    pipeline.produce(SNAPSHOTS * SALES)
    errors: list[Exception] = []
    with pipeline.world.entered():
        for process in (pipeline.ingest, pipeline.views):
            try:
                process()
            except SalesviewsError as error:
                errors.append(error)
    return errors


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    folder = tmp_path_factory.mktemp("sound")
    made = Pipeline(folder / "home")
    served: dict[int, Tables] = {}
    with made.world.entered():
        for number in range(SNAPSHOTS):
            made.produce(number * SALES)
            made.ingest()
            made.views()
            served |= [made.served()]
            if number == 1:
                for table in (lake.BRONZE, *lake.SILVER, lake.SNAPSHOTS):
                    made.world.lake.open(table).create_checkpoint()
    after = made.copy(folder / "after")
    assert go_on(after) == []
    served |= [after.served()]
    assert len(served) == SNAPSHOTS + 1
    return Sound(made, served)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_damage_is_mended_or_named_and_never_served(
    sound: Sound, target: Target, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Law: after any damage, new processes come to the exact figures or end with an error that names what is damaged.

    What is served meanwhile is what some snapshot showed when it was made.
    """
    for number in range(pytestconfig.getoption("damages")):
        seed = f"{target} {pytestconfig.getoption('damage_seed')} {number}"
        rng = random.Random(seed)
        home = tmp_path / str(number)
        harmed = sound.pipeline.copy(home)
        file = rng.choice(sorted(target.find(harmed.world.lake, target.table)))
        harm = target.harms[number % len(target.harms)]
        harm.do(file, rng)
        errors: list[Any] = go_on(harmed)
        try:
            identity, shown = harmed.served()
        except SalesviewsError as error:
            errors.append(error)
        else:
            what = f"seed {seed!r}: of {file}, {harm}; errors: {errors}"
            assert shown == sound.served[identity], f"wrong figures are served; {what}"
            assert errors or identity == max(sound.served), f"an old snapshot is served and nobody ended; {what}"
        try:
            harmed.audit()
        except SalesviewsError as error:
            errors.append(error)
        for error in errors:
            is_named = (
                file.name in str(error) or target.table.name in str(error) or harmed.world.lake.root in str(error)
            )
            assert is_named, f"seed {seed!r}: of {file}, {harm}; the error does not say so: {error}"
        harmed.store.close()
        shutil.rmtree(home)
