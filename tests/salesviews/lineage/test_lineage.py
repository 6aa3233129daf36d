"""The lineage of every figure of a small dirty lake, against the witness; and what damage and bad questions give."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import witnessed
from deltalake import write_deltalake
from oracle import Message, Oracle, Outcome, hour_of, label
from witnessed import WitnessedLake

from salesviews import lake, lineage, manifest, views
from salesviews.errors import LakeError, LineageError, ParameterError
from salesviews.lake import Lake, Table
from salesviews.lineage import Lineage, Page
from salesviews.lineage.figures import FigureTable, tables
from salesviews.lineage.queries import Bounds
from salesviews.manifest import Manifest
from salesviews.tables import files

SEED = 5
LARGE = Page(limit=100_000)

Row = dict[str, Any]
Judged = tuple[Message, Outcome, str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WitnessedLake:
    """In a folder that is no plain word, and that looks like a pattern and a partition."""
    print(f"seed {SEED}")
    return witnessed.make(tmp_path_factory.mktemp("made") / "annee=1 l'été *?" / "lake", SEED)


@pytest.fixture
def own(made: WitnessedLake, tmp_path: Path) -> WitnessedLake:
    """A lake that a test may damage."""
    return made.copy(tmp_path / "lake")


def rows_of(source: Lake, table: Table, version: int | None = None) -> list[Row]:
    listing = files.listing(source, table, version)
    rows: list[Row] = files.rows(source, listing, listing.files).to_pylist()
    return rows


def texts(of: FigureTable, row: Row) -> tuple[dict[str, str], str | None]:
    """What a person would write to ask for a row."""
    key = {field.name: str(row[field.name]) for field in of.key}
    return key, None if of.window is None else row[of.window.column].isoformat()


def ask(made: WitnessedLake, of: FigureTable, row: Row, snapshot: Manifest, page: Page = LARGE) -> Lineage:
    key, window = texts(of, row)
    return lineage.of_figure(made.lake, snapshot, of.name, key, window, page, Bounds())


def held(of: FigureTable, row: Row) -> Row:
    return {name: row[name] for name in of.columns}


def expected_behind(oracle: Oracle, of: FigureTable, row: Row) -> list[Judged]:
    """The messages whose outcome and fields put them into a row, by the witness, in the total order."""
    if of.name == "qualite":
        return [
            judged
            for judged in oracle.outcomes
            if judged[2] == row["motif"] and hour_of(judged[0].kafka_timestamp) == row["heure"]
        ]
    return [judged for judged in oracle.outcomes if judged[2] == "valide" and falls(judged, of, row)]


def falls(judged: Judged, of: FigureTable, row: Row) -> bool:
    """Whether a message's own fields put it into a row."""
    message, outcome, _ = judged
    timestamp = outcome.fields["timestamp"]
    for column in ("produit_nom", "categorie", "pays", "segment"):
        if column in of.declared.schema.names and label(outcome.fields[column]) != row[column]:
            return False
    if "client_id" in row and outcome.fields["client_id"] != row["client_id"]:
        return False
    if of.name == "top_produits":
        return True
    if timestamp is None or timestamp < datetime(2000, 1, 1, tzinfo=UTC):
        return False
    if timestamp > message.kafka_timestamp + timedelta(days=1):
        return False
    if "heure" in row:
        return hour_of(timestamp) == row["heure"]
    if "jour" in row:
        return timestamp.date() == row["jour"]
    return (timestamp.year, timestamp.month) == (row["annee"], row["mois"])


def expected_left_out(oracle: Oracle, of: FigureTable, row: Row) -> list[tuple[Judged, Message | None]]:
    """The messages that do not count and that somebody would look for in a row, each with the one that counted."""
    if of.name == "qualite":
        return []
    behind = {(message.partition, message.offset) for message, _, _ in expected_behind(oracle, of, row)}
    counted: dict[Any, Message] = {}
    left_out = []
    for judged in oracle.outcomes:
        message, outcome, result = judged
        if result == "valide":
            counted[outcome.fields["vente_id"]] = message
            continue
        first = counted[outcome.fields["vente_id"]] if result == "doublon" else None
        if falls(judged, of, row) or (first and (first.partition, first.offset) in behind):
            left_out.append((judged, first))
    return left_out


def place(position: Any) -> tuple[str, int, int] | None:
    return None if position is None else (position.topic_id, position.partition, position.offset)


def check(made: WitnessedLake, of: FigureTable, row: Row, found: Lineage, oracle: Oracle) -> None:
    """The lineage of a row is what the witness gives, byte for byte."""
    sent = {(each.message.partition, each.message.offset): each for each in made.sent}
    lost = row.get("motif") == "perdu"
    assert found.figure.values == held(of, row)
    assert found.sums == found.figure.values
    assert found.adds_up is (None if lost else True)
    assert found.lost == (row["messages"] if lost else 0)
    assert found.raw_missing == 0

    behind = expected_behind(oracle, of, row)
    assert found.behind.total == len(behind)
    assert [place(each.position) for each in found.behind.messages] == [place(message) for message, _, _ in behind]
    assert [(each.outcome, each.fields) for each in found.behind.messages] == [
        (result, outcome.fields) for _, outcome, result in behind
    ]
    left_out = expected_left_out(oracle, of, row)
    assert found.left_out.total == len(left_out) == sum(found.left_out_by_motif.values())
    assert [
        (place(each.position), each.outcome, each.fields, place(each.counted_at)) for each in found.left_out.messages
    ] == [(place(message), result, outcome.fields, place(first)) for (message, outcome, result), first in left_out]

    for listed in (found.behind, found.left_out):
        assert listed.next is None
        sequences = [each.sequence for each in listed.messages]
        assert sequences == sorted(sequences)
        for each in listed.messages:
            raw, original = each.raw, sent[each.position.partition, each.position.offset]
            assert each.position.topic == "ventes"
            assert raw is not None
            assert raw.payload == original.message.payload
            assert raw.kafka_timestamp == original.message.kafka_timestamp
            assert raw.date_ingestion == original.message.kafka_timestamp + timedelta(seconds=1)
            assert raw.key == original.key
            assert raw.headers == (None if original.headers is None else tuple(original.headers))


@pytest.mark.parametrize("name", tables())
def test_every_figure_is_what_is_behind_it(made: WitnessedLake, name: str) -> None:
    """Law: of every row of a table, all that counts is listed, all that was left out too, and the sums are equal."""
    of, snapshot, oracle = tables()[name], made.manifest(), made.oracle()
    rows = rows_of(made.lake, of.table)
    assert len(rows) > 3
    left_out = 0
    for row in rows:
        found = ask(made, of, row, snapshot)
        check(made, of, row, found, oracle)
        left_out += found.left_out.total
    assert left_out > 0 or name == "qualite"


@pytest.mark.parametrize(("name", "beyond"), [("ventes_aggreges", False), ("hourly_sales", True), ("qualite", True)])
def test_an_older_snapshot_has_its_own_lineage(made: WitnessedLake, name: str, beyond: bool) -> None:
    """Law: only what a snapshot covers is behind its figures, even where the tables that it names have more rows."""
    of, snapshot, oracle = tables()[name], made.manifest(1), made.oracle(1)
    rows = rows_of(made.lake, of.table, snapshot.tables[of.table.name])
    if beyond:
        newest = {table.name: made.manifest().tables[table.name] for table in (lake.CLEAN, lake.REJECTED)}
        snapshot = replace(snapshot, tables=snapshot.tables | newest)
    for row in rows:
        check(made, of, row, ask(made, of, row, snapshot), oracle)
    assert len(rows) < len(rows_of(made.lake, of.table))


def test_the_first_sale_of_each_client_is_marked(made: WitnessedLake) -> None:
    """Law: of the sales of a month, product, category and country, the first of each client is its new client."""
    of = tables()["ventes_aggreges"]
    for row in rows_of(made.lake, of.table):
        seen: set[int] = set()
        found = ask(made, of, row, made.manifest())
        for each in found.behind.messages:
            assert each.fields is not None
            assert each.nouveau_client is (each.fields["client_id"] not in seen)
            seen.add(each.fields["client_id"])
        assert len(seen) == row["clients_uniques"]


@pytest.mark.parametrize(("name", "size"), [(name, size) for name in ("top_produits", "qualite") for size in (3, 8)])
def test_pages_give_each_row_once(made: WitnessedLake, name: str, size: int) -> None:
    """Law: whatever the size of a page, all pages together are the whole list, in the total order."""
    of, snapshot = tables()[name], made.manifest()
    row = max(rows_of(made.lake, of.table), key=lambda row: row.get("ventes_count", row.get("messages")))
    whole = ask(made, of, row, snapshot)
    assert whole.behind.total > 10
    for which, parameter in (("behind", "after"), ("left_out", "left_out_after")):
        if name == "qualite" and which == "left_out":
            continue
        expected = getattr(whole, which)
        pages, cursor = [], None
        while not pages or cursor is not None:
            found = getattr(ask(made, of, row, snapshot, replace(Page(size), **{parameter: cursor})), which)
            assert (found.total, found.pages) == (expected.total, -(-expected.total // size))
            pages.append(found.messages)
            cursor = found.next
        assert [message for page in pages for message in page] == list(expected.messages)
        assert len(pages) == found.pages
        assert {len(page) for page in pages[:-1]} <= {size}


def test_a_page_that_ends_with_the_list_is_the_last(made: WitnessedLake) -> None:
    """Law: there is no empty page after the last full one."""
    of = tables()["top_produits"]
    row = max(rows_of(made.lake, of.table), key=lambda row: row["ventes_count"])
    total = ask(made, of, row, made.manifest()).behind.total
    assert ask(made, of, row, made.manifest(), Page(total)).behind.next is None
    assert ask(made, of, row, made.manifest(), Page(total - 1)).behind.next is not None


ADDED = """
from salesviews import views
NUMBER = views.Dimension("nombre", "quantite", views.pa.int64(), "how many")
NEW = views.Dimension("nouveau", "CASE WHEN nouveau_client = 1 THEN 'oui' ELSE 'non' END", views.pa.string(), "new")
BY_NUMBER = views.View("ventes_par_nombre", views.Source.SALES, (NUMBER, NEW), views.DAY,
    (views.VENTES_COUNT, views.REVENUE_TOTAL, views.NOUVEAUX_CLIENTS), "sales by number")
ROUNDED = views.Dimension("arrondi", "CASE WHEN montant_arrondi = 1 THEN 'oui' ELSE 'non' END", views.pa.string(), "")
BY_DAY = views.View("messages_par_jour", views.Source.MESSAGES, (ROUNDED,), views.DAY,
    (views.Measure("messages", "sum(messages)", ""), views.Measure("sans_pays", "sum(nul_pays)", "")),
    "messages by day", clock="kafka_timestamp")
views.VIEWS = (*views.VIEWS, BY_NUMBER, BY_DAY)
views.ROLL_UPS = (*views.ROLL_UPS, views.RollUp("nombres_par_annee", BY_NUMBER, ("nombre", "annee"),
    (views.Figure("jours", "count(DISTINCT jour)", views.pa.int64()),
     views.Figure("revenu", "sum(revenue_total)", views.money.SUM_ARROW, is_money=True)), False, "numbers by year"))
import sys, pathlib, witnessed
from salesviews import lineage
from salesviews.tables import files
from salesviews.lineage import story
from salesviews.lineage.figures import tables
from salesviews.lineage.queries import Bounds
made = witnessed.make(pathlib.Path(sys.argv[1]), 5)
asked = 0
for name in ("ventes_par_nombre", "messages_par_jour", "nombres_par_annee"):
    of = tables()[name]
    listing = files.listing(made.lake, of.table)
    for row in files.rows(made.lake, listing, listing.files).to_pylist():
        key = {field.name: str(row[field.name]) for field in of.key}
        window = None if of.window is None else row[of.window.column].isoformat()
        found = lineage.of_figure(made.lake, made.manifest(), name, key, window, lineage.Page(10), Bounds())
        assert found.adds_up and found.figure.values == {column: row[column] for column in of.columns}, found
        asked += 1
told = story.of_position(made.lake, made.manifest(), "ventes/0/5", Bounds())
assert {"messages_par_jour"} <= {figure.address.of.name for each in told.chapters for figure in each.figures}
print("asked", asked)
"""


def test_an_added_view_has_lineage(tmp_path: Path) -> None:
    """Law: one more ``View`` or ``RollUp`` among the declared ones has lineage at once, whatever its columns are."""
    program = subprocess.run(
        [sys.executable, "-c", ADDED, str(tmp_path / "lake")],
        env={"PYTHONPATH": f"{Path(__file__).parents[3]}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert program.returncode == 0, program.stderr
    assert int(program.stdout.split()[-1]) > 20


# ---- Damage ----


def damage(source: Lake, table: Table, change: Callable[[list[Row]], object], snapshot: Manifest) -> Manifest:
    """Change the rows of a table behind the pipeline's back; gives the manifest that names the result."""
    rows = rows_of(source, table)
    change(rows)
    handle = source.open(table)
    write_deltalake(handle, pa.Table.from_pylist(rows, schema=table.schema), mode="overwrite")
    return replace(snapshot, tables=snapshot.tables | {table.name: handle.version()})


HOURLY = tables()["hourly_sales"]


def busiest(made: WitnessedLake) -> Row:
    return max(rows_of(made.lake, HOURLY.table), key=lambda row: row["ventes_count"])


def test_a_wrong_figure_does_not_add_up(own: WitnessedLake) -> None:
    """Law: a figure that is a cent off shows with both values, and what to run."""
    row = busiest(own)

    def add_a_cent(rows: list[Row]) -> None:
        next(each for each in rows if each["heure"] == row["heure"])["revenue_total"] += type(row["revenue_total"])(
            "0.01"
        )

    snapshot = damage(own.lake, HOURLY.table, add_a_cent, own.manifest())
    found = ask(own, HOURLY, row, snapshot)
    assert found.adds_up is False
    assert not found.is_proved
    assert found.sums["revenue_total"] == row["revenue_total"]
    assert found.figure.values["revenue_total"] != row["revenue_total"]
    assert "salesviews audit" in " ".join(found.notes)


@pytest.mark.parametrize(
    "change", [lambda rows, at: rows.remove(at), lambda rows, at: rows.append(dict(at))], ids=["less", "more"]
)
def test_a_lost_or_repeated_sale_does_not_add_up(own: WitnessedLake, change: Callable[..., object]) -> None:
    """Law: the figure is held against ``ventes_clean``, not against itself."""
    row = busiest(own)

    def alter(rows: list[Row]) -> None:
        change(rows, next(each for each in rows if hour_of(each["timestamp"]) == row["heure"]))

    found = ask(own, HOURLY, row, damage(own.lake, lake.CLEAN, alter, own.manifest()))
    assert found.adds_up is False
    assert found.sums["ventes_count"] != row["ventes_count"]


def test_a_message_that_bronze_lost_is_listed_without_it(own: WitnessedLake) -> None:
    """Law: the sale stays, says that its raw message is not there, and how many lack it; the figure still adds up."""
    row, snapshot = busiest(own), own.manifest()
    [first, *_] = ask(own, HOURLY, row, snapshot).behind.messages

    def lose(rows: list[Row]) -> None:
        rows[:] = [each for each in rows if place_of(each) != place(first.position)]

    damage(own.lake, lake.BRONZE, lose, snapshot)
    found = ask(own, HOURLY, row, snapshot)
    assert (found.adds_up, found.raw_missing, found.is_proved) == (True, 1, False)
    assert found.behind.messages[0] == replace(first, raw=None)
    assert all(each.raw is not None for each in found.behind.messages[1:])
    assert "salesviews replay" in " ".join(found.notes)
    of, oracle = tables()["qualite"], own.oracle()
    valid = next(
        each
        for each in rows_of(own.lake, of.table)
        if each["motif"] == "valide"
        and place(first.position) in {place(m) for m, _, _ in expected_behind(oracle, of, each)}
    )
    found = ask(own, of, valid, snapshot)
    assert (found.adds_up, found.raw_missing, found.is_proved) == (None, 1, False)
    assert found.sums["messages"] == valid["messages"] - 1


def test_an_empty_bronze_leaves_the_sales(own: WitnessedLake) -> None:
    """Law: without Bronze the figure adds up, and all that was received is missing; rejections are still counted."""
    row, snapshot = busiest(own), own.manifest()
    before = ask(own, HOURLY, row, snapshot)
    damage(own.lake, lake.BRONZE, lambda rows: rows.clear(), snapshot)
    found = ask(own, HOURLY, row, snapshot)
    assert found.adds_up is True
    assert found.raw_missing == found.behind.total == before.behind.total
    assert found.behind.messages == tuple(replace(each, raw=None) for each in before.behind.messages)
    assert set(found.left_out_by_motif) <= {"doublon"}
    of = tables()["qualite"]
    rejected = [each for each in rows_of(own.lake, of.table) if each["motif"] not in ("valide", "perdu")]
    for each in rejected[:3]:
        found = ask(own, of, each, snapshot)
        assert found.behind.total == found.raw_missing == each["messages"]
        assert found.adds_up is not False


def test_a_message_under_other_fields_is_found(own: WitnessedLake) -> None:
    """Law: Bronze keeps the fields that an older program read; the raw message of a sale is found all the same."""
    row, snapshot = busiest(own), own.manifest()
    before = ask(own, HOURLY, row, snapshot)

    def misread(rows: list[Row]) -> None:
        for each in rows:
            each["timestamp"], each["pays"] = None, None
            each["jour"] = each["kafka_timestamp"].date()

    damage(own.lake, lake.BRONZE, misread, snapshot)
    found = ask(own, HOURLY, row, snapshot)
    assert found.raw_missing == 0
    assert found.behind == before.behind
    of = tables()["qualite"]
    for valid in [each for each in rows_of(own.lake, of.table) if each["motif"] == "valide"][:2]:
        found = ask(own, of, valid, snapshot)
        assert (found.adds_up, found.raw_missing) == (True, 0)


def place_of(row: Row) -> tuple[str, int, int]:
    return row["topic_id"], row["partition"], row["offset"]


TABLES = {"bronze": lake.BRONZE, "clean": lake.CLEAN, "rejected": lake.REJECTED, "figures": HOURLY.table}
BREAKS: dict[str, Callable[[Path], object]] = {
    "missing": lambda file: file.unlink(),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "empty": lambda file: file.write_bytes(b""),
    "no footer": lambda file: file.write_bytes(file.read_bytes()[:-9] + bytes(9)),
    "no pages": lambda file: file.write_bytes(
        bytes(len(file.read_bytes()) // 2) + file.read_bytes()[-len(file.read_bytes()) // 2 :]
    ),
}


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("which", TABLES)
def test_a_damaged_file_is_named(own: WitnessedLake, which: str, how: str) -> None:
    """Law: a file that cannot be read is never taken for rows that are not there."""
    row, snapshot = busiest(own), own.manifest()
    listing = files.listing(own.lake, TABLES[which])
    partition = {"bronze": (row["heure"].date(),), "rejected": ()}.get(which, (row["annee"], row["mois"]))
    file = Path(own.lake.uri(TABLES[which])) / sorted(listing.files[partition])[0]
    BREAKS[how](file)
    with pytest.raises(LakeError, match=file.name):
        ask(own, HOURLY, row, snapshot)


# ---- Questions ----

QUESTIONS: list[tuple[str, dict[str, str], str | None, str, str]] = [
    ("hourly_sale", {}, None, "view", "'hourly_sales'"),
    ("", {}, None, "view", "'qualite'"),
    ("hourly_sales", {"pays": "France"}, "2026-02-27T12:00", "pays", "none"),
    ("hourly_sales", {}, None, "window", "2026-0"),
    ("hourly_sales", {}, "2026-02-27T10:30", "window", "2026-02-27T10:00 and 2026-02-27T11:00"),
    ("hourly_sales", {}, "2030-01-01T00:00", "window", "nearest: 2026-0"),
    ("hourly_sales", {}, "yesterday", "window", "2025-12-22T10:00"),
    ("hourly_sales", {}, "2026-02-30T10:00", "window", "2025-12-22T10:00"),
    ("hourly_sales", {}, "9999-12-31T23:59:59", "window", "2025-12-22T10:00"),
    ("ventes_par_pays", {}, "2026-02-27T10:00", "pays", "'France'"),
    ("ventes_par_pays", {"pays": "france"}, "2026-02-27T10:00", "pays", "close to it is 'France'"),
    ("ventes_par_pays", {"pays": "Frnce"}, "2026-02-27T10:00", "pays", "close to it is 'France'"),
    ("ventes_par_pays", {"pays": "' OR 1=1 --"}, "2026-02-27T10:00", "pays", "there are"),
    ("ventes_par_pays", {"Pays": "France"}, "2026-02-27T10:00", "Pays", "it has pays"),
    (
        "ventes_par_produit",
        {"produit_nom": "Café", "categorie": "café"},
        "2026-02-27",
        "categorie",
        "with produit_nom='Café'",
    ),
    (
        "ventes_par_produit",
        {"produit_nom": "Café"},
        "2026-02-27",
        "categorie",
        "its key: produit_nom, categorie, window",
    ),
    (
        "ventes_par_produit",
        {"produit_nom": "Café", "categorie": "Boissons"},
        "2026-02-27T10:00",
        "window",
        "2026-02-27 and 2026-02-28",
    ),
    ("top_produits", {"produit_nom": "Café", "categorie": "Boissons"}, "2026-02-27", "window", "no windows"),
    (
        "ventes_aggreges",
        {"produit_nom": "Café", "categorie": "Boissons", "pays": "UK", "annee": "x", "mois": "2"},
        None,
        "annee",
        "whole number",
    ),
    (
        "ventes_aggreges",
        {"produit_nom": "Café", "categorie": "Boissons", "pays": "UK", "annee": "2026", "mois": "13"},
        None,
        "mois",
        "there are 2",
    ),
    (
        "ventes_aggreges",
        {"produit_nom": "Café", "categorie": "Boissons", "pays": "UK", "annee": "99999999999", "mois": "2"},
        None,
        "annee",
        "whole number",
    ),
]


@pytest.mark.parametrize(("view", "key", "window", "parameter", "says"), QUESTIONS, ids=str)
def test_a_question_that_leads_nowhere_says_what_is_there(
    made: WitnessedLake, view: str, key: dict[str, str], window: str | None, parameter: str, says: str
) -> None:
    """Law: the first part that is wrong is named, with what is close to it or what there is."""
    with pytest.raises(ParameterError) as raised:
        lineage.of_figure(made.lake, made.manifest(), view, key, window, Page(), Bounds())
    assert raised.value.parameter == parameter
    assert says in str(raised.value)
    assert raised.value.exit_status == 2


def test_a_window_may_be_written_in_several_ways(made: WitnessedLake) -> None:
    """Law: an hour as the API gives it, as ISO 8601, or with an offset is the same window."""
    row = busiest(made)
    hour: datetime = row["heure"]
    for text in (
        f"{hour:%Y-%m-%d %H:%M}",
        f"{hour:%Y-%m-%dT%H:%M:%SZ}",
        f"{hour + timedelta(hours=5, minutes=30):%Y-%m-%dT%H:%M}+05:30",
    ):
        found = lineage.of_figure(made.lake, made.manifest(), "hourly_sales", {}, text, Page(1), Bounds())
        assert found.figure.values == held(HOURLY, row)


@pytest.mark.parametrize("cursor", ["", "5", "0-", "-5", "0-x", "0-1-2", "٣-1", "0-" + "1" * 50, "1-5"])
@pytest.mark.parametrize("parameter", ["after", "left_out_after"])
def test_a_cursor_of_something_else_is_refused(made: WitnessedLake, parameter: str, cursor: str) -> None:
    """Law: a cursor is what a page before gave, of the same generation; nothing else is guessed."""
    with pytest.raises(ParameterError) as raised:
        ask(made, HOURLY, busiest(made), made.manifest(), replace(Page(), **{parameter: cursor}))
    assert raised.value.parameter == parameter


def test_an_empty_lake_has_no_figures(tmp_path: Path) -> None:
    """Law: before the first sale, every question says so."""
    made = WitnessedLake(tmp_path)
    found = manifest.read(made.lake)
    assert found is not None
    for name, of in tables().items():
        with pytest.raises(ParameterError, match="no figures yet"):
            lineage.of_figure(
                made.lake,
                found,
                name,
                {each.name: "1" for each in of.key},
                of.window and "2026-01-01",
                Page(),
                Bounds(),
            )


def test_bounds_hold(made: WitnessedLake) -> None:
    """Law: what takes too long or too much memory ends with a message that says so, and with what to do."""
    for bounds, says in ((Bounds(time_s=1e-9), "takes more than the 1e-09 s"), (Bounds(memory_mb=1), "1 MB of memory")):
        with pytest.raises(LineageError, match=says) as raised:
            lineage.of_figure(
                made.lake, made.manifest(), "hourly_sales", {}, texts(HOURLY, busiest(made))[1], Page(), bounds
            )
        assert "shorter window" in str(raised.value)


def test_a_snapshot_of_an_older_program_is_told(made: WitnessedLake) -> None:
    """Law: a table that the snapshot does not name is no empty table."""
    snapshot = made.manifest()
    older = replace(
        snapshot, tables={name: version for name, version in snapshot.tables.items() if "hourly" not in name}
    )
    with pytest.raises(LakeError, match="names no version of silver/hourly_sales"):
        ask(made, HOURLY, busiest(made), older)


def test_every_view_is_asked(made: WitnessedLake) -> None:
    """Law: the names are those of the declared views and roll-ups."""
    assert list(tables()) == [each.name for each in (*views.VIEWS, *views.ROLL_UPS)]
    assert made.manifest().sequence > 0
