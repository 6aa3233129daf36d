"""What operators and orchestrators ask: does it serve, is it ready, how far are the figures behind."""

import platform
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from typing import Any

from flask import Blueprint, Response, request

import salesviews
from salesviews.manifest import Manifest
from web import errors, parameters
from web.answers import Answers, instant
from web.pipeline import Observation, PipelineWatch
from web.snapshot import NoSnapshotError, SnapshotStore

_PACKAGES = ("confluent-kafka", "deltalake", "duckdb", "flask", "pyarrow", "quixstreams", "waitress")


def routes(
    store: SnapshotStore,
    pipeline: PipelineWatch,
    answers: Answers,
    clock: Callable[[], datetime],
    last_audit: Callable[[], dict[str, Any] | None],
) -> Blueprint:
    operations = Blueprint("operations", __name__)
    started_at = clock()
    versions = {
        "salesviews": salesviews.__version__,
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
    }

    @operations.get("/healthz")
    def healthz() -> Response:
        return answers.of_value("serving", None)

    @operations.get("/readyz")
    def readyz() -> Response:
        if not pipeline.were_topics_seen:
            return errors.unready("no_topics", _missing_topics(pipeline.latest, pipeline.trouble))
        with store.read() as snapshot:
            return answers.of_value("ready", snapshot.manifest)

    @operations.get("/api/status")
    def status() -> Response:
        parameters.read((), request.args)
        manifest, rows = _served(store)
        data = {
            "started_at": instant(started_at),
            "lag": _lag(pipeline, manifest),
            "processors": _processors(pipeline.latest),
            "kafka": _kafka(pipeline),
            "snapshot": _snapshot(store, manifest, rows),
            "audit": last_audit(),
            "versions": versions,
        }
        return answers.of_value(data, manifest)

    return operations


def _missing_topics(observation: Observation | None, trouble: str | None) -> str:
    if observation is None:
        return trouble or "Kafka was not asked yet."
    return (
        f"These topics do not exist: {', '.join(observation.missing_topics)}. "
        "The processors create them when they start (`salesviews ingest`, `salesviews views`)."
    )


def _served(store: SnapshotStore) -> tuple[Manifest | None, dict[str, int]]:
    """The manifest that is served, and how many rows each of its tables has."""
    try:
        with store.read() as snapshot:
            return snapshot.manifest, snapshot.row_counts()
    except NoSnapshotError:
        return None, {}


def _lag(pipeline: PipelineWatch, manifest: Manifest | None) -> dict[str, Any]:
    """Messages that Kafka has and the figures do not, and for how long; null while Kafka does not answer."""
    positions = manifest.positions if manifest else {}
    lag = pipeline.lag(positions)
    if lag is None:
        return {"messages": None, "waiting_ms": None, "partitions": None}
    return {
        "waiting_ms": pipeline.waiting_ms(positions),
        "messages": sum(partition.messages for partition in lag),
        "partitions": [
            {
                "topic": each.partition.topic,
                "topic_id": each.partition.topic_id,
                "partition": each.partition.partition,
                "position": each.position,
                "end": each.partition.end,
                "messages": each.messages,
            }
            for each in lag
        ],
    }


def _processors(observation: Observation | None) -> dict[str, Any] | None:
    """The consumer groups, null while Kafka does not answer."""
    if observation is None:
        return None
    return {name: asdict(group) for name, group in observation.groups.items()}


def _kafka(pipeline: PipelineWatch) -> dict[str, Any]:
    latest = pipeline.latest
    return {
        "answers": latest is not None,
        "trouble": pipeline.trouble,
        "observed_at": instant(pipeline.observed_at) if pipeline.observed_at else None,
        "missing_topics": list(latest.missing_topics) if latest else None,
    }


def _snapshot(store: SnapshotStore, manifest: Manifest | None, rows: dict[str, int]) -> dict[str, Any]:
    """Beyond what every answer says of its snapshot: the tables of it, and why there is no newer one."""
    failure = store.failure
    return {
        "generation": manifest.generation if manifest else None,
        "sequence": manifest.sequence if manifest else None,
        "tables": {
            name: {"version": version, "rows": rows.get(name)}
            for name, version in (manifest.tables.items() if manifest else ())
        },
        "failure": None
        if failure is None
        else {
            "message": failure.message,
            "since": instant(failure.since),
            "attempts": failure.attempts,
            "retry_after_s": failure.retry_after_s,
        },
    }
