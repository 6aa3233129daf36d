"""Endpoints that give rows. A route declares its ``Endpoint`` and says which ``Query`` answers a request; all else
happens here: parameters, the snapshot, the format, the ETag, paging, headers.

    PAYS = Endpoint(
        "/api/pays",
        "revenue by country",
        parameters=(Parameter("pays", parameters.text, "country, exactly; repeatable", is_repeatable=True),),
        columns=(Column("pays", pa.string(), "country"), Column("revenue_total", money.SUM_ARROW, "sum of montant")),
    )

    def routes(rows: Rows) -> Blueprint:
        blueprint = Blueprint("pays", __name__)

        @rows.get(blueprint, PAYS)
        def pays(values: dict[str, Any], snapshot: Snapshot) -> Query:
            return Query(
                "SELECT pays, sum(revenue_total)::DECIMAL(38,2) AS revenue_total FROM ventes_par_pays "
                "WHERE len($1) = 0 OR pays IN $1 GROUP BY pays",
                order="revenue_total DESC, pays",
                parameters=[values["pays"]],
            )

        return blueprint

Hazards:

- Values from outside are ``parameters`` of the query, never part of its text.
- ``order`` must be total, or pages overlap.
- The answer is a function of the snapshot and the query: the ETag is made from them, before the query runs. What else
  it depends on (the clock) must be a parameter of the query.
- A small query may be made of ``snapshot`` to find out what to ask; the one that costs belongs into ``Query``, so that
  an unchanged answer (304) does not run it.
- Rows that are no table of the snapshot (sales read from the lake) are ``Query.tables``: each is made only if it is
  needed, and read by name in the SQL. ``Query.parameters`` must name all that they depend on beside the snapshot; what
  the SQL does not use goes into ``depends_on``.

An ETag is weak: two answers that have it give the same figures, while ``age_ms``, compression and the bytes of Parquet
may differ. So that nothing old is shown from a cache, it covers ``caught_up`` too, and the age of the snapshot *now* is
a header of each answer, also of a 304. The headers: ``Snapshot-Id``, ``Snapshot-Created-At``, ``Snapshot-Age-Ms``,
``Snapshot-Caught-Up``, ``Snapshot-Positions`` (``topic id/partition=next offset``), ``Answer-About`` (what the answer
says beside its rows, as JSON), ``Link`` (the next page).
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from web import endpoints, formats, parameters
from web.answers import Answers
from web.endpoints import Column, Endpoint
from web.formats import Format
from web.parameters import Parameter
from web.questions import Questions
from web.snapshot import Snapshot, Tables

FORMAT = Parameter(
    "format",
    parameters.one_of([each.name for each in formats.FORMATS]),
    "the format of the answer, before what the header Accept says; default: json",
    example="csv",
)


@dataclass(frozen=True)
class Page:
    """A part of the rows: at most ``limit`` of them, after the first ``offset``."""

    limit: int
    offset: int = 0


@dataclass(frozen=True)
class Query:
    """What gives the rows of an answer.

    :param sql: it has the columns of the endpoint, or ``columns``, by name, of types that cast to theirs
    :param order: of the rows, by names of columns; total
    :param parameters: ``$1`` and so on in ``sql``
    :param columns: where a request asks for other columns than all of the endpoint
    :param page: None: all rows
    :param about: what the answer says beside its rows, of JSON's types: members beside ``data``
    :param tables: what is read by name in ``sql`` beside the snapshot's tables
    :param depends_on: what ``tables`` depend on beside the snapshot and ``parameters``; its ``repr`` says it all
    """

    sql: str
    order: str
    parameters: Sequence[Any] = ()
    columns: tuple[Column, ...] | None = None
    page: Page | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    tables: Tables = field(default_factory=dict)
    depends_on: Any = None


Route = Callable[[dict[str, Any], Snapshot], Query]


@dataclass(frozen=True)
class Rows:
    """Makes routes that give rows."""

    questions: Questions
    answers: Answers

    def get(self, blueprint: Blueprint, endpoint: Endpoint) -> Callable[[Route], Route]:
        """Decorates the function that says which query answers a request to an endpoint."""

        def decorate(route: Route) -> Route:
            declared = replace(endpoint, parameters=(*endpoint.parameters, FORMAT))
            endpoints.get(blueprint, declared)(lambda: self._answer(declared, route))
            return route

        return decorate

    def _answer(self, endpoint: Endpoint, route: Route) -> Response:
        """
        1. Choose the format (406), read the parameters (400), open the snapshot (404, 410, 503).
        2. Ask the route for its query.
        3. Compare ETags: what the client has already is a 304.
        4. Run the query, and write its rows.
        """
        # 1
        accepted = None if FORMAT.name in request.args else formats.negotiate(request.accept_mimetypes)
        with self.questions.read(endpoint.parameters) as (values, snapshot):
            named = values.pop(FORMAT.name)
            wanted = accepted or formats.BY_NAME[named]
            query = route(values, snapshot)  # 2
            described = self.answers.describe(snapshot.manifest, snapshot.as_of)
            tag = _tag(query, wanted, snapshot, described)
            if request.if_none_match.contains_weak(tag):  # 3
                response = Response(status=304)
            else:
                response = self._written(query, query.columns or endpoint.columns, wanted, snapshot, described)  # 4
        response.set_etag(tag, weak=True)
        response.headers["Cache-Control"] = "private, no-cache"
        response.vary.update(["Accept", "Accept-Encoding"])
        _name_snapshot(response, snapshot, described)
        return response

    def _written(
        self,
        query: Query,
        columns: tuple[Column, ...],
        wanted: Format,
        snapshot: Snapshot,
        described: Mapping[str, Any],
    ) -> Response:
        if wanted.write is None:
            texts = snapshot.texts(*_json_sql(query, columns))
            texts, about = _paged(query, texts, len(texts))
            body: str | bytes = self.answers.text(f"[{','.join(texts)}]", described, about)
        else:
            rows = snapshot.table(*_page_sql(query, columns))
            rows, about = _paged(query, rows, len(rows))
            lasting = {name: value for name, value in described.items() if name not in ("age_ms", "caught_up")}
            body = wanted.write(formats.table(rows, columns, {"snapshot": lasting} | about))
        response = Response(body, mimetype=wanted.mimetype)
        if about:
            response.headers["Answer-About"] = json.dumps(about, separators=(",", ":"))
        following = about.get("page", {}).get("next")
        if following is not None:
            response.headers["Link"] = f'<{_address(offset=following)}>; rel="next"'
        return response


Statement = tuple[str, list[Any], Tables]
"""SQL, its parameters, and the tables that it reads beside the snapshot's."""


def _page_sql(query: Query, columns: Sequence[Column]) -> Statement:
    """The query for the rows of the page and one more, which tells whether there is a next page."""
    names = ", ".join(f'"{column.name}"' for column in columns)
    sql = f"SELECT {names} FROM ({query.sql}) ORDER BY {query.order}"
    if query.page is None:
        return sql, list(query.parameters), query.tables
    place = len(query.parameters) + 1
    given = [*query.parameters, query.page.limit + 1, query.page.offset]
    return f"{sql} LIMIT ${place} OFFSET ${place + 1}", given, query.tables


def _json_sql(query: Query, columns: Sequence[Column]) -> Statement:
    """The same, each row as JSON text: an amount is a number with two decimals, exact beyond 2^53."""
    shown = ", ".join(formats.json_column_sql(column) for column in columns)
    if query.page is None:
        rows, order, given, tables = query.sql, f"ORDER BY {query.order}", list(query.parameters), query.tables
    else:
        # Only the rows of the page are written as JSON; a projection keeps their order.
        rows, given, tables = _page_sql(query, columns)
        order = ""
    return f"SELECT to_json(line)::VARCHAR AS text FROM (SELECT {shown} FROM ({rows})) AS line {order}", given, tables


def _paged(query: Query, rows: Any, count: int) -> tuple[Any, dict[str, Any]]:
    """The rows without the one that belongs to the next page, and what the answer says beside them."""
    if query.page is None:
        return rows, dict(query.about)
    limit, offset = query.page.limit, query.page.offset
    page = {"limit": limit, "offset": offset, "next": offset + limit if count > limit else None}
    return rows[:limit], {**query.about, "page": page}


def _address(**changed: Any) -> str:
    """This request's path and query, with some parameters changed."""
    given = [(name, value) for name, value in request.args.items(multi=True) if name not in changed]
    return f"{request.path}?{urlencode([*given, *changed.items()])}"


def _tag(query: Query, wanted: Format, snapshot: Snapshot, described: Mapping[str, Any]) -> str:
    """Of everything that the answer depends on, but for its age."""
    parts = (
        _program(),
        snapshot.digest,
        described["caught_up"],
        snapshot.as_of,
        wanted.name,
        request.path,
        query.sql,
        query.order,
        query.parameters,
        [column.name for column in query.columns or ()],
        query.page,
        query.about,
        query.depends_on,
    )
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


@functools.cache
def _program() -> str:
    """A digest of this program's web part: another one may write the same figures otherwise."""
    here = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(here.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _name_snapshot(response: Response, snapshot: Snapshot, described: Mapping[str, Any]) -> None:
    response.headers["Snapshot-Id"] = str(described["id"])
    response.headers["Snapshot-Created-At"] = described["created_at"]
    response.headers["Snapshot-Age-Ms"] = str(described["age_ms"])
    response.headers["Snapshot-Caught-Up"] = json.dumps(described["caught_up"])
    response.headers["Snapshot-Positions"] = ", ".join(
        f"{at.topic_id}/{at.partition}={offset}" for at, offset in sorted(snapshot.manifest.positions.items())
    )
