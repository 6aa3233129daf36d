"""The whole pipeline with its lake in an object store, which is killed in the middle."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from object_store import ObjectStore
from pipelines import Pipeline, Sales, assert_everything_is_exact

from salesviews import topics
from salesviews.settings import PREFIX, Settings


@pytest.fixture
def pipeline(
    store: ObjectStore,
    settings: Callable[..., Settings],
    start_process: Callable[..., Any],
    free_port: Callable[[], int],
) -> Iterator[Pipeline]:
    stored = {name.removeprefix(PREFIX): value for name, value in store.variables("pipeline/lake").items()}
    used = settings(PORT=free_port(), PARTITIONS=3, BRONZE_INTERVAL_S=1, SNAPSHOT_INTERVAL_S=1, **stored)
    topics.create(used)
    made = Pipeline(used, start_process)
    yield made
    for program in made.programs.values():
        program.close()


def test_every_figure_is_exact_though_the_store_and_processes_are_killed(
    pipeline: Pipeline, store: ObjectStore, eventually: Callable[..., Any]
) -> None:
    """Law: two ingest processes, views and web on one lake in an object store; one is killed, then the store itself.

    All is as in a folder: tables and topics are what the witness says, and each command works.
    """
    for name in ("ingest-1", "ingest-2", "views-1", "web-1"):
        pipeline.start(name)
    sales = Sales(pipeline.settings, 1)
    with sales:
        eventually(lambda: pipeline.has_counted(300), 120, "the first sales counted")
        pipeline.kill_and_restart("ingest-1")
        store.kill()
        before = sales.sent
        eventually(lambda: sales.sent >= before + 600, 60, "sales sent while there is no store")
        store.start()
        seen = sales.sent
        eventually(lambda: pipeline.has_counted(seen, may_restart=True), 180, "sales counted after the store came back")
        pipeline.kill_and_restart("views-1")
    eventually(lambda: pipeline.has_counted(0, may_restart=True) and pipeline.has_counted_all(), 180, "all counted")
    assert_everything_is_exact(pipeline)

    newest = pipeline.manifest()
    assert newest is not None
    shown = eventually(lambda: _served(pipeline, newest.id), 60, "the newest snapshot served")
    assert sum(row["ventes_count"] for row in shown["data"]) > 0
    assert pipeline.run("maintain")["problems"] == []
    assert pipeline.run("replay")["complete"] is True
    again = pipeline.run("rebuild", "--dry-run")
    assert again["valid"] == sum(row["ventes_count"] for row in shown["data"])
    assert pipeline.get(f"/api/lineage?vente_id={sales.first_id}")["data"]["messages"]
    assert_everything_is_exact(pipeline)


def _served(pipeline: Pipeline, snapshot: int) -> Any:
    answer = pipeline.get("/api/top_products?limit=100")
    return answer if answer["snapshot"]["id"] >= snapshot else None
