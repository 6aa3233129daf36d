from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import WriterProperties, write_deltalake

from salesviews import views
from salesviews.errors import LakeError
from salesviews.lake import CLEAN, OVERWRITTEN, Lake, Table, of_roll_up, of_view
from salesviews.tables import files


def put(lake: Lake, table: Table, rows: list[dict[str, Any]], predicate: str | None = None) -> None:
    """Overwrite a table, or what a predicate names of it; columns that are left out are null."""
    lake.create(table)
    values = pa.Table.from_pylist(rows, schema=table.schema)
    write_deltalake(lake.open(table), values, mode="overwrite", predicate=predicate)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """In a folder that is no plain word, and that looks like a partition: it must reach the files as it is."""
    return Lake(str(tmp_path / "annee=1 été" / "lake"))


def test_rows_come_back_as_they_were_written(lake: Lake) -> None:
    """Partition columns, which are in no file, have their declared type; every other value is the one written."""
    row = {
        "produit_nom": "Café \x00 <b>",
        "categorie": "",
        "pays": "Côte d'Ivoire",
        "annee": 2025,
        "mois": 12,
        "nombre_ventes": 2**60,
        "chiffre_affaires": Decimal("9999999999999999.99"),
        "panier_moyen": Decimal("0.01"),
        "clients_uniques": 1,
    }
    table = of_roll_up(views.VENTES_AGGREGES)
    put(lake, table, [row])
    listing = files.listing(lake, table)
    assert set(listing.files) == {(2025, 12)}
    rows = files.rows(lake, listing, listing.files)
    assert rows.schema == table.schema
    assert rows.to_pylist() == [row]


@pytest.mark.parametrize("table", OVERWRITTEN, ids=lambda table: table.name)
def test_an_empty_table_has_its_columns(lake: Lake, table: Table) -> None:
    """A table that was only created is a table without rows, not an error."""
    lake.create(table)
    listing = files.listing(lake, table)
    assert listing.files == {}
    assert files.rows(lake, listing, listing.files).schema == table.schema


def test_a_version_that_is_not_there_is_named(lake: Lake) -> None:
    """The error says which version of which table."""
    lake.create(of_view(views.HOURLY_SALES))
    with pytest.raises(LakeError, match=r"Version 41 of silver/hourly_sales"):
        files.listing(lake, of_view(views.HOURLY_SALES), 41)


def test_what_changed_between_versions(lake: Lake) -> None:
    """Partitions that were added, written again or emptied, and no other."""
    table = of_view(views.HOURLY_SALES)

    def month(number: int, sales: int) -> dict[str, Any]:
        start = datetime(2025, number, 1, tzinfo=UTC)
        return {"heure": start, "ventes_count": sales, "annee": 2025, "mois": number}

    put(lake, table, [month(1, 1), month(2, 1), month(3, 1)])
    before = files.listing(lake, table)
    put(lake, table, [month(2, 2)], "annee = 2025 AND mois = 2")
    put(lake, table, [], "annee = 2025 AND mois = 3")
    put(lake, table, [month(4, 1)], "annee = 2025 AND mois = 4")
    after = files.listing(lake, table)
    assert after.changed_since(before) == {(2025, 2), (2025, 3), (2025, 4)}
    assert after.changed_since(after) == set()


@pytest.mark.parametrize("folder", ["annee=1 été", "it's", "a*b?", "{x,y}", "100%"])
def test_duckdb_reads_the_files_of_a_version(tmp_path: Path, folder: str) -> None:
    """Whatever the lake's folder is called: the rows of that version, without the partition columns, and no others."""
    source = Lake(str(tmp_path / folder))
    table = of_view(views.HOURLY_SALES)
    rows = [
        {"heure": datetime(2025, month, 1, tzinfo=UTC), "ventes_count": month, "annee": 2025, "mois": month}
        for month in (1, 2)
    ]
    put(source, table, rows)
    listing = files.listing(source, table)
    put(source, table, rows[:1])
    for keeps, expected in ((lambda _: True, [1, 2]), ({(2025, 2)}.__contains__, [2])):
        query = f"SELECT * FROM {files.parquet_sql(source, listing.only(keeps))} ORDER BY ventes_count"
        found = duckdb.sql(query).to_arrow_table()
        assert found.column("ventes_count").to_pylist() == expected
        assert "annee" not in found.column_names


def test_the_file_over_which_duckdb_failed_is_found(lake: Lake) -> None:
    """By its name where the error has it; else by reading; and where all can be read, there is none."""
    table = of_view(views.HOURLY_SALES)
    put(lake, table, [{"heure": datetime(2025, 1, 1, tzinfo=UTC), "ventes_count": 1, "annee": 2025, "mois": 1}])
    listing = files.listing(lake, table)
    [[path]] = listing.files.values()
    ticks: list[None] = []
    assert files.find_unreadable(lake, listing, ValueError("something"), lambda: ticks.append(None)) is None
    assert ticks
    named = files.find_unreadable(lake, listing, ValueError(f"cannot open {path}"), lambda: None)
    assert path in str(named)
    (Path(lake.uri(table)) / path).write_bytes(b"PAR1")
    found = files.find_unreadable(lake, listing, ValueError("something"), lambda: None)
    assert path in str(found)


def test_spans_say_between_which_values_a_file_is(lake: Lake) -> None:
    """The log tells the bounds of a column, by file; a file without rows has none, and is left out."""
    lake.create(CLEAN)
    for sequences in ([-5, 7], [8], []):
        put_sales(lake, sequences)
    spans = files.spans(lake.open(CLEAN), CLEAN, "sequence")
    assert sorted((span.partition, span.rows, span.low, span.high) for span in spans) == [
        ((2026, 2), 1, 8, 8),
        ((2026, 2), 2, -5, 7),
    ]


def test_a_file_whose_values_the_log_does_not_tell_may_have_any(lake: Lake) -> None:
    """Law: a file is only passed over where the log says that it can be."""
    lake.create(CLEAN)
    lake.open(CLEAN).alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "1"})
    put_sales(lake, [1, 2])
    [span] = files.spans(lake.open(CLEAN), CLEAN, "sequence")
    assert (span.low, span.high) == (-(2**63), 2**63 - 1)


def test_row_groups_out_of_bounds_are_not_read(lake: Lake) -> None:
    """Law: of a file, the row groups that have some value within the bounds come whole, with their partition."""
    lake.create(CLEAN)
    put_sales(lake, list(range(30)), WriterProperties(max_row_group_size=10))
    handle = lake.open(CLEAN)
    [span] = files.spans(handle, CLEAN, "sequence")
    listing = files.of_handle(handle, CLEAN)
    for bounds, expected in (
        ((10, 19), range(10, 20)),
        ((9, 10), range(20)),
        ((30, 40), range(0)),
        ((-5, 99), range(30)),
    ):
        found = list(files.batches_within(lake, listing, span, ("sequence", "mois"), "sequence", bounds, 4))
        assert [each for batch in found for each in batch.column("sequence").to_pylist()] == list(expected)
        assert {each for batch in found for each in batch.column("mois").to_pylist()} <= {2}


def put_sales(lake: Lake, sequences: list[int], properties: WriterProperties | None = None) -> None:
    rows = [{"sequence": sequence, "annee": 2026, "mois": 2} for sequence in sequences]
    values = pa.Table.from_pylist(rows, schema=CLEAN.schema)
    write_deltalake(lake.open(CLEAN), values, mode="append", writer_properties=properties)
