"""Lineage: from a figure to the sales behind it, and to their raw Kafka messages.

It reads the lake alone, at one snapshot. In order:

1. Find the figure in the snapshot's table (``figures``).
2. Find what is behind it, and what was left out of it (``behind``).
3. Compute the figure again from all that is behind it: the sums must be equal.
4. Fetch a page of the messages behind it, and one of those left out, each with what Bronze received (``messages``).

Nothing is written, so a crash leaves nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from salesviews import event, views
from salesviews.audit.differences import name
from salesviews.errors import ParameterError
from salesviews.lake import Lake
from salesviews.lineage import behind, figures, judged, messages
from salesviews.lineage.figures import Address, Figure, FigureTable, Value
from salesviews.lineage.messages import Judged, Message
from salesviews.lineage.queries import Bounds, Queries
from salesviews.manifest import EMPTY_SEQUENCE, Manifest


@dataclass(frozen=True)
class Page:
    """Which part of the two lists is given.

    :param limit: how many messages of each, at most
    :param after: where the list of what is behind the figure goes on: ``next`` of the page before
    :param left_out_after: the same of what was left out
    """

    limit: int = 100
    after: str | None = None
    left_out_after: str | None = None


@dataclass(frozen=True)
class Listed:
    """A page of messages in the total order.

    :param total: how many there are on all pages
    :param next: the cursor of the page after it; None: this is the last one
    """

    total: int
    pages: int
    messages: tuple[Message, ...]
    next: str | None


@dataclass(frozen=True)
class Lineage:
    """
    :param sums: the figure, computed again from everything behind it
    :param adds_up: whether they are equal; None where that cannot be told: no message is there to add up, or the figure
        counts messages, and Bronze lacks some
    :param raw_missing: how many of the messages behind it Bronze lacks
    :param lost: how many positions it counts that Kafka deleted before they were read
    :param left_out_by_motif: how many messages were left out for each motif
    """

    figure: Figure
    snapshot: Manifest
    sums: Mapping[str, Value]
    adds_up: bool | None
    raw_missing: int
    lost: int
    behind: Listed
    left_out: Listed
    left_out_by_motif: Mapping[str, int]

    @property
    def is_proved(self) -> bool:
        """Whether the figure is what is behind it, and Bronze has each message; of what is ``lost`` there is none."""
        return self.adds_up is not False and not self.raw_missing

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know or do, in sentences."""
        notes = []
        if self.lost:
            notes.append(
                f"{self.lost:,} of it are positions that Kafka deleted before they were read: there is no message to "
                "show. Raise the topic's retention."
            )
        if self.raw_missing:
            notes.append(
                f"{self.raw_missing:,} of the messages behind it are not in Bronze. If Bronze is not merely a moment "
                "behind, `salesviews replay` reads them from Kafka again; nothing is counted twice."
            )
        if self.adds_up is False:
            notes.append(
                "The figure is not what is behind it. `salesviews audit` names every difference; "
                "`salesviews rebuild` computes Silver again from Bronze."
            )
        return tuple(notes)


def of_figure(
    source: Lake,
    snapshot: Manifest,
    view: str | None,
    key: Mapping[str, str],
    window: str | None,
    page: Page,
    bounds: Bounds,
) -> Lineage:
    """The lineage of a figure.

    :param view: name of a view or roll-up
    :param key: text of each of its key columns; a value is taken exactly
    :param window: the start of its window as text, in UTC; None where it has none
    :raises ParameterError: if there is no such figure
    :raises LakeError: naming the file that cannot be read
    :raises LineageError: if it takes more than the bounds allow
    """
    after, left_out_after = (
        _place_of(snapshot, parameter, cursor)
        for parameter, cursor in (("after", page.after), ("left_out_after", page.left_out_after))
    )
    with Queries(source, snapshot, bounds) as queries:
        figure = figures.find(queries, view, key, window)  # 1
        address = figure.address
        by_motif: Mapping[str, int] = {}
        if address.of.view.source is views.Source.SALES:
            proof = _prove_sales(queries, figure)  # 2, 3
            by_motif = _left_out_by_motif(queries)
        else:
            proof = _prove_messages(queries, figure)
        return Lineage(
            figure=figure,
            snapshot=snapshot,
            sums=proof.sums,
            adds_up=proof.adds_up,
            raw_missing=proof.raw_missing,
            lost=proof.lost,
            behind=_behind(queries, address, proof.total, page, after),  # 4
            left_out=_left_out(queries, sum(by_motif.values()), page, left_out_after),
            left_out_by_motif=by_motif,
        )


@dataclass(frozen=True)
class _Proof:
    """What is behind a figure, summed; see ``Lineage``.

    :param total: how many messages
    """

    total: int
    sums: Mapping[str, Value]
    adds_up: bool | None
    raw_missing: int
    lost: int = 0


def _prove_sales(queries: Queries, figure: Figure) -> _Proof:
    behind.of_sales(queries, figure.address)
    behind.find_left_out(queries, figure.address)
    sums = _sums(queries, figure.address.of)
    return _Proof(_total(queries), sums, sums == figure.values, behind.sales_without_raw(queries))


def _prove_messages(queries: Queries, figure: Figure) -> _Proof:
    has_sales = False
    for everywhere in (False, True):
        has_sales = judged.of_messages(queries, figure.address, everywhere=everywhere)
        sums = _sums(queries, figure.address.of)
        if sums == figure.values or not has_sales:
            break
    adds_up: bool | None = sums == figure.values
    total = _total(queries)
    raw_missing = queries.value("SELECT count(*) FROM judged SEMI JOIN behind USING (sequence) WHERE NOT has_raw")
    lost = queries.value("SELECT coalesce(sum(messages), 0)::BIGINT FROM messages WHERE sequence IS NULL")
    if has_sales and not adds_up:
        # The hour of a sale that Bronze lacks is not known: each of them may be one that is missing here.
        raw_missing += judged.counted_without_raw(queries)
    if (lost and not total) or (raw_missing and not adds_up):
        adds_up = None
    return _Proof(total, sums, adds_up, raw_missing, lost)


def _total(queries: Queries) -> int:
    return int(queries.value("SELECT count(*) FROM behind"))


def _sums(queries: Queries, of: FigureTable) -> Mapping[str, Value]:
    rows = queries.rows(of.rows_sql(of.view.source))
    if not rows:
        return dict.fromkeys(of.columns)
    [row] = rows
    return of.computed(row)


def _left_out_by_motif(queries: Queries) -> dict[str, int]:
    rows = queries.rows("SELECT motif, count(*) AS messages FROM left_out GROUP BY motif")
    counts = {row["motif"]: row["messages"] for row in rows}
    return {motif: counts[motif] for motif in (event.DOUBLON, *event.REJECTIONS) if motif in counts}


def _behind(queries: Queries, address: Address, total: int, page: Page, after: int) -> Listed:
    """A page of the messages behind the figure."""
    choose = f"ORDER BY sequence LIMIT {page.limit + 1}"
    if address.of.view.source is views.Source.SALES:
        new = "sequence IN (SELECT sequence FROM firsts)" if behind.asks_for_new_clients(address.of.view) else "NULL"
        rows = queries.rows(
            f'SELECT sequence, number, "offset", {new} AS new FROM behind WHERE sequence > {after} {choose}'
        )
        fields = _counted_fields(queries, address, [row["sequence"] for row in rows[: page.limit]])
        found = [
            Judged(
                (row["number"], row["offset"]),
                event.VALIDE,
                row["sequence"],
                fields=fields[row["sequence"]],
                nouveau_client=row["new"],
            )
            for row in rows[: page.limit]
        ]
        days = {each["timestamp"].date() for each in fields.values()}
    else:
        rows = queries.rows(
            f"SELECT judged.* FROM judged SEMI JOIN behind USING (sequence) WHERE sequence > {after} {choose}"
        )
        found = [messages.not_counted(row) for row in rows[: page.limit]]
        days = _likely_days(rows)
    return _listed(queries, found, days, total, page, is_last=len(rows) <= page.limit)


def _left_out(queries: Queries, total: int, page: Page, after: int) -> Listed:
    rows = (
        queries.rows(
            'SELECT *, (SELECT any_value(day) FROM fallen AS f WHERE f.number = l.number AND f."offset" = l."offset") '
            f"AS day FROM (SELECT * FROM left_out WHERE sequence > {after} ORDER BY sequence LIMIT {page.limit + 1}) "
            "AS l ORDER BY sequence"
        )
        if total
        else []
    )
    found = [messages.not_counted(row) for row in rows[: page.limit]]
    return _listed(queries, found, _likely_days(rows), total, page, is_last=len(rows) <= page.limit)


def _listed(queries: Queries, found: list[Judged], days: set[date], total: int, page: Page, *, is_last: bool) -> Listed:
    return Listed(
        total=total,
        pages=-(-total // page.limit),
        messages=messages.with_raw(queries, found, days),
        next=None if is_last else f"{queries.snapshot.generation}-{found[-1].sequence}",
    )


def _counted_fields(queries: Queries, address: Address, sequences: list[int]) -> dict[int, Mapping[str, Any]]:
    """The fields of some sales that count. Their places are close together, so few files have them."""
    if not sequences:
        return {}
    chosen = ", ".join(map(str, sequences))
    rows = queries.rows(
        f"SELECT sequence, {', '.join(map(name, event.FIELD_NAMES))} "
        f"FROM ({behind.counted_sql(queries, address.times)}) "
        f"WHERE sequence BETWEEN {sequences[0]} AND {sequences[-1]} AND sequence IN ({chosen})"
    )
    return {row.pop("sequence"): row for row in rows}


def _likely_days(rows: list[dict[str, Any]]) -> set[date]:
    """The days under which Bronze probably keeps messages: of the sale, where it is known, and of Kafka's time."""
    return {day for row in rows for day in (row.get("day"), row["kafka_timestamp"].date()) if day is not None}


def _place_of(snapshot: Manifest, parameter: str, cursor: str | None) -> int:
    """The place in the total order after which a cursor goes on."""
    if cursor is None:
        return EMPTY_SEQUENCE
    generation, _, sequence = cursor.partition("-")
    if not (generation + sequence).isascii() or not generation.isdigit() or not sequence.isdigit() or len(cursor) > 40:
        raise ParameterError(
            parameter,
            f"{parameter}={cursor!r} cannot be used: it takes the `next` of the page before, as it was given.",
        )
    if int(generation) != snapshot.generation:
        raise ParameterError(
            parameter,
            f"{parameter}={cursor!r} is of generation {generation}, and the figures are of {snapshot.generation}: "
            "they were rebuilt meanwhile, and their order is another. Begin with the first page.",
        )
    return int(sequence)
