"""Which snapshots can be asked for with ``as_of``."""

from typing import Any

from flask import Blueprint, Response, request

from salesviews.history import History
from salesviews.manifest import Summary
from web import answers as answers_module
from web import parameters
from web.answers import Answers, instant
from web.parameters import Parameter
from web.snapshot import NoSnapshotError, SnapshotStore

LARGEST_ID = 10**18

SNAPSHOTS = (
    Parameter("limit", parameters.whole_number(1, 1000), "how many", default=100),
    Parameter("before", parameters.whole_number(1, LARGEST_ID), "only those with a smaller id: `next` of a page"),
)


def routes(store: SnapshotStore, history: History, answers: Answers) -> Blueprint:
    snapshots = Blueprint("snapshots", __name__)

    @snapshots.get("/api/snapshots")
    def listed() -> Response:
        values = parameters.read(SNAPSHOTS, request.args)
        kept = history.snapshots()
        before = values["before"]
        rest = kept if before is None else [each for each in kept if each.id < before]
        page = rest[: values["limit"]]
        data = {
            "snapshots": [_described(each) for each in page],
            "total": len(kept),
            "next": page[-1].id if len(rest) > len(page) else None,
        }
        try:
            with store.read() as snapshot:
                return answers.of_value(data, snapshot.manifest)
        except NoSnapshotError:
            return answers.of_value(data, None)

    return snapshots


def _described(snapshot: Summary) -> dict[str, Any]:
    """``caught_up`` is whether anything was known to be waiting when it was made."""
    return {
        "id": snapshot.id,
        "created_at": instant(snapshot.created_at),
        "generation": snapshot.generation,
        "sequence": snapshot.sequence,
        "caught_up": snapshot.caught_up,
        "positions": answers_module.positions(snapshot.positions),
    }
