import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lakes import START
from stages import Ingest, Views, World

from processors.views import delete_older_state
from salesviews import lake, manifest, topics
from salesviews import settings as settings_module
from salesviews.errors import FencedError, GapError, StateError


def test_state_of_older_generations_goes(tmp_path: Path) -> None:
    """Law: of an instance's own state, and no other, only that of generations which count no more is deleted."""
    mine = settings_module.read({"SALESVIEWS_HOME": str(tmp_path)})
    other = settings_module.read({"SALESVIEWS_HOME": str(tmp_path), "SALESVIEWS_TOPIC": "ventes-2"})
    stays = {topics.views_group(mine, 3), topics.views_group(mine, 4), topics.views_group(other), "else"}
    for name in {topics.views_group(mine, number) for number in (0, 1, 2)} | stays:
        (mine.state_folder / name / "store").mkdir(parents=True)
    delete_older_state(mine, 3)
    assert {folder.name for folder in mine.state_folder.iterdir()} == stays


def sale(number: int) -> bytes:
    fields = {"vente_id": number, "client_id": 1, "timestamp": "2026-02-27T11:30:00", "quantite": 2, "montant": 10.5}
    return json.dumps(fields).encode()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Some sales are counted, and in a snapshot."""
    made = World(tmp_path)
    with made.entered():
        sell(made, range(5))
        views = Views(made)
        views.take(10)
        views.checkpoint()
        yield made


def sell(world: World, numbers: range) -> None:
    world.kafka.produce(0, [sale(number) for number in numbers], START)
    ingest = Ingest(world)
    ingest.read({0: 100}, 1_000_000, is_sent=True)
    ingest.checkpoint()


def served(world: World) -> manifest.Manifest:
    found = manifest.read(world.lake)
    assert found is not None
    return found


def test_a_snapshot_is_made_of_what_a_process_that_died_had_committed(world: World) -> None:
    """Law: a snapshot that is owed is written by the next process, though no sale comes; once."""
    sell(world, range(5, 9))
    died = Views(world)
    died.take(10)
    died._checkpoint()
    assert served(world).sequence < died._stage._sequence
    heir = Views(world)
    heir._stage.turn()
    written = served(world)
    assert written.sequence == died._stage._sequence
    heir._stage.turn()
    assert served(world) == written
    assert {
        json.loads(value)["ventes_count"]
        for (topic, _), value in world.served.published.items()
        if topic == "vues-hourly_sales"
    } == {9}


def test_state_of_another_format_is_refused(world: World) -> None:
    """Law: what a program wrote that had a window a key is never gone on from: it is named, and so is the way over."""
    del world.served.views_state["format"]
    views = Views(world)
    with pytest.raises(StateError, match=r"format 1; this program has 2.*salesviews rebuild.*served meanwhile"):
        views._stage.turn()


@pytest.mark.parametrize("table", [lake.CLEAN, lake.REJECTED], ids=lambda table: table.name)
def test_a_silver_that_lacks_what_was_counted_is_refused(world: World, table: lake.Table) -> None:
    """Law: nothing is added to an appended table that does not reach to where counting goes on: a hole would stay."""
    world.kafka.produce(0, [b"{"], START)
    sell(world, range(5, 6))
    views = Views(world)
    views.take(10)
    views.checkpoint()
    shutil.rmtree(world.lake.uri(table))
    views = Views(world)
    with pytest.raises(GapError, match=rf"{table.name} in .* were counted.*salesviews rebuild"):
        views._stage.turn()


def test_who_lost_the_typed_batches_meanwhile_ends(world: World) -> None:
    """Law: a process to which typed batches come that do not join on those it counted adds nothing."""
    sleeper = Views(world)
    sell(world, range(5, 6))
    sleeper.take(1)
    sell(world, range(6, 7))
    sell(world, range(7, 8))
    sleeper._next += 1
    with pytest.raises(FencedError, match="another views process counted in between"):
        sleeper.take(10)
