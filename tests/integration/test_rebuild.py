import json
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from oracle import Oracle
from pipelines import Pipeline, assert_silver_is, in_total_order

from salesviews import market

SALES = 1_500
DAYS = 40


def produce(pipeline: Pipeline, first_id: int) -> None:
    producer = Producer(pipeline.settings.kafka_config)
    end = datetime.now(UTC)
    for batch in market.messages(first_id, SALES, end - timedelta(days=DAYS), end, 20, 5, first_id):
        for key, payload in batch:
            producer.produce(pipeline.settings.topic, payload, key=key)
    assert producer.flush(30) == 0


def rebuild(pipeline: Pipeline, *options: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    program = pipeline.start_process("rebuild", "--json", *options, settings=pipeline.settings, environment=environment)
    assert program.popen.wait(120) == 0, program.output
    result: dict[str, Any] = json.loads(program.output[program.output.index("\n{") :])
    return result


def assert_audit_holds(pipeline: Pipeline) -> None:
    audit = pipeline.start_process("audit", settings=pipeline.settings)
    assert audit.popen.wait(120) == 0, audit.output


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
    witness = Oracle(in_total_order(pipeline))
    assert_silver_is(pipeline, witness)
    assert_audit_holds(pipeline)

    for program in pipeline.programs.values():
        program.terminate()
    pipeline.programs.clear()
    shutil.rmtree(Path(pipeline.settings.lake) / "silver")
    shutil.rmtree(pipeline.settings.state_folder)
    result = rebuild(pipeline)
    assert "there were no figures before" in result["order"]
    for name in ("ingest-1", "views-1"):
        pipeline.start(name)
    produce(pipeline, 2_000_000)
    eventually(lambda: pipeline.has_counted(3 * SALES), 120, "more sales")
    assert_silver_is(pipeline, Oracle(in_total_order(pipeline)))
    assert_audit_holds(pipeline)
