import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from oracle import Oracle
from pipelines import WITH_A_VIEW, Pipeline, assert_audit_holds, assert_silver_is, in_total_order, silver

from salesviews import topics
from salesviews.simulation import market

SALES = 1_500
DAYS = 40


def produce(pipeline: Pipeline, first_id: int) -> None:
    producer = Producer(pipeline.settings.kafka_config)
    end = datetime.now(UTC)
    for batch in market.messages(first_id, SALES, end - timedelta(days=DAYS), end, 20, 5, first_id):
        for key, payload in batch:
            producer.produce(pipeline.settings.topic, payload, key=key)
    assert producer.flush(30) == 0


def rebuild(pipeline: Pipeline, command: Sequence[str] = ()) -> dict[str, Any]:
    options = ("rebuild", "--json")
    program = pipeline.start_process(
        *options, settings=pipeline.settings, command=[*command, *options] if command else None
    )
    assert program.wait() == 0, program.output
    result: dict[str, Any] = json.loads(program.output[program.output.index("\n{") :])
    return result


def test_a_rebuilt_generation_goes_on_where_bronze_ends(pipeline: Pipeline, eventually: Callable[..., Any]) -> None:
    """Law: a rebuild changes no figure where no rule changed, beside a live pipeline and without Silver; what comes
    after is counted on top of it, duplicates of what came before included.
    """
    for name in ("ingest-1", "views-1", "web-1"):
        pipeline.start(name)
    produce(pipeline, 1_000_000)
    eventually(lambda: pipeline.has_counted(SALES), 120, "the first sales counted")

    result = rebuild(pipeline)
    assert result["generation"] == 1
    assert result["order"] == "as they were counted before"
    assert not any(view["added"] or view["removed"] or view["changed"] for view in result["views"]), result
    pipeline.restart_what_ended()
    produce(pipeline, 1_000_000)
    eventually(lambda: pipeline.has_counted(2 * SALES, may_restart=True), 120, "the same sales again")
    assert pipeline.manifest().generation == 1
    assert not (pipeline.settings.state_folder / topics.views_group(pipeline.settings, 0)).exists()
    witness = Oracle(in_total_order(pipeline))
    assert_silver_is(pipeline, witness)
    assert_audit_holds(pipeline)

    for program in pipeline.programs.values():
        program.terminate()
    pipeline.programs.clear()
    shutil.rmtree(Path(pipeline.settings.lake) / "silver")
    shutil.rmtree(pipeline.settings.state_folder)
    views = pipeline.start_process("views", settings=pipeline.settings)
    assert views.wait() == 1
    assert "`salesviews rebuild`" in views.output.splitlines()[-1]
    assert not (Path(pipeline.settings.lake) / "silver").exists()

    result = rebuild(pipeline, command=WITH_A_VIEW)
    assert result["generation"] == 2, "a number is not given twice, though Silver knows of none"
    assert "there were no figures before" in result["order"]
    views = pipeline.start_process("views", settings=pipeline.settings)
    assert views.wait() == 1
    assert "other rules or views" in views.output.splitlines()[-1]
    for name in ("ingest-1", "views-1"):
        pipeline.start(name, command=WITH_A_VIEW)
    produce(pipeline, 2_000_000)
    eventually(lambda: pipeline.has_counted(3 * SALES), 120, "more sales")
    witness = Oracle(in_total_order(pipeline))
    assert_silver_is(pipeline, witness)
    expected: dict[tuple[Any, ...], int] = defaultdict(int)
    for sale in witness.ventes_clean:
        expected[sale["categorie"] or "inconnu", sale["timestamp"].date()] += 1
    added = silver(pipeline, "ventes_par_categorie")
    assert {(row["categorie"], row["jour"]): row["ventes_count"] for row in added} == expected
