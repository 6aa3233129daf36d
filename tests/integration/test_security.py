"""Kafka behind TLS and SCRAM: the whole pipeline with credentials, and nobody without."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import secured_broker
from pipelines import Pipeline, assert_audit_holds

from salesviews import topics
from salesviews.settings import Settings

pytestmark = pytest.mark.usefixtures("start_broker")

SALES = 500


def test_the_pipeline_works_with_credentials(
    secured: Settings,
    start_process: Callable[..., Any],
    eventually: Callable[..., Any],
    free_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    """Law: every client of the project proves who it is: from the generator to the audit, all is as without TLS.

    And nothing that a process says shows the password.
    """
    place = {"home": tmp_path / "home", "lake": str(tmp_path / "lake"), "topic": "ventes-with-credentials"}
    intervals = {"bronze_interval_s": 1.0, "snapshot_interval_s": 1.0}
    used = replace(secured, port=free_port(), log_level="debug", **place, **intervals)
    pipeline = Pipeline(used, start_process)
    topics.create(used)
    for name in ("ingest-1", "views-1", "web-1"):
        pipeline.start(name)
    generator = start_process("generate", "--sales", str(SALES), "--dirty", "10", settings=used)
    assert generator.wait() == 0, generator.output
    eventually(lambda: pipeline.has_counted(SALES), 120, "the sales counted")
    assert pipeline.run("replay")["complete"] is True
    status = eventually(lambda: _status(pipeline), 60, "the web server knows Kafka")
    assert status["processors"]["ingest"]["state"] == "stable"
    pipeline.programs.update(generator=generator)
    assert_audit_holds(pipeline)
    for program in pipeline.programs.values():
        assert secured_broker.PASSWORD not in program.output
    assert secured_broker.PASSWORD not in repr(used)
    assert secured_broker.PASSWORD not in requests.get(f"{used.url}/api/status", timeout=10).text


def _status(pipeline: Pipeline) -> Any:
    status = pipeline.get("/api/status")["data"]
    return status if status["processors"] else None


@pytest.mark.parametrize(
    "client",
    [
        {"kafka_security_protocol": "plaintext"},
        {"kafka_security_protocol": "ssl"},
        {"kafka_password": "wrong-password"},
        {"kafka_ca_file": ""},
    ],
    ids=["without TLS", "without a name", "with a wrong password", "that does not know the authority"],
)
def test_a_client_is_refused(secured: Settings, start_process: Callable[..., Any], client: dict[str, str]) -> None:
    """Law: a client that does not prove who it is, or to which Kafka does not, ends with status 1 and the reason."""
    program = start_process("topics", "--wait", "3", settings=replace(secured, **client))
    assert program.wait() == 1
    assert "did not answer" in program.output
    assert "Traceback" not in program.output
    assert "wrong-password" not in program.output
