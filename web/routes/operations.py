"""What operators and orchestrators ask: does it serve, is it ready, how far are the figures behind."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from typing import Any

from flask import Blueprint, Response, request

import salesviews
from salesviews.manifest import Manifest
from web import endpoints, errors, parameters, schemas
from web.access import open_to_all
from web.answers import Answers, instant
from web.endpoints import Endpoint
from web.pipeline import Observation, PipelineWatch
from web.snapshot import NoSnapshotError, SnapshotStore

_PACKAGES = ("confluent-kafka", "deltalake", "duckdb", "flask", "pyarrow", "quixstreams", "uvicorn")


_GROUP = schemas.record(
    {
        "id": schemas.TEXT,
        "state": schemas.TEXT,
        "members": schemas.listed(
            schemas.record(
                {"client_id": schemas.TEXT, "host": schemas.TEXT, "partitions": schemas.listed(schemas.TEXT)}
            )
        ),
        "lag": schemas.nullable(schemas.COUNT, "null where Kafka could not say for the moment"),
    }
)
_LAG = schemas.record(
    {
        "waiting_ms": schemas.nullable(schemas.COUNT, "for how long there have been messages beyond the figures"),
        "messages": schemas.nullable(schemas.COUNT, "that Kafka has and the figures do not"),
        "partitions": schemas.nullable(
            schemas.listed(
                schemas.record(
                    {
                        "topic": schemas.TEXT,
                        "topic_id": schemas.TEXT,
                        "partition": schemas.COUNT,
                        "position": schemas.COUNT,
                        "end": schemas.COUNT,
                        "messages": schemas.COUNT,
                    }
                )
            )
        ),
    },
    doc="null while Kafka does not answer",
)
_SERVED = schemas.record(
    {
        "generation": schemas.nullable(schemas.COUNT),
        "sequence": schemas.nullable(schemas.WHOLE),
        "tables": schemas.by_name(
            schemas.record({"version": schemas.COUNT, "rows": schemas.nullable(schemas.COUNT)}), "by name"
        ),
        "failure": schemas.nullable(
            schemas.record(
                {
                    "message": schemas.TEXT,
                    "since": schemas.INSTANT,
                    "attempts": schemas.COUNT,
                    "retry_after_s": schemas.NUMBER,
                }
            ),
            "why the newest snapshot is not served; null: it is",
        ),
    }
)

HEALTH = Endpoint("/healthz", "whether the server serves", schema={"const": "serving"}, has_as_of=False)
READINESS = Endpoint(
    "/readyz",
    "whether there is something to serve",
    schema={"const": "ready"},
    has_as_of=False,
    failures={503: "topics are missing, or a first snapshot: the answer says which"},
)
STATUS = Endpoint(
    "/api/status",
    "how far the figures are behind, the processors, the snapshot, the last audit",
    schema=schemas.record(
        {
            "started_at": schemas.INSTANT,
            "lag": _LAG,
            "processors": schemas.nullable(schemas.by_name(_GROUP, "the consumer groups"), "null: no answer of Kafka"),
            "kafka": schemas.record(
                {
                    "answers": schemas.TRUTH,
                    "trouble": schemas.nullable(schemas.TEXT),
                    "observed_at": schemas.nullable(schemas.INSTANT),
                    "missing_topics": schemas.nullable(schemas.listed(schemas.TEXT)),
                }
            ),
            "snapshot": _SERVED,
            "audit": schemas.nullable({"type": "object"}, "as `salesviews audit --json` gives it; null: none was made"),
            "versions": schemas.by_name(schemas.TEXT, "of the program and its packages"),
        }
    ),
    has_as_of=False,
)


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

    @endpoints.get(operations, HEALTH)
    @open_to_all
    def healthz() -> Response:
        return answers.of_value("serving", None)

    @endpoints.get(operations, READINESS)
    @open_to_all
    def readyz() -> Response:
        if not pipeline.were_topics_seen:
            return errors.unready("no_topics", _missing_topics(pipeline.latest, pipeline.trouble))
        with store.read() as snapshot:
            return answers.of_value("ready", snapshot.manifest)

    @endpoints.get(operations, STATUS)
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


def _served(store: SnapshotStore) -> tuple[Manifest | None, Mapping[str, int]]:
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


def _snapshot(store: SnapshotStore, manifest: Manifest | None, rows: Mapping[str, int]) -> dict[str, Any]:
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
