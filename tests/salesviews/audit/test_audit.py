"""The audit of small lakes that the real parser, counter and sinks write, undamaged and damaged."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import CommitProperties, Transaction, write_deltalake
from lakes import START, TOPIC_ID, LakeMaker

from salesviews import audit, definition, lake, manifest, views
from salesviews.audit import audit_result
from salesviews.errors import AuditError
from salesviews.lake import Lake, Table
from salesviews.simulation import market
from salesviews.tables import files
from sinks.bronze import stream_name

SEED = 11
OPTIONS = audit.Options(dedup_days=30, wait_s=0)
CLEAN, REJECTED, BRONZE = lake.CLEAN.name, lake.REJECTED.name, lake.BRONZE.name


def sale(vente_id: int, **fields: Any) -> bytes:
    ordinary = {"client_id": 1, "timestamp": "2026-02-27T10:00:00Z", "quantite": 1, "montant": 10, "produit_nom": "B"}
    return json.dumps({"vente_id": vente_id} | ordinary | fields).encode()


ONLY_ONCE = 77
"""The client of a sale that is sent once, and is the only one of its client."""

EXTREME = [
    sale(9_001, montant="9999999999999999.99", quantite=2**63 - 1, produit_nom="cher"),
    sale(9_002, montant="9999999999999999.99", quantite=2**63 - 1, produit_nom="cher"),
    sale(9_003, client_id=-(2**63), produit_nom="nul \x00 ici", pays=""),
    sale(9_004, montant=17.985, timestamp="2026-02-28T00:30:00+01:00"),
    sale(9_005, timestamp="2026-02-27T09:59:59.999700", client_id=ONLY_ONCE),
    None,
    b"\xff",
]


def dirty_lake(root: Path) -> Lake:
    """Two snapshots of dirty sales over two months and two partitions, with duplicates across both."""
    made = LakeMaker(Lake(str(root)))
    batches = market.messages(SEED, 1_200, START - timedelta(days=40), START, dirty_pct=30, late_pct=10, first_id=1)
    payloads = [*(payload for batch in batches for payload in batch.payloads), *EXTREME]
    for place in range(4):
        made.send(place % 2, payloads[place::4], skipped=3 * place, lost=place // 3)
        made.send(place % 2, payloads[place::16])
        if place % 2:
            made.checkpoint()
    return made.lake


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return dirty_lake(tmp_path_factory.mktemp("made") / "lake")


@pytest.fixture
def sound(made: Lake, tmp_path: Path) -> Lake:
    """A lake of the test's own, in a folder that is no plain word, and that looks like a partition."""
    root = tmp_path / "annee=1 été" / "lake"
    shutil.copytree(made.root, root)
    return Lake(str(root))


def run(source: Lake, options: audit.Options = OPTIONS) -> audit_result.Result:
    return audit.run(source, options, stream_name)


def rows_of(source: Lake, table: Table) -> pa.Table:
    listing = files.listing(source, table)
    return files.rows(source, listing, listing.files)


def damage(source: Lake, table: Table, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change rows of a table behind the pipeline's back: its newest version, and the manifest that names it."""
    rows = rows_of(source, table).to_pylist()
    rows.sort(key=lambda row: tuple(str(row[name]) for name in table.schema.names if name in _PLACES))
    change(rows)
    handle = source.open(table)
    found = manifest.read(source)
    assert found is not None
    kept = [
        Transaction(stream_name(each), version)
        for each in found.positions
        if (version := handle.transaction_version(stream_name(each))) is not None
    ]
    write_deltalake(
        handle,
        pa.Table.from_pylist(rows, schema=table.schema),
        mode="overwrite",
        commit_properties=CommitProperties(app_transactions=kept),
    )
    if table is not lake.BRONZE:
        found.tables[table.name] = handle.version()
        found.files.pop(table.name, None)
        write_deltalake(source.open(lake.SNAPSHOTS), found.to_arrow(), mode="overwrite")


_PLACES = {"topic_id", "partition", "offset", "produit_nom", "categorie", "pays", "segment", "heure", "jour", "motif"}


def test_a_sound_lake_holds(sound: Lake) -> None:
    """Law: what the pipeline writes of dirty messages, extreme ones, gaps and losses is what the audit computes."""
    result = run(sound)
    assert result.holds, audit_result.text(result)
    assert not result.differences
    assert set(result.checked) == {lake.BRONZE.name, *(table.name for table in lake.SILVER)}
    assert result.checked == {name: expected_rows(sound, name) for name in result.checked}
    assert result.lost == 1
    for each in result.partitions:
        assert each.received == each.valid + each.duplicates + sum(each.rejected.values())
        assert min(each.valid, each.duplicates, len(each.rejected)) > 0
    assert sum(each.positions - each.received for each in result.partitions) == 3 * (1 + 2 + 3)


def expected_rows(source: Lake, name: str) -> int:
    [table] = [table for table in lake.TABLES if table.name == name]
    rows = rows_of(source, table)
    if name == lake.of_view(views.QUALITE).name:
        rows = rows.filter(pc.field("motif") != "perdu")
    return int(rows.num_rows)


def first(rows: list[dict[str, Any]], **values: Any) -> dict[str, Any]:
    return next(row for row in rows if all(row[name] == value for name, value in values.items()))


def add_one(column: str) -> Callable[[list[dict[str, Any]]], object]:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[len(rows) // 2][column] += 1

    return change


def add_a_cent(column: str) -> Callable[[list[dict[str, Any]]], object]:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[len(rows) // 2][column] += rows[0][column].__class__("0.01")

    return change


def add_a_second(column: str) -> Callable[[list[dict[str, Any]]], object]:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[len(rows) // 2][column] += timedelta(seconds=1)

    return change


def set_value(column: str, value: Any, **chosen: Any) -> Callable[[list[dict[str, Any]]], object]:
    return lambda rows: first(rows, **chosen).update({column: value})


def remove(rows: list[dict[str, Any]]) -> None:
    del rows[len(rows) // 2]


def repeat(rows: list[dict[str, Any]]) -> None:
    rows.append(dict(rows[len(rows) // 2]))


def change_payload(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if row["montant"] and row["payload"] and b'"quantite": 1,' in row["payload"])
    row["payload"] = row["payload"].replace(b'"quantite": 1,', b'"quantite": 2,')


def misplace(rows: list[dict[str, Any]]) -> None:
    """Two neighbours of a partition change places in the total order."""
    mine = {row["offset"]: row for row in rows if row["partition"] == 0}
    row, after = next((mine[offset], mine[offset + 1]) for offset in mine if offset + 1 in mine)
    row["sequence"], after["sequence"] = after["sequence"], row["sequence"]


VIEWS = {view.name: lake.of_view(view) for view in views.VIEWS}
ROLL_UPS = {roll_up.name: lake.of_roll_up(roll_up) for roll_up in views.ROLL_UPS}

DAMAGES: dict[str, tuple[Table, Callable[[list[dict[str, Any]]], object], set[tuple[str, str]]]] = {
    **{
        f"a cent of {name}": (table, add_a_cent("revenue_total"), {(table.name, "revenue_total")})
        for name, table in VIEWS.items()
        if name != "qualite"
    },
    "a message of qualite": (VIEWS["qualite"], add_one("messages"), {("silver/qualite", "messages")}),
    "a null of qualite": (VIEWS["qualite"], add_one("nuls_pays"), {("silver/qualite", "nuls_pays")}),
    "a quantity": (VIEWS["hourly_sales"], add_one("quantite_totale"), {("silver/hourly_sales", "quantite_totale")}),
    "a client": (
        VIEWS["ventes_produit_pays"],
        add_one("nouveaux_clients"),
        {("silver/ventes_produit_pays", "nouveaux_clients")},
    ),
    "the last sale of a customer": (
        VIEWS["ventes_par_client"],
        add_a_second("derniere_vente"),
        {("silver/ventes_par_client", "derniere_vente")},
    ),
    "a row of a view removed": (VIEWS["ventes_par_pays"], remove, {("silver/ventes_par_pays", "*")}),
    "a row of a view repeated": (VIEWS["ventes_par_pays"], repeat, {("silver/ventes_par_pays", "*")}),
    "a cent of a roll-up": (
        ROLL_UPS["ventes_aggreges"],
        add_a_cent("panier_moyen"),
        {("silver/ventes_aggreges", "panier_moyen")},
    ),
    "a count of a roll-up": (
        ROLL_UPS["top_produits"],
        add_one("ventes_count"),
        {("silver/top_produits", "ventes_count")},
    ),
    "a sale that counts removed": (
        lake.CLEAN,
        lambda rows: rows.remove(first(rows, client_id=ONLY_ONCE)),
        {(CLEAN, "*"), ("conservation", "valid + duplicates + rejected")},
    ),
    "a sale that counts repeated": (
        lake.CLEAN,
        repeat,
        {(f"{CLEAN} and {REJECTED}", "rows of this position")},
    ),
    "a cent of a sale": (lake.CLEAN, add_a_cent("montant"), {(CLEAN, "montant")}),
    "an hour of a sale": (lake.CLEAN, add_one("heure"), {(CLEAN, "heure")}),
    "a name of a sale": (lake.CLEAN, set_value("client_nom", "Personne"), {(CLEAN, "client_nom")}),
    "a motif": (lake.REJECTED, set_value("motif", "montant_negatif", motif="json_invalide"), {(REJECTED, "motif")}),
    "a rejection removed": (
        lake.REJECTED,
        remove,
        {(REJECTED, "*"), ("conservation", "valid + duplicates + rejected")},
    ),
    "what a duplicate points to": (
        lake.REJECTED,
        set_value("compte_offset", 0, motif="doublon"),
        {(REJECTED, "compte")},
    ),
    "the order": (lake.CLEAN, misplace, {(f"{CLEAN} and {REJECTED}", "sequence")}),
    "a message repeated in Bronze": (lake.BRONZE, repeat, {(BRONZE, "rows of this position")}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_named(sound: Lake, name: str) -> None:
    """Law: one value that is changed is one difference, with its table, column, key and both values, and no other."""
    table, change, expected = DAMAGES[name]
    damage(sound, table, change)
    result = run(sound)
    assert not result.holds
    assert {(each.table, each.column) for each in result.differences} == expected, audit_result.text(result)
    assert result.differences_total == len(result.differences) == len(expected)
    for each in result.differences:
        assert each.key
        assert each.expected != each.found
    places = [each for each in result.differences if each.position]
    if table is not VIEWS["qualite"] and "repeated" not in name:
        assert places
    json.dumps(audit_result.as_json(result))


@pytest.mark.parametrize("change", [remove, change_payload], ids=["removed", "changed"])
def test_damage_to_bronze_is_named(sound: Lake, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Law: a message that is gone or altered shows at its position, and in every figure that it was part of."""
    before = {(row["partition"], row["offset"]): row["payload"] for row in rows_of(sound, lake.BRONZE).to_pylist()}
    damage(sound, lake.BRONZE, change)
    after = {(row["partition"], row["offset"]): row["payload"] for row in rows_of(sound, lake.BRONZE).to_pylist()}
    [place] = [place for place in before if place not in after or before[place] != after[place]]
    result = run(sound)
    at_place = {
        each.table for each in result.differences if (each.key.get("partition"), each.key.get("offset")) == place
    }
    assert at_place & {CLEAN, REJECTED}
    assert place in after or "conservation" in result.differences_by_table
    assert place not in after or BRONZE in at_place
    assert "silver/hourly_sales" in result.differences_by_table or place not in after


def test_a_sale_that_is_not_the_earliest_is_named(sound: Lake) -> None:
    """Law: of two messages of an id, the one that counts is the first in the total order."""
    doubles = [row for row in rows_of(sound, lake.REJECTED).to_pylist() if row["motif"] == "doublon"]
    double = next(row for row in doubles if row["compte_partition"] == row["partition"])
    places = ("partition", "offset", "sequence")

    def count_the_second(rows: list[dict[str, Any]]) -> None:
        row = first(rows, partition=double["compte_partition"], offset=double["compte_offset"])
        double["first"] = {name: row[name] for name in places}
        row.update({name: double[name] for name in places})

    def reject_the_first(rows: list[dict[str, Any]]) -> None:
        row = first(rows, partition=double["partition"], offset=double["offset"])
        row.update(double["first"], compte_partition=double["partition"], compte_offset=double["offset"])

    damage(sound, lake.CLEAN, count_the_second)
    damage(sound, lake.REJECTED, reject_the_first)
    result = run(sound)
    named = {(each.table, each.key["offset"]) for each in result.differences if each.table in (CLEAN, REJECTED)}
    both = {double["offset"], double["first"]["offset"]}
    assert {(table, offset) for table in (CLEAN, REJECTED) for offset in both} <= named


def test_a_duplicate_that_was_counted_is_named(sound: Lake) -> None:
    """Law: an id counts once, though every table agrees that it counted twice."""
    double = next(row for row in rows_of(sound, lake.REJECTED).to_pylist() if row["motif"] == "doublon")
    places = ("partition", "offset", "sequence")

    def count_it(rows: list[dict[str, Any]]) -> None:
        sale = first(rows, partition=double["compte_partition"], offset=double["compte_offset"])
        rows.append(sale | {name: double[name] for name in places})

    damage(sound, lake.CLEAN, count_it)
    damage(sound, lake.REJECTED, lambda rows: rows.remove(first(rows, offset=double["offset"], motif="doublon")))
    result = run(sound)
    assert {(each.table, each.expected is None, each.found is None) for each in result.differences} == {
        (CLEAN, True, False),
        (REJECTED, False, True),
    }
    assert {each.position["offset"] for each in result.differences if each.position} == {double["offset"]}


def test_an_id_may_count_again_after_the_horizon(tmp_path: Path) -> None:
    """Law: the audit's horizon is the pipeline's: in days of Kafka timestamps, whatever order they come in, and as many
    as the snapshot says that it was counted with.
    """
    made = LakeMaker(Lake(str(tmp_path)))
    for days in (0, 30, 29, 31, 61, 60, 95, 40, 126, 125):
        made.send(days % 2, [sale(1), sale(2 + days % 3), sale(1)], START + timedelta(days=days))
        made.checkpoint()
    result = run(made.lake)
    assert result.holds, audit_result.text(result)
    assert rows_of(made.lake, lake.CLEAN).num_rows > 4
    assert run(made.lake, audit.Options(dedup_days=300, wait_s=0)).holds
    found = manifest.read(made.lake)
    assert found is not None
    other = replace(found, id=found.id + 1, definition=definition.of(300))
    write_deltalake(made.lake.open(lake.SNAPSHOTS), other.to_arrow(), mode="overwrite")
    assert not run(made.lake).holds


def test_bronze_that_is_behind_names_the_partition(sound: Lake) -> None:
    """Law: positions that a snapshot covers and Bronze does not are a difference, not a wait for ever."""
    rows = rows_of(sound, lake.BRONZE)
    handle = source_handle = sound.open(lake.BRONZE)
    found = manifest.read(sound)
    assert found is not None
    source, end = sorted(found.positions.items())[1]
    properties = CommitProperties(app_transactions=[Transaction(stream_name(source), end - 1)])
    write_deltalake(source_handle, rows, mode="overwrite", commit_properties=properties)
    assert handle.transaction_version(stream_name(source)) == end - 1
    result = run(sound)
    [difference] = result.differences
    assert (difference.table, difference.key["partition"]) == (BRONZE, source.partition)
    assert (difference.expected, difference.found) == (end, end - 1)


def test_a_snapshot_in_the_middle_is_what_is_audited(sound: Lake) -> None:
    """Law: rows that lie beyond the newest snapshot, in Bronze or in Silver, are no difference."""
    found = manifest.read(sound, 2)
    assert found is not None
    assert found.id == 2
    write_deltalake(sound.open(lake.SNAPSHOTS), found.to_arrow(), mode="overwrite")
    result = run(sound)
    assert result.holds, audit_result.text(result)
    assert result.messages < rows_of(sound, lake.BRONZE).num_rows


def test_rows_of_an_interrupted_checkpoint_are_no_difference(tmp_path: Path) -> None:
    """Law: of what a table's version holds, only what the snapshot covers is compared."""
    maker = LakeMaker(Lake(str(tmp_path)))
    maker.send(0, [sale(1)])
    maker.checkpoint()
    maker.send(0, [sale(2)])
    maker.send(0, [sale(3)])
    maker.interrupted_checkpoint()
    maker.send(0, [sale(2)])
    maker.checkpoint()
    assert rows_of(maker.lake, lake.CLEAN).num_rows == 3
    result = run(maker.lake)
    assert result.holds, audit_result.text(result)
    assert result.messages == 2


def test_an_empty_lake_holds(tmp_path: Path) -> None:
    """Law: of nothing there is nothing to differ."""
    result = run(LakeMaker(Lake(str(tmp_path))).lake)
    assert (result.holds, result.messages) == (True, 0)


def test_a_sample_finds_what_it_has_and_says_what_it_has_not(sound: Lake) -> None:
    """Law: a sample of everything finds a damaged message; each sample says which seed it had and what it left out."""
    sound_sample = run(sound, audit.Options(dedup_days=30, wait_s=0, sample_pct=50, seed=SEED))
    assert sound_sample.holds, audit_result.text(sound_sample)
    assert sound_sample.seed == SEED
    assert len(sound_sample.not_checked) > 0
    damage(sound, lake.CLEAN, add_a_cent("montant"))
    found = run(sound, audit.Options(dedup_days=30, wait_s=0, sample_pct=100))
    assert {(each.table, each.column) for each in found.differences} == {(CLEAN, "montant")}


def test_a_sample_of_nothing_is_no_proof(sound: Lake) -> None:
    """Law: whatever its seed and share, a sample has checked a message, or ends as an audit that could not be made."""
    empty: list[AuditError] = []
    for seed in range(8):
        try:
            result = run(sound, audit.Options(dedup_days=30, wait_s=0, sample_pct=0.8, seed=seed))
        except AuditError as error:
            empty.append(error)
        else:
            assert result.messages > 0
    assert 0 < len(empty) < 8, "the share is chosen such that both happen"
    assert {error.exit_status for error in empty} == {2}
    assert all("nothing was checked" in str(error) for error in empty)


def test_a_sample_is_about_as_large_as_it_says(sound: Lake) -> None:
    """Law: also of a small lake a sample has about its share, and another seed has other messages."""
    total = run(sound).messages
    sizes = {run(sound, audit.Options(dedup_days=30, wait_s=0, sample_pct=20, seed=seed)).messages for seed in range(4)}
    assert all(0.08 * total < size < 0.35 * total for size in sizes), (sizes, total)
    assert len(sizes) > 1


def test_a_sample_does_not_take_back_what_a_whole_audit_found(sound: Lake, tmp_path: Path) -> None:
    """Law: the last result is that of a whole audit, or that of a sample which found differences."""
    sample = audit.Options(dedup_days=30, wait_s=0, sample_pct=100)
    holds, of_sample = run(sound), run(sound, sample)
    damage(sound, lake.CLEAN, add_a_cent("montant"))
    bad, bad_of_sample = run(sound), run(sound, sample)
    for written, kept in ((bad, bad), (of_sample, bad), (holds, holds), (bad_of_sample, bad_of_sample)):
        audit_result.write(written, tmp_path)
        assert audit_result.last(tmp_path) == json.loads(json.dumps(audit_result.as_json(kept)))


def test_only_some_of_many_differences_are_shown(sound: Lake) -> None:
    """Law: all are counted, the first of each table are named."""

    def shift(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["ventes_count"] += 1

    damage(sound, VIEWS["hourly_sales"], shift)
    result = run(sound, audit.Options(dedup_days=30, wait_s=0, shown=3))
    assert len(result.differences) == 3
    assert result.differences_total == result.checked["silver/hourly_sales"]


@pytest.mark.parametrize("table", [lake.BRONZE, lake.CLEAN, VIEWS["hourly_sales"]], ids=lambda table: table.name)
def test_a_damaged_file_is_named(sound: Lake, table: Table) -> None:
    """Law: a file that cannot be read is neither a difference nor a pass."""
    file = Path(sound.uri(table)) / min(min(files.listing(sound, table).files.values()))
    file.write_bytes(file.read_bytes()[:-20] + bytes(20))
    with pytest.raises(AuditError, match=file.name) as raised:
        run(sound)
    assert raised.value.exit_status == 2


def test_a_lake_without_a_snapshot_cannot_be_audited(tmp_path: Path) -> None:
    """Law: what cannot be audited ends with status 2, and says why."""
    with pytest.raises(AuditError, match="no Delta table"):
        run(Lake(str(tmp_path)))
    Lake(str(tmp_path)).create(lake.SNAPSHOTS)
    with pytest.raises(AuditError, match="no snapshot yet"):
        run(Lake(str(tmp_path)))


def test_the_last_result_is_kept(sound: Lake, tmp_path: Path) -> None:
    """Law: the file holds the last result and is JSON; without one, or with another's file, there is none."""
    home = tmp_path / "home"
    assert audit_result.last(home) is None
    result = run(sound)
    audit_result.write(result, home)
    file = home / audit_result.FILE
    assert audit_result.last(home) == json.loads(json.dumps(audit_result.as_json(result)))
    assert [each.name for each in home.iterdir()] == [file.name]
    file.write_text("{")
    assert audit_result.last(home) is None
    assert TOPIC_ID in audit_result.text(result)
