import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from confluent_kafka import TopicPartition
from groups import set_offsets
from oracle import Oracle
from pipelines import Pipeline, Sales, assert_silver_is, in_total_order

from salesviews import lake, topics
from salesviews.tables import files

SALES = 1_500


class Watch(threading.Thread):
    """Asks the API all the time inside of a ``with``, and notes each answer that cannot be right."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._over = threading.Event()
        self.seen: dict[int, int] = {}
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self._over.wait(0.1):
            try:
                quality, products = map(self._pipeline.get, ("/api/quality", "/api/top_products?limit=1000"))
            except requests.RequestException:
                continue  # it is starting, or no snapshot is there yet
            data, snapshot = quality["data"], quality["snapshot"]
            covered = sum(place["offset"] for place in snapshot["positions"])
            if data["received"] > covered or data["lost"]:
                self.wrong.append(f"{data} of {covered} positions")
            if snapshot["id"] == products["snapshot"]["id"]:
                sold = sum(row["ventes_count"] for row in products["data"])
                if sold != data["valid"]:
                    self.wrong.append(f"{sold} sales in the products, {data['valid']} counted")
                self.seen[snapshot["id"]] = data["valid"]

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def check(self) -> None:
        """Fails if a figure was wrong or went back, or if it has seen nothing."""
        assert self.wrong == []
        assert len(self.seen) > 3
        counts = [self.seen[snapshot] for snapshot in sorted(self.seen)]
        assert counts == sorted(counts)


def test_bronze_comes_back_while_everything_runs(pipeline: Pipeline, eventually: Callable[..., Any]) -> None:
    """Law: Bronze deleted wholly, then partly, then a group that was set to the end: each time one `replay` mends it,
    ingest goes on by itself, no figure is ever wrong, and the audit and the witness agree.
    """
    pipeline.start_supervised()
    with Watch(pipeline) as watch:
        with Sales(pipeline.settings, 1) as sales:
            eventually(lambda: pipeline.has_counted(SALES), 120, "the first sales counted")
            delete_bronze(pipeline, eventually)
            damage_bronze(pipeline, eventually)
        eventually(pipeline.has_counted_all, 120, "all sales counted")
        assert pipeline.run("audit")["holds"]
        set_the_group_to_the_end(pipeline, sales, eventually)
        eventually(pipeline.has_counted_all, 120, "all sales counted")
        assert pipeline.run("audit")["holds"]
        assert pipeline.run("replay")["added"] == 0
    watch.check()
    assert_silver_is(pipeline, Oracle(in_total_order(pipeline)))


def delete_bronze(pipeline: Pipeline, eventually: Callable[..., Any]) -> None:
    output = pipeline.programs["up"]
    shutil.rmtree(pipeline.lake.uri(lake.BRONZE))
    eventually(lambda: "`salesviews replay`" in output.output, 60, "ingest refuses to go on without Bronze")
    result = pipeline.run("replay")
    assert result["complete"]
    assert result["added"] >= SALES / 2


def damage_bronze(pipeline: Pipeline, eventually: Callable[..., Any]) -> None:
    version = files.listing(pipeline.lake, lake.BRONZE).version
    eventually(lambda: files.listing(pipeline.lake, lake.BRONZE).version > version + 1, 60, "ingest appends again")
    pipeline.lake.open(lake.BRONZE).delete("vente_id % 3 = 0")
    named = files.listing(pipeline.lake, lake.BRONZE).files.values()
    found = sorted(Path(pipeline.lake.uri(lake.BRONZE)) / path for paths in named for path in paths)
    truncated = max(found, key=lambda file: file.stat().st_size)
    truncated.write_bytes(truncated.read_bytes()[:-10])
    for file in found[::3]:
        if file != truncated:
            file.unlink()
    result = pipeline.run("replay", "--drop-unreadable")
    assert result["complete"]
    assert result["added"]
    assert [Path(file).name for file in result["files_unreadable"]] == [truncated.name]


def set_the_group_to_the_end(pipeline: Pipeline, sales: Sales, eventually: Callable[..., Any]) -> None:
    assert pipeline.programs.pop("up").terminate() == 0
    sales.send(SALES)
    ends = pipeline.ends(pipeline.settings.topic)
    places = [TopicPartition(pipeline.settings.topic, partition, end) for partition, end in ends.items()]
    group = topics.ingest_group(pipeline.settings)
    eventually(lambda: set_offsets(pipeline.settings, group, places), 60, "the group's offsets set to the ends")
    typed_ends = pipeline.ends(topics.typees(pipeline.settings).name)
    pipeline.start_supervised()
    sales.send(SALES)
    output = pipeline.programs["up"]
    eventually(lambda: "`salesviews replay`" in output.output, 60, "ingest refuses to leave out what was not read")
    assert pipeline.ends(topics.typees(pipeline.settings).name) == typed_ends
    assert pipeline.run("replay")["complete"]
