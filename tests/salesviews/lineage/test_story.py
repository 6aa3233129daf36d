"""The story of every message of a small dirty lake, against the witness; and what damage and bad questions give."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import witnessed
from deltalake import write_deltalake
from lakes import TOPIC_ID
from oracle import Message, hour_of
from witnessed import WitnessedLake

from salesviews import lake, views
from salesviews.errors import LakeError, LineageError, ParameterError
from salesviews.lake import Lake, Table
from salesviews.lineage import story
from salesviews.lineage.figures import tables
from salesviews.lineage.queries import Bounds
from salesviews.lineage.story import Chapter, Story
from salesviews.manifest import Manifest
from salesviews.tables import files

SEED = 6
Row = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WitnessedLake:
    print(f"seed {SEED}")
    return witnessed.make(tmp_path_factory.mktemp("made") / "annee=1 été" / "lake", SEED, count=24)


@pytest.fixture
def own(made: WitnessedLake, tmp_path: Path) -> WitnessedLake:
    """A lake that a test may damage."""
    return made.copy(tmp_path / "lake")


def at(made: WitnessedLake, message: Message, snapshot: Manifest | None = None) -> Story:
    position = f"{message.topic_id}/{message.partition}/{message.offset}"
    return story.of_position(made.lake, snapshot or made.manifest(), position, Bounds())


def rows_of(source: Lake, table: Table) -> list[Row]:
    listing = files.listing(source, table)
    rows: list[Row] = files.rows(source, listing, listing.files).to_pylist()
    return rows


def is_at(chapter: Chapter, message: Message) -> bool:
    position = chapter.message.position
    return (position.topic_id, position.partition, position.offset) == (
        message.topic_id,
        message.partition,
        message.offset,
    )


def test_every_message_has_its_outcome_and_its_figures(made: WitnessedLake) -> None:
    """Law: each message is told with the witness's outcome, what was received, and the rows of every table it is in."""
    held = {name: rows_of(made.lake, of.table) for name, of in tables().items()}
    counted: dict[int, Message] = {}
    for message, outcome, result in made.oracle().outcomes:
        told = at(made, message)
        [chapter] = told.chapters
        assert told.is_proved
        assert not told.notes
        assert is_at(chapter, message)
        assert (chapter.message.outcome, chapter.is_waiting, chapter.agrees) == (result, False, True)
        assert chapter.message.fields == outcome.fields
        assert chapter.message.raw is not None
        assert chapter.message.raw.payload == message.payload
        vente_id = outcome.fields["vente_id"]
        if result == "valide":
            counted[vente_id] = message
        assert (chapter.message.counted_at is not None) == (result == "doublon")
        if chapter.message.counted_at is not None:
            assert chapter.message.counted_at.offset == counted[vente_id].offset
        names = [each.address.of.name for each in chapter.figures]
        assert sorted(names) == (sorted(tables()) if result == "valide" else ["qualite"])
        for figure in chapter.figures:
            name, values = figure.address.of.name, figure.address.values
            [row] = [row for row in held[name] if all(row[column] == value for column, value in values.items())]
            assert figure.values == {column: row[column] for column in figure.values}
            if name == "hourly_sales":
                assert row["heure"] == hour_of(outcome.fields["timestamp"])
            if name == "qualite":
                assert (row["motif"], row["heure"]) == (result, hour_of(message.kafka_timestamp))


def test_a_sale_has_all_of_its_messages(made: WitnessedLake) -> None:
    """Law: under a ``vente_id`` are all messages that have it, in the total order."""
    by_id: dict[int, list[tuple[Message, str]]] = {}
    for message, outcome, result in made.oracle().outcomes:
        if outcome.fields["vente_id"] is not None:
            by_id.setdefault(outcome.fields["vente_id"], []).append((message, result))
    chosen = sorted(by_id, key=lambda vente_id: -len(by_id[vente_id]))[:6]
    assert len(by_id[chosen[0]]) > 2
    for vente_id in chosen:
        told = story.of_sale(made.lake, made.manifest(), str(vente_id), Bounds())
        assert [each.message.outcome for each in told.chapters] == [result for _, result in by_id[vente_id]]
        for chapter, (message, _) in zip(told.chapters, by_id[vente_id], strict=True):
            assert is_at(chapter, message)


def test_what_an_older_snapshot_does_not_cover_is_waiting(made: WitnessedLake) -> None:
    """Law: a message that Bronze has and the snapshot does not is waiting, which is no damage."""
    after = made.sent[made.snapshots[0] :]
    told = at(made, after[0].message, made.manifest(0))
    [chapter] = told.chapters
    assert (chapter.is_waiting, chapter.message.outcome, chapter.agrees, chapter.figures) == (True, None, None, ())
    assert told.is_proved
    assert "does not cover" in told.notes[0]


def test_a_topic_that_the_snapshot_does_not_know_is_waiting(own: WitnessedLake) -> None:
    """Law: what Bronze has of a topic that was created again is found under its id, and is not counted yet."""
    message = first_valid(own)
    damage(
        own.lake,
        lake.BRONZE,
        lambda rows: rows.append(row_at(rows, message) | {"topic_id": "aq/0/7+_-=", "offset": 3}),
        own.manifest(),
    )
    position = f"aq/0/7+_-=/{message.partition}/3"
    [chapter] = story.of_position(own.lake, own.manifest(), position, Bounds()).chapters
    assert chapter.is_waiting
    assert (str(chapter.message.position), chapter.message.raw is not None) == (position, True)


def damage(source: Lake, table: Table, change: Callable[[list[Row]], object], snapshot: Manifest) -> Manifest:
    """Change the rows of a table behind the pipeline's back; gives the manifest that names the result."""
    rows = rows_of(source, table)
    change(rows)
    handle = source.open(table)
    write_deltalake(handle, pa.Table.from_pylist(rows, schema=table.schema), mode="overwrite")
    return replace(snapshot, tables=snapshot.tables | {table.name: handle.version()})


def first_valid(made: WitnessedLake) -> Message:
    return next(message for message, _, result in made.oracle().outcomes if result == "valide")


def row_at(rows: list[Row], message: Message) -> Row:
    return next(row for row in rows if (row["partition"], row["offset"]) == (message.partition, message.offset))


def test_a_sale_that_its_payload_does_not_give_is_told(own: WitnessedLake) -> None:
    """Law: the payload is parsed again: a value of Silver that is not in it is a damage."""
    message = first_valid(own)

    def change(rows: list[Row]) -> None:
        row_at(rows, message)["quantite"] += 1

    told = at(own, message, damage(own.lake, lake.CLEAN, change, own.manifest()))
    assert told.chapters[0].agrees is False
    assert not told.holds
    assert not told.is_proved
    assert "salesviews audit" in told.notes[0]


def test_a_message_without_an_outcome_is_told(own: WitnessedLake) -> None:
    """Law: a position that the snapshot covers has an outcome in Silver; one that has none is a damage."""
    message = first_valid(own)
    snapshot = damage(own.lake, lake.CLEAN, lambda rows: rows.remove(row_at(rows, message)), own.manifest())
    told = at(own, message, snapshot)
    [chapter] = told.chapters
    assert (chapter.message.outcome, chapter.is_waiting) == (None, False)
    assert not told.holds
    assert not told.is_proved


def test_a_figure_that_is_not_there_is_told(own: WitnessedLake) -> None:
    """Law: a sale that counts is in a row of every view; where there is none, its story does not hold."""
    message = first_valid(own)
    table = lake.of_view(views.HOURLY_SALES)
    told = at(own, message, damage(own.lake, table, lambda rows: rows.clear(), own.manifest()))
    assert not told.holds
    assert not told.is_proved
    [hourly] = [each for each in told.chapters[0].figures if each.address.of.name == "hourly_sales"]
    assert set(hourly.values.values()) == {None}


def test_what_bronze_lost_is_told_from_silver(own: WitnessedLake) -> None:
    """Law: without the raw message a sale has its fields and figures, no proof, and a note that says what to run."""
    message = first_valid(own)
    before = at(own, message)
    damage(own.lake, lake.BRONZE, lambda rows: rows.remove(row_at(rows, message)), own.manifest())
    told = at(own, message)
    [chapter] = told.chapters
    assert chapter.message == replace(before.chapters[0].message, raw=None)
    assert chapter.agrees is None
    assert {each.address.of.name for each in chapter.figures} == set(tables()) - {"qualite"}
    assert (told.holds, told.is_proved) == (True, False)
    assert "salesviews replay" in told.notes[0]


def test_a_damaged_file_is_named(own: WitnessedLake) -> None:
    """Law: a file that cannot be read ends with its name."""
    file = Path(own.lake.uri(lake.BRONZE)) / min(min(files.listing(own.lake, lake.BRONZE).files.values()))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(LakeError, match=file.name):
        at(own, first_valid(own))


@pytest.mark.parametrize(
    ("vente_id", "says"),
    [
        ("x", "64 bits"),
        ("", "64 bits"),
        ("1.0", "64 bits"),
        ("9223372036854775808", "64 bits"),
        ("-9223372036854775809", "64 bits"),
        ("٣", "64 bits"),
        ("1 OR 1=1", "64 bits"),
        ("9223372036854775807", "No message with vente_id=9223372036854775807"),
        ("-9223372036854775808", "No message"),
    ],
)
def test_a_sale_that_is_none_is_told(made: WitnessedLake, vente_id: str, says: str) -> None:
    """Law: what is no id is refused; one that no message has says so."""
    with pytest.raises(ParameterError, match=says) as raised:
        story.of_sale(made.lake, made.manifest(), vente_id, Bounds())
    assert raised.value.parameter == "vente_id"


@pytest.mark.parametrize(
    ("position", "says"),
    [
        ("", "TOPIC_ID/PARTITION/OFFSET"),
        ("ventes", "TOPIC_ID/PARTITION/OFFSET"),
        ("ventes/0/-1", "TOPIC_ID/PARTITION/OFFSET"),
        ("ventes/0/1/x", "TOPIC_ID/PARTITION/OFFSET"),
        ("ventes/0/1/2", "no such partition"),
        ("v' OR '1'='1/0/1", "TOPIC_ID/PARTITION/OFFSET"),
        ("ventes/7/0", f"It has {TOPIC_ID}/0, {TOPIC_ID}/1"),
        ("autre/0/0", "no such partition"),
        ("ventes/0/999999", "ends before"),
        ("ventes/1/20", "transaction marker"),
    ],
)
def test_a_position_without_a_message_is_told(made: WitnessedLake, position: str, says: str) -> None:
    """Law: what is no position is refused; at one without a message, it is said why there may be none."""
    if position == "ventes/1/20":  # positions that were skipped
        taken = {each.message.offset for each in made.sent if each.message.partition == 1}
        position = f"ventes/1/{min(set(range(max(taken))) - taken)}"
    with pytest.raises(ParameterError, match=says) as raised:
        story.of_position(made.lake, made.manifest(), position, Bounds())
    assert raised.value.parameter == "position"


def test_a_topics_name_serves_where_it_is_one(made: WitnessedLake) -> None:
    """Law: a name finds its topic; that of several topics, one after the other, is refused with their ids."""
    message = first_valid(made)
    position = f"ventes/{message.partition}/{message.offset}"
    assert is_at(story.of_position(made.lake, made.manifest(), position, Bounds()).chapters[0], message)
    again = made.manifest()
    other = next(iter(again.positions))
    more = replace(again, positions=again.positions | {replace(other, topic_id="topic-2"): 5})
    with pytest.raises(ParameterError, match="topic-1, topic-2"):
        story.of_position(made.lake, more, position, Bounds())


def test_bounds_hold(made: WitnessedLake) -> None:
    """Law: a story that takes too long ends with a message that says so."""
    with pytest.raises(LineageError, match="takes more than"):
        story.of_sale(made.lake, made.manifest(), "1", Bounds(time_s=1e-9))
