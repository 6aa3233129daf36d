"""Which snapshots can be asked for with ``as_of``."""

from typing import Any

from flask import Blueprint, Response, request

from salesviews.maintenance.history import History
from salesviews.manifest import Summary
from web import answers as answers_module
from web import endpoints, parameters, schemas
from web.answers import Answers, instant
from web.endpoints import Endpoint
from web.parameters import Parameter
from web.snapshot import NoSnapshotError, SnapshotStore

LARGEST_ID = 10**18

SNAPSHOTS = Endpoint(
    "/api/snapshots",
    "the snapshots that can be asked for with `as_of`, the newest first",
    parameters=(
        Parameter("limit", parameters.whole_number(1, 1000), "how many", default=100),
        Parameter("before", parameters.whole_number(1, LARGEST_ID), "only those with a smaller id: `next` of a page"),
    ),
    schema=schemas.record(
        {
            "snapshots": schemas.listed(
                schemas.record(
                    {
                        "id": schemas.COUNT,
                        "created_at": schemas.INSTANT,
                        "generation": schemas.COUNT,
                        "sequence": schemas.WHOLE | {"description": "the last place in the total order; -1: none"},
                        "caught_up": schemas.TRUTH | {"description": "nothing was known to wait when it was made"},
                        "positions": schemas.listed(schemas.POSITION),
                    }
                )
            ),
            "total": schemas.COUNT,
            "next": schemas.nullable(schemas.COUNT, "`before` of the next page; null: there is none"),
        }
    ),
    has_as_of=False,
    failures={503: "the lake cannot be read"},
)


def routes(store: SnapshotStore, history: History, answers: Answers) -> Blueprint:
    snapshots = Blueprint("snapshots", __name__)

    @endpoints.get(snapshots, SNAPSHOTS)
    def listed() -> Response:
        values = parameters.read(SNAPSHOTS.parameters, request.args)
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
