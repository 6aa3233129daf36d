"""What a lineage or a story says as JSON, for the command line and the web alike.

An amount is a number with its two decimals, exactly. The integers of a sale (``vente_id``, ``client_id``,
``produit_id``, ``quantite``), sums of ``quantite`` and places in the total order are text, as they have 64 bits and
more, and a JavaScript number has 53. Bytes (payload, key, values of headers) are ``{"encoding", "data"}``: the text
where they are ``utf-8``, else ``base64``.
"""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from salesviews import event
from salesviews.lineage import Lineage, Listed
from salesviews.lineage.figures import Address, Value
from salesviews.lineage.messages import Message, Position, Raw
from salesviews.lineage.story import Story
from salesviews.manifest import Manifest

WAITING = "en_attente"
"""The outcome of a message that the snapshot does not cover yet."""

_TEXTS = frozenset(field.name for field in event.FIELDS if field.kind is event.Kind.INTEGER)


def of(told: Lineage | Story) -> dict[str, Any]:
    """As values of ``json_text``."""
    return _of_lineage(told) if isinstance(told, Lineage) else _of_story(told)


def of_snapshot(snapshot: Manifest) -> dict[str, Any]:
    """As values of ``json_text``."""
    return {
        "id": snapshot.id,
        "created_at": snapshot.created_at,
        "generation": snapshot.generation,
        "sequence": str(snapshot.sequence),
    }


def json_text(value: Any) -> str:
    """The value as JSON: a Decimal is a number with exactly its digits, which no way through a float is."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json_text(str(name))}:{json_text(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime | date):
        return json.dumps(instant(value))
    return json.dumps(value, ensure_ascii=False)


def _of_lineage(lineage: Lineage) -> dict[str, Any]:
    return {
        **_address(lineage.figure.address),
        "figure": _values(lineage.figure.address, lineage.figure.values),
        "sums": _values(lineage.figure.address, lineage.sums),
        "adds_up": lineage.adds_up,
        "raw_missing": lineage.raw_missing,
        "lost": lineage.lost,
        "behind": _listed(lineage.behind),
        "left_out": {"by_motif": dict(lineage.left_out_by_motif), **_listed(lineage.left_out)},
        "notes": list(lineage.notes),
    }


def _of_story(story: Story) -> dict[str, Any]:
    return {
        "holds": story.holds,
        "messages": [
            {
                **_message(chapter.message, chapter.is_waiting),
                "agrees": chapter.agrees,
                "figures": [
                    {**_address(each.address), "figure": _values(each.address, each.values)} for each in chapter.figures
                ],
            }
            for chapter in story.chapters
        ],
        "notes": list(story.notes),
    }


def _address(address: Address) -> dict[str, Any]:
    window = address.of.window
    return {
        "view": address.of.name,
        "key": {
            field.name: str(address.key[field.name]) if pa.types.is_int64(field.type) else address.key[field.name]
            for field in address.of.key
        },
        "window": None
        if window is None or address.start is None
        else {"column": window.column, "start": address.start, "end": window.end(address.start)},
    }


def _values(address: Address, values: Mapping[str, Value]) -> dict[str, Any]:
    schema = address.of.table.schema
    return {
        name: str(value) if value is not None and _is_wide(schema.field(name).type) else value
        for name, value in values.items()
    }


def _is_wide(kind: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(kind) and kind.scale == 0)


def _listed(listed: Listed) -> dict[str, Any]:
    return {
        "total": listed.total,
        "pages": listed.pages,
        "next": listed.next,
        "messages": [_message(each) for each in listed.messages],
    }


def _message(message: Message, is_waiting: bool = False) -> dict[str, Any]:
    return {
        "outcome": WAITING if is_waiting else message.outcome,
        "position": _position(message.position),
        "sequence": None if message.sequence is None else str(message.sequence),
        "fields": None if message.fields is None else _fields(message.fields),
        **({} if message.nouveau_client is None else {"nouveau_client": int(message.nouveau_client)}),
        "counted_at": None if message.counted_at is None else _position(message.counted_at),
        "raw": None if message.raw is None else _raw(message.raw),
    }


def _position(position: Position) -> dict[str, Any]:
    return {
        "topic": position.topic,
        "topic_id": position.topic_id,
        "partition": position.partition,
        "offset": position.offset,
    }


def _fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if name in _TEXTS and value is not None else value for name, value in fields.items()}


def _raw(raw: Raw) -> dict[str, Any]:
    return {
        "kafka_timestamp": raw.kafka_timestamp,
        "date_ingestion": raw.date_ingestion,
        "key": _bytes(raw.key),
        "headers": None
        if raw.headers is None
        else [{"key": key, "value": _bytes(value)} for key, value in raw.headers],
        "payload": _bytes(raw.payload),
    }


def _bytes(data: bytes | None) -> dict[str, str] | None:
    if data is None:
        return None
    try:
        return {"encoding": "utf-8", "data": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"encoding": "base64", "data": base64.b64encode(data).decode("ascii")}


def instant(moment: datetime | date) -> str:
    """``2025-12-22T14:35:27.123456Z``, or a date."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
