"""What became of the messages: how many were received, and how many counted."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from flask import Blueprint, Response

from salesviews import event, views
from web import endpoints, schemas
from web.answers import Answers
from web.endpoints import Endpoint
from web.questions import Questions
from web.snapshot import Snapshot

_SUMS = ", ".join(f"sum({name})::BIGINT AS {name}" for name in views.QUALITE.measure_names)
_QUALITY_SQL = f"SELECT motif, {_SUMS} FROM qualite GROUP BY motif"


_PERCENTAGE = schemas.nullable(schemas.NUMBER, "with two decimals; null of no messages")

QUALITY = Endpoint(
    "/api/quality",
    "what became of the messages: how many were received, and how many counted",
    schema=schemas.record(
        {
            "received": schemas.COUNT | {"description": "valid + duplicates + rejected_total"},
            "valid": schemas.COUNT,
            "duplicates": schemas.COUNT,
            "rejected": schemas.by_name(schemas.COUNT, "by reason"),
            "rejected_total": schemas.COUNT,
            "lost": schemas.COUNT | {"description": "positions that Kafka deleted before they were read"},
            "clean_pct": _PERCENTAGE,
            "rounded": schemas.COUNT | {"description": "amounts with more than two decimals, rounded to the cent"},
            "nulls": schemas.by_name(
                schemas.record({"count": schemas.COUNT, "complete_pct": _PERCENTAGE}), "by field of a sale"
            ),
        }
    ),
)


def routes(questions: Questions, answers: Answers) -> Blueprint:
    quality = Blueprint("quality", __name__)

    @endpoints.get(quality, QUALITY)
    def report() -> Response:
        with questions.read(()) as (_, snapshot):
            data = _report(snapshot)
        return answers.of_value(data, snapshot.manifest, snapshot.as_of)

    return quality


def _report(snapshot: Snapshot) -> dict[str, Any]:
    """The quality of all messages so far. A percentage of no messages is null.

    ``received`` = ``valid`` + ``duplicates`` + ``rejected_total``; ``lost`` are positions that Kafka deleted before
    they were read, and no part of ``received``.
    """
    by_motif = {
        motif: dict(zip(views.QUALITE.measure_names, sums, strict=True))
        for motif, *sums in snapshot.query(_QUALITY_SQL)
    }
    lost = by_motif.pop(event.PERDU, {}).get("messages", 0)
    totals = {name: sum(sums[name] for sums in by_motif.values()) for name in views.QUALITE.measure_names}
    received = totals["messages"]
    messages = {motif: sums["messages"] for motif, sums in by_motif.items()}
    valid = messages.pop(event.VALIDE, 0)
    duplicates = messages.pop(event.DOUBLON, 0)
    rejected = dict.fromkeys(event.REJECTIONS, 0) | messages
    nulls = {name: totals[f"nuls_{name}"] for name in event.FIELD_NAMES}
    return {
        "received": received,
        "valid": valid,
        "duplicates": duplicates,
        "rejected": rejected,
        "rejected_total": sum(rejected.values()),
        "lost": lost,
        "clean_pct": _percentage(valid, received),
        "rounded": totals["montants_arrondis"],
        "nulls": {
            name: {"count": count, "complete_pct": _percentage(received - count, received)}
            for name, count in nulls.items()
        },
    }


def _percentage(part: int, whole: int) -> float | None:
    if whole == 0:
        return None
    return float((Decimal(100 * part) / whole).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP))
