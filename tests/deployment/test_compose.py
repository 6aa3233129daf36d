"""The compose file: valid, and in agreement with the commands, settings and ports of salesviews."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import manifests
import pytest
import yaml
from containers import command_of, unknown_variables
from programs import ROOT

from salesviews import pulse, topics
from salesviews import settings as settings_module
from salesviews.machine import broker

FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KAFKA = manifests.variables(ROOT / SERVICES["kafka"]["env_file"])
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "salesviews"}
PROCESSES = {name: service for name, service in OURS.items() if service["command"][0] in pulse.PROCESSES}


def test_it_is_a_compose_file() -> None:
    """Law: the file is what the schema of the compose specification says."""
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [checker, "--builtin-schema", "vendor.compose-spec", FILE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


_UNSET = re.compile(r"\$\{(SALESVIEWS_\w+):-\}")


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_a_command_with_settings_that_exist(name: str) -> None:
    """Law: salesviews takes the command and every variable, and the settings can be read."""
    environment = OURS[name]["environment"]
    command_of(OURS[name]["command"])
    assert not unknown_variables(environment)
    for variable, value in environment.items():
        assert _UNSET.findall(value) in ([], [variable])
    read = settings_module.read({name: _UNSET.sub("", value) for name, value in environment.items()})
    host, _, port = read.broker.partition(":")
    assert host in SERVICES
    assert f"INSIDE://{host}:{port}" in KAFKA["KAFKA_ADVERTISED_LISTENERS"].split(",")


@pytest.mark.parametrize("name", PROCESSES)
def test_the_health_check_asks_the_process_that_runs(name: str) -> None:
    """Law: a process is healthy when it is ready."""
    command, check = PROCESSES[name]["command"], PROCESSES[name]["healthcheck"]["test"]
    assert check == ["CMD", "salesviews", "probe", "ready", command[0]]
    command_of(check[2:])


def test_processes_of_a_kind_have_names_of_their_own() -> None:
    """Law: two ingest processes, one views, one web; no two of a kind have the same instance."""
    kinds = [service["command"][0] for service in PROCESSES.values()]
    assert sorted(kinds) == ["ingest", "ingest", "views", "web"]
    named = [(each["command"][0], each["environment"].get("SALESVIEWS_INSTANCE")) for each in PROCESSES.values()]
    assert len(set(named)) == len(named)


def test_what_a_service_waits_for_is_healthy_and_started_with_it() -> None:
    """Law: each dependency exists and has a health check; one that is in a profile may be missing."""
    for service in SERVICES.values():
        for name, dependency in service.get("depends_on", {}).items():
            assert dependency["condition"] == "service_healthy"
            assert "healthcheck" in SERVICES[name]
            assert dependency.get("required", True) == ("profiles" not in SERVICES[name])


def test_volumes_are_declared_and_used() -> None:
    """Law: no volume without a use, and none that is not declared; the lake is where the home folder is."""
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert used == COMPOSE["volumes"].keys()
    assert "SALESVIEWS_HOME=/data" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_a_container_of_ours_has_no_rights() -> None:
    """Law: a read-only root, no capabilities, and time to end with what it has committed."""
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["stop_grace_period"] == "60s"


def test_only_the_loopback_is_published() -> None:
    """Law: nothing can be reached from another machine; the web server's port is the one it listens on."""
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)
    [port] = SERVICES["web"]["ports"]
    environment = {name: _UNSET.sub("", value) for name, value in OURS["web"]["environment"].items()}
    assert port.rpartition(":")[2] == str(settings_module.read(environment).port)


def test_the_store_has_the_bucket_and_the_keys_that_are_used() -> None:
    """Law: what the first lines of the file say to set leads to a bucket that is made, at a store that is there."""
    environment, minio = OURS["web"]["environment"], SERVICES["minio"]
    [lake] = re.findall(r"SALESVIEWS_LAKE=(\S+) docker compose --profile s3", FILE.read_text(encoding="utf-8"))
    read = settings_module.read(environment | {"SALESVIEWS_LAKE": lake, "SALESVIEWS_WEB_TOKEN": ""})
    assert f"/data/{lake.split('/')[2]} " in minio["entrypoint"][-1]
    assert read.s3_endpoint == "http://minio:9000"
    keys = (read.s3_access_key_id, read.s3_secret_access_key)
    assert keys == tuple(minio["environment"][f"MINIO_ROOT_{name}"] for name in ("USER", "PASSWORD"))


def test_kafka_is_the_version_and_takes_the_messages_that_are_tested() -> None:
    """Law: the official image has the version of the embedded broker, and its largest message."""
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{broker.KAFKA.rpartition(':')[2]}"
    assert KAFKA["KAFKA_MESSAGE_MAX_BYTES"] == str(topics.LARGEST_MESSAGE_BYTES)
