"""What ``up`` and ``demo`` run, and on which folder; the processes themselves are in tests/integration/test_demo.py."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from salesviews import settings as settings_module
from salesviews.machine import instance, ports
from salesviews.machine.instance import Stage

TIMEOUT_S = 30.0


@pytest.fixture
def nowhere() -> dict[str, str]:
    """An environment with a Kafka that never answers: an instance stays where it waits for it."""
    return {"SALESVIEWS_BROKER": f"127.0.0.1:{ports.free()}", "SALESVIEWS_PORT": str(ports.free())}


def test_an_embedded_broker_is_started_only_where_none_is_named() -> None:
    """Without SALESVIEWS_BROKER the broker is the first part; with it there is none."""
    embedded = instance.parts(settings_module.read({}))
    assert [part.name for part in embedded] == ["broker", "topics", "views", "ingest-1", "web", "maintain"]
    named = instance.parts(settings_module.read({"SALESVIEWS_BROKER": "kafka.example:9092"}))
    assert [part.name for part in named] == ["topics", "views", "ingest-1", "web", "maintain"]


def test_each_ingest_process_has_a_name_of_its_own() -> None:
    """SALESVIEWS_INGEST_PROCESSES of them, told apart by SALESVIEWS_INSTANCE."""
    parts = instance.parts(settings_module.read({"SALESVIEWS_INGEST_PROCESSES": "3"}))
    ingest = [part for part in parts if part.stage == Stage.INGEST]
    assert [part.variables["SALESVIEWS_INSTANCE"] for part in ingest] == ["1", "2", "3"]
    assert len({part.name for part in ingest}) == 3


def test_two_instances_never_share_a_home(
    tmp_path: Path, nowhere: dict[str, str], start_process: Callable, eventually: Callable
) -> None:
    """A second `up` on the same folder is refused, with the process that has it and the settings to change."""
    environment = nowhere | {"SALESVIEWS_HOME": str(tmp_path / "home")}
    first = start_process("up", environment=environment)
    eventually(lambda: "Waiting for Kafka" in first.output, TIMEOUT_S, "the first one has the folder")
    second = start_process("up", environment=environment)
    assert second.wait() == 1
    assert f"process {first.pid}" in second.output
    for name in ("SALESVIEWS_HOME", "SALESVIEWS_PORT", "SALESVIEWS_KAFKA_PORT"):
        assert name in second.output
    assert first.terminate() == 0


@pytest.mark.parametrize("setting", ["SALESVIEWS_PORT", "SALESVIEWS_KAFKA_PORT"])
def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path, start_process: Callable, setting: str) -> None:
    """The web server's and the broker's port are checked first; the message names port and setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = {"SALESVIEWS_PORT": str(ports.free()), "SALESVIEWS_KAFKA_PORT": str(ports.free())}
        program = start_process(
            "up", environment=free | {setting: str(port), "SALESVIEWS_HOME": str(tmp_path / "home")}
        )
        assert program.wait() == 1
    assert f":{port} " in program.output
    assert setting in program.output
    assert "|" not in program.output


def test_a_demo_begins_on_a_fresh_folder(
    tmp_path: Path, nowhere: dict[str, str], start_process: Callable, eventually: Callable
) -> None:
    """What the last demo left is deleted, and nothing that a link in it points to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    home = tmp_path / "data" / "demo"
    first = start_process("demo", environment=nowhere, folder=tmp_path)
    eventually(lambda: "Waiting for Kafka" in first.output, TIMEOUT_S, "the first demo waits")
    assert first.terminate() == 0
    (home / "lake").mkdir()
    (home / "lake" / "old").touch()
    (home / "link").symlink_to(outside)
    second = start_process("demo", environment=nowhere, folder=tmp_path)
    eventually(lambda: "Waiting for Kafka" in second.output, TIMEOUT_S, "the second demo waits")
    assert {path.name for path in home.iterdir()} == {instance.DEMO_MARKER, "lock"}
    assert (outside / "kept").exists()


def test_a_demo_deletes_nothing_that_no_demo_wrote(
    tmp_path: Path, nowhere: dict[str, str], start_process: Callable
) -> None:
    """./data/demo with other content is refused and left as it is."""
    mine = tmp_path / "data" / "demo" / "mine"
    mine.parent.mkdir(parents=True)
    mine.touch()
    program = start_process("demo", environment=nowhere, folder=tmp_path)
    assert program.wait() == 2
    assert str(mine.parent) in program.output
    assert [path.name for path in mine.parent.iterdir()] == ["mine"]


def test_a_demo_keeps_the_home_that_it_is_given(
    tmp_path: Path, nowhere: dict[str, str], start_process: Callable, eventually: Callable
) -> None:
    """With SALESVIEWS_HOME the demo runs on that folder and deletes nothing in it."""
    mine = tmp_path / "home" / "mine"
    mine.parent.mkdir()
    mine.touch()
    program = start_process("demo", environment=nowhere | {"SALESVIEWS_HOME": str(mine.parent)}, folder=tmp_path)
    eventually(lambda: "Waiting for Kafka" in program.output, TIMEOUT_S, "the demo waits")
    assert mine.exists()
    assert not (tmp_path / "data").exists()


def test_a_demo_on_another_kafka_takes_a_topic_of_its_own(
    nowhere: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a fresh folder and a Kafka that other demos use, their messages do not count; a named topic stays."""
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(instance.supervisor, "run", lambda _, variables: seen.append(variables["SALESVIEWS_TOPIC"]))
    instance.demo(nowhere, 1.0)
    instance.demo(nowhere, 1.0)
    instance.demo(nowhere | {"SALESVIEWS_TOPIC": "mine"}, 1.0)
    assert all(re.fullmatch(r"ventes-demo-\d+", topic) for topic in seen[:2])
    assert len(set(seen)) == 3
    assert seen[2] == "mine"
