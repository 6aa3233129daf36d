"""Where a figure comes from: the sales behind it and their raw messages; and what became of one sale.

Unlike every other answer, this one is read from the lake when it is asked for, at the snapshot that is served. So it is
bounded: in time, memory and threads, in the size of a page, and in how many run at once; a request beyond that is told
to come again, and no other request waits for it.
"""

import threading
from collections.abc import Callable

from flask import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from salesviews import lineage
from salesviews.lake import Lake
from salesviews.lineage import Lineage, Page, figures, lineage_answer, story
from salesviews.lineage.queries import Bounds
from salesviews.lineage.story import Story
from salesviews.manifest import Manifest
from web import endpoints, errors, parameters, schemas
from web.answers import Answers
from web.endpoints import Endpoint
from web.parameters import Parameter
from web.questions import AS_OF, Questions

BOUNDS = Bounds(memory_mb=256, threads=2, time_s=10.0)
AT_ONCE = 2
LARGEST_PAGE = 1000

FIGURE = (
    Parameter("view", parameters.text, "a view or roll-up; its key columns are parameters too"),
    Parameter(figures.WINDOW, parameters.text, "the start of its window, where it has windows"),
    Parameter("limit", parameters.whole_number(1, LARGEST_PAGE), "how many messages of each list", default=100),
    Parameter("after", parameters.text, "the `next` of what is behind the figure, from the page before"),
    Parameter("left_out_after", parameters.text, "the `next` of what was left out, from the page before"),
)
STORY = (
    Parameter("vente_id", parameters.text, "the story of a sale instead"),
    Parameter("position", parameters.text, "the story of one message instead; not with vente_id"),
)
_KEYS = tuple(
    Parameter(name, parameters.text, "a key column of the view, exactly")
    for name in dict.fromkeys(field.name for table in figures.tables().values() for field in table.key)
)
_VALUES = schemas.by_name(schemas.ANYTHING, "by column; what a JSON number cannot hold is text")
_BYTES = schemas.nullable(schemas.record({"encoding": {"enum": ["utf-8", "base64"]}, "data": schemas.TEXT}))
_MESSAGE = {
    "outcome": schemas.nullable(
        schemas.TEXT,
        "`valide`, `doublon`, a reason of rejection, or `en_attente`; null: nothing says what it became",
    ),
    "position": schemas.POSITION,
    "sequence": schemas.nullable(schemas.TEXT, "place in the total order"),
    "fields": schemas.nullable(_VALUES, "null: Bronze lacks it, or it could not be parsed"),
    "nouveau_client": schemas.WHOLE,
    "counted_at": schemas.nullable(schemas.POSITION, "of a duplicate, the one that is counted"),
    "raw": schemas.nullable(
        schemas.record(
            {
                "kafka_timestamp": schemas.INSTANT,
                "date_ingestion": schemas.INSTANT,
                "key": _BYTES,
                "headers": schemas.nullable(
                    schemas.listed(schemas.record({"key": schemas.nullable(schemas.TEXT), "value": _BYTES}))
                ),
                "payload": _BYTES,
            }
        ),
        "as Kafka had it; null: Bronze lacks it",
    ),
}
_ADDRESS = {
    "view": schemas.TEXT,
    "key": _VALUES,
    "window": schemas.nullable(schemas.record({"column": schemas.TEXT, "start": schemas.TEXT, "end": schemas.TEXT})),
}
_LISTED = {
    "total": schemas.COUNT,
    "pages": schemas.COUNT,
    "next": schemas.nullable(schemas.TEXT),
    "messages": schemas.listed(schemas.record(_MESSAGE, optional=("nouveau_client",))),
}
_OF_FIGURE = schemas.record(
    {
        **_ADDRESS,
        "figure": _VALUES,
        "sums": _VALUES,
        "adds_up": schemas.nullable(schemas.TRUTH, "whether it is equal; null: that cannot be told"),
        "raw_missing": {**schemas.COUNT, "description": "messages of it that Bronze lacks: they are not proved"},
        "lost": schemas.COUNT,
        "behind": schemas.record(_LISTED),
        "left_out": schemas.record({"by_motif": schemas.by_name(schemas.COUNT), **_LISTED}),
        "notes": schemas.listed(schemas.TEXT),
    },
    doc="the sales behind a figure",
)
_OF_SALE = schemas.record(
    {
        "holds": {
            **schemas.TRUTH,
            "description": "nothing is a damage; what Bronze lacks is no damage, and not proved",
        },
        "messages": schemas.listed(
            schemas.record(
                {
                    **_MESSAGE,
                    "agrees": schemas.nullable(
                        schemas.TRUTH,
                        "whether its payload gives this outcome and these fields; null: not proved, as Bronze lacks it "
                        "or it has no outcome",
                    ),
                    "figures": schemas.listed(schemas.record({**_ADDRESS, "figure": _VALUES})),
                },
                optional=("nouveau_client",),
            )
        ),
        "notes": schemas.listed(schemas.TEXT),
    },
    doc="what became of one sale",
)
LINEAGE = Endpoint(
    "/api/lineage",
    "where a figure comes from: its sales and their raw messages; or what became of one sale",
    parameters=(*FIGURE, *_KEYS, *STORY),
    schema={"anyOf": [_OF_FIGURE, _OF_SALE]},
    doc=(
        "Three questions: `view` with its key columns and `window`; or `vente_id`; or `position`. What does not belong "
        "to the question is refused."
    ),
    failures={503: "it takes more than one answer may, or too many are being told: ask again"},
    is_personal=True,
)


def routes(source: Lake, questions: Questions, answers: Answers, bounds: Bounds = BOUNDS) -> Blueprint:
    blueprint = Blueprint("lineage", __name__)
    free = threading.BoundedSemaphore(AT_ONCE)

    @endpoints.get(blueprint, LINEAGE)
    def tell() -> Response:
        question = _question(source, bounds, _without_as_of(request.args))
        manifest, as_of = questions.manifest()
        if not free.acquire(blocking=False):
            return errors.unready("busy", f"{AT_ONCE} lineages are being told, and no more at once: ask again.")
        try:
            told = question(manifest)
        finally:
            free.release()
        return answers.of_json(lineage_answer.json_text(lineage_answer.of(told)), manifest, as_of)

    return blueprint


def _without_as_of(given: MultiDict[str, str]) -> MultiDict[str, str]:
    return MultiDict([(name, value) for name, value in given.items(multi=True) if name != AS_OF.name])


def _question(source: Lake, bounds: Bounds, given: MultiDict[str, str]) -> Callable[[Manifest], Lineage | Story]:
    """What is asked of a snapshot.

    :raises ParameterError: if a parameter is not one of this question's, or cannot be read
    """
    if any(each.name in given for each in STORY):
        values = parameters.read(STORY[:1] if "vente_id" in given else STORY[1:], given)
        if "vente_id" in given:
            return lambda manifest: story.of_sale(source, manifest, values["vente_id"], bounds)
        return lambda manifest: story.of_position(source, manifest, values["position"], bounds)
    view = given.get("view")
    columns = [field.name for field in figures.named(view).key]
    key = [Parameter(column, parameters.text, "a key column of the view, exactly") for column in columns]
    values = parameters.read((*FIGURE, *key), given)
    page = Page(values["limit"], values["after"], values["left_out_after"])
    texts = {column: values[column] for column in columns if values[column] is not None}
    return lambda manifest: lineage.of_figure(source, manifest, view, texts, values[figures.WINDOW], page, bounds)
