"""The one form of an answer: ``{"data": ..., "snapshot": {id, created_at, age_ms, positions, caught_up}}``;
where an earlier snapshot was asked for, ``snapshot`` has ``as_of`` too.

An answer's JSON is put together from text, because its rows already are JSON text with exact money
(``Snapshot.json_rows``).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Response

from salesviews.manifest import Manifest
from salesviews.typed import SourcePartition
from web.pipeline import PipelineWatch


@dataclass(frozen=True)
class Answers:
    """Makes answers.

    :param clock: now, in UTC
    """

    pipeline: PipelineWatch
    clock: Callable[[], datetime]

    def of_json(self, data: str, manifest: Manifest, as_of: str | None = None) -> Response:
        """
        :param data: JSON text
        :param as_of: how the snapshot was asked for; None: it is the one that is served
        """
        return _response(self.text(data, self.describe(manifest, as_of), {}))

    def text(self, data: str, described: Mapping[str, Any], about: Mapping[str, Any]) -> str:
        """The JSON text of an answer.

        :param data: JSON text
        :param described: the snapshot, by ``describe``
        :param about: members beside them
        """
        more = "".join(f",{_text(name)}:{_text(value)}" for name, value in about.items())
        return f'{{"data":{data},"snapshot":{_text(described)}{more}}}\n'

    def of_value(self, data: Any, manifest: Manifest | None, as_of: str | None = None) -> Response:
        """:param data: of JSON's types; ``snapshot`` is null where there is none"""
        return json_response({"data": data, "snapshot": None if manifest is None else self.describe(manifest, as_of)})

    def describe(self, manifest: Manifest, as_of: str | None = None) -> dict[str, Any]:
        """Which snapshot the figures are from.

        ``age_ms`` counts from when the processors wrote it. ``caught_up`` is whether every message that Kafka has now
        is in it: null while Kafka does not answer. ``as_of`` is there where it was asked for.
        """
        lag = self.pipeline.lag(manifest.positions)
        return {
            "id": manifest.id,
            "created_at": instant(manifest.created_at),
            "age_ms": max((self.clock() - manifest.created_at) // timedelta(milliseconds=1), 0),
            "positions": positions(manifest.positions),
            "caught_up": None if lag is None else all(partition.messages == 0 for partition in lag),
        } | ({} if as_of is None else {"as_of": as_of})


def positions(of: Mapping[SourcePartition, int]) -> list[dict[str, Any]]:
    """The next position of each source partition, as answers show it."""
    return [
        {"topic": at.topic, "topic_id": at.topic_id, "partition": at.partition, "offset": offset}
        for at, offset in sorted(of.items())
    ]


def instant(moment: datetime) -> str:
    """An instant as text: ``2025-12-22T14:35:27.123456Z``."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def json_response(value: Any, status: int = 200) -> Response:
    """:param value: of JSON's types"""
    return _response(_text(value) + "\n", status)


def _response(text: str, status: int = 200) -> Response:
    return Response(text, status, mimetype="application/json")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
