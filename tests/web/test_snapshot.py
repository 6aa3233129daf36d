import logging
import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from deltalake import write_deltalake

from salesviews import lake, manifest
from salesviews.errors import LakeError
from salesviews.manifest import Manifest
from web.snapshot import LISTING_INTERVAL_S, NoSnapshotError, SnapshotStore

JANUARY = datetime(2025, 1, 15, 10, tzinfo=UTC)
ASKING = 4
"""Threads that ask all the time, on two cores: more of them only keep the snapshots from changing."""
FEBRUARY = datetime(2025, 2, 15, 10, tzinfo=UTC)


def an_hour(at: datetime, sales: int) -> dict[str, Any]:
    return {"heure": at, "ventes_count": sales, "revenue_total": Decimal(sales), "quantite_totale": sales}


def a_product(name: str, sales: int) -> dict[str, Any]:
    return {"produit_nom": name, "categorie": "c", "ventes_count": sales}


def served_hours(store: SnapshotStore) -> dict[int, int]:
    with store.read() as snapshot:
        return dict(snapshot.query("SELECT mois, ventes_count FROM hourly_sales"))


def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose bytes are read from now on, by their path under the lake."""
    opened: list[str] = []
    real = Path.read_bytes

    def note(path: Path) -> bytes:
        opened.append(str(path).partition("/silver/")[2])
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", note)
    return opened


def test_nothing_is_served_before_the_first_manifest(store: SnapshotStore, silver: Any) -> None:
    """Tables with rows are no snapshot: only the manifest makes them one."""
    silver.put("hourly_sales", [an_hour(JANUARY, 5)])
    assert not store.refresh()
    with pytest.raises(NoSnapshotError), store.read():
        pass
    silver.snapshot()
    assert store.refresh()
    assert served_hours(store) == {1: 5}


def test_a_lake_that_is_made_later_is_found(tmp_path: Path, silver: Any, clock: Any) -> None:
    """The server may start before the processors made the lake: that is no error."""
    store = SnapshotStore(lake.Lake(str(tmp_path / "later")), clock)
    assert not store.refresh()
    shutil.copytree(silver.lake.root, tmp_path / "later")
    other = type(silver)(tmp_path / "later", clock)
    other.snapshot()
    assert store.refresh()


def test_a_version_that_no_manifest_names_is_never_read(store: SnapshotStore, silver: Any) -> None:
    """What an interrupted checkpoint wrote stays unseen, also through the reload of other tables."""
    silver.put("hourly_sales", [an_hour(JANUARY, 1)])
    silver.snapshot()
    assert store.refresh()
    silver.put("hourly_sales", [an_hour(JANUARY, 666)])
    assert not store.refresh()
    assert served_hours(store) == {1: 1}


def test_the_version_that_the_manifest_names_is_read_not_the_newest(store: SnapshotStore, silver: Any) -> None:
    """A manifest that is loaded late still gives its own versions."""
    silver.put("hourly_sales", [an_hour(JANUARY, 1)])
    named = silver.snapshot()
    silver.put("hourly_sales", [an_hour(JANUARY, 666)])
    assert store.refresh()
    with store.read() as snapshot:
        assert snapshot.manifest == named
        assert snapshot.query("SELECT ventes_count FROM hourly_sales") == [(1,)]


def test_only_partitions_that_changed_are_read(
    store: SnapshotStore, silver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload costs what changed: other tables and other months stay as they are, and a month that vanished goes."""
    silver.put("hourly_sales", [an_hour(JANUARY, 1), an_hour(FEBRUARY, 2)])
    silver.put("top_produits", [a_product("p", 3)])
    silver.snapshot()
    store.refresh()
    opened = read_files(monkeypatch)

    silver.put("hourly_sales", [an_hour(FEBRUARY, 20)], "annee = 2025 AND mois = 2")
    silver.snapshot()
    assert store.refresh()
    assert {path.rpartition("/")[0] for path in opened if not path.startswith("snapshots/")} == {
        "hourly_sales/annee=2025/mois=2"
    }
    assert served_hours(store) == {1: 1, 2: 20}

    silver.put("hourly_sales", [], "annee = 2025 AND mois = 1")
    silver.snapshot()
    assert store.refresh()
    assert served_hours(store) == {2: 20}


def test_a_request_sees_one_snapshot_to_its_end(store: SnapshotStore, silver: Any) -> None:
    """Snapshots that arrive while a request runs are for the next request."""
    silver.put("hourly_sales", [an_hour(JANUARY, 1)])
    first = silver.snapshot()
    store.refresh()
    with store.read() as snapshot:
        for sales in (2, 3):
            silver.put("hourly_sales", [an_hour(JANUARY, sales)])
            silver.snapshot()
            assert store.refresh()
        assert snapshot.manifest == first
        assert snapshot.query("SELECT ventes_count FROM hourly_sales") == [(1,)]
        assert snapshot.query("SELECT id FROM snapshots") == [(first.id,)]
    assert served_hours(store) == {1: 3}


def test_what_was_replaced_is_dropped_once_no_request_sees_it(store: SnapshotStore, silver: Any) -> None:
    """Memory does not grow with the number of snapshots."""

    def memory_bytes() -> int:
        with store.read() as snapshot:
            ((size,),) = snapshot.query("SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory()")
        return int(size)

    def replace(round_number: int) -> None:
        rows = [a_product(f"product {round_number} {number}", number) for number in range(20_000)]
        silver.put("top_produits", rows)
        silver.snapshot()
        assert store.refresh()

    replace(0)
    once = memory_bytes()
    with store.read() as held:
        for round_number in range(1, 4):
            replace(round_number)
        assert held.query("SELECT count(*) FROM top_produits WHERE produit_nom LIKE 'product 0 %'") == [(20_000,)]
        assert memory_bytes() > 2 * once
    replace(4)
    assert memory_bytes() < 1.5 * once


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads take turns more often than usual: more interleavings, and readers do not starve the writer."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    yield
    sys.setswitchinterval(before_s)


@pytest.mark.usefixtures("frequent_switches")
def test_all_figures_of_a_request_are_from_one_snapshot(silver: Any, store: SnapshotStore) -> None:
    """Whatever is swapped in meanwhile, the manifest and every table that a request reads belong together."""
    silver.put("hourly_sales", [an_hour(JANUARY, 0)])
    silver.put("top_produits", [a_product("p", 0)])
    number_of_id = {silver.snapshot().id: 0}
    store.refresh()
    is_over = threading.Event()
    seen: list[set[int]] = [set() for _ in range(ASKING)]
    wrong: list[object] = []

    def ask(thread: int) -> None:
        shuffled = random.Random(thread)
        queries = [
            "SELECT DISTINCT ventes_count FROM hourly_sales",
            "SELECT DISTINCT ventes_count FROM top_produits",
            "SELECT DISTINCT hours.ventes_count FROM hourly_sales AS hours JOIN top_produits USING (ventes_count)",
        ]
        try:
            while not is_over.is_set():
                with store.read() as snapshot:
                    expected = number_of_id[snapshot.manifest.id]
                    answers = {query: snapshot.query(query) for query in shuffled.sample(queries, len(queries))}
                if set(map(tuple, answers.values())) != {((expected,),)}:
                    wrong.append((expected, answers))
                seen[thread].add(expected)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(ASKING)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 11):
            silver.put("hourly_sales", [an_hour(JANUARY, number)])
            silver.put("top_produits", [a_product("p", number)])
            # A reader may see it as soon as it is loaded, so it is known before.
            number_of_id[max(number_of_id) + 1] = number
            assert silver.snapshot().id == max(number_of_id)
            assert store.refresh()
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert len(set().union(*seen)) > 3, "the snapshots were not swapped while requests ran"


def a_file_of(silver: Any, table: str) -> Path:
    (file,) = Path(silver.lake.root, "silver", table).rglob("*.parquet")
    return file


@pytest.mark.parametrize("damage", ["vanished", "damaged", "cut"])
def test_a_bad_file_leaves_the_snapshot_before_in_service(
    store: SnapshotStore, silver: Any, eventually: Callable[..., Any], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """The figures stay, the file is named as an error in the log and in the status, and a repair is found by itself."""
    first = silver.snapshot()
    store.refresh()
    silver.put("hourly_sales", [an_hour(JANUARY, 7)])
    file = a_file_of(silver, "hourly_sales")
    content = file.read_bytes()
    if damage == "vanished":
        file.unlink()
    else:
        file.write_bytes(b"no parquet" * 100 if damage == "damaged" else content[: len(content) // 2])
    silver.snapshot()

    def errors() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]

    store.start()
    try:
        eventually(errors, what="the failure is logged, and before that known")
        assert str(file) in store.failure.message
        assert "silver/hourly_sales" in store.failure.message
        assert len(errors()) == 1
        assert str(file) in errors()[0]
        with store.read() as snapshot:
            assert snapshot.manifest == first

        file.write_bytes(content)
        eventually(lambda: store.failure is None, what="the repaired snapshot is loaded")
        assert served_hours(store) == {1: 7}
    finally:
        store.close()


def test_a_manifest_without_a_table_names_it(store: SnapshotStore, silver: Any) -> None:
    """A manifest of an older program is refused whole, rather than served with a table of another snapshot."""
    named = silver.snapshot()
    store.refresh()
    tables = {name: version for name, version in named.tables.items() if name != "silver/qualite"}
    older = type(named)(**{**vars(named), "id": named.id + 1, "tables": tables})
    write_deltalake(silver.lake.open(lake.SNAPSHOTS), older.to_arrow(), mode="overwrite")
    with pytest.raises(LakeError, match="silver/qualite: a program with other views wrote it"):
        store.refresh()
    with store.read() as snapshot:
        assert snapshot.manifest == named


def test_figures_that_are_being_computed_are_told_as_such(store: SnapshotStore, silver: Any, clock: Any) -> None:
    """Law: while a rebuild computes what is lost, its manifest names no table: it says so, and accuses no program."""
    announced = Manifest(0, clock(), 0, manifest.EMPTY_SEQUENCE, {}, False, {}, successor=3)
    write_deltalake(silver.lake.open(lake.SNAPSHOTS), announced.to_arrow(), mode="overwrite")
    with pytest.raises(LakeError, match="generation 3, which `salesviews rebuild` is computing") as raised:
        store.refresh()
    assert "other views" not in str(raised.value)


def test_a_lake_made_anew_is_found(store: SnapshotStore, silver: Any, elapsed: list[float], clock: Any) -> None:
    """A lake that was deleted and created again has smaller versions, and other rows under the same version numbers."""
    for sales in (1, 2):
        silver.put("hourly_sales", [an_hour(JANUARY, sales), an_hour(FEBRUARY, sales)])
        silver.snapshot()
    store.refresh()
    shutil.rmtree(silver.lake.root)
    again = type(silver)(Path(silver.lake.root), clock)
    again.create()
    again.put("hourly_sales", [an_hour(JANUARY, 30)])
    again.snapshot()
    elapsed[0] += LISTING_INTERVAL_S
    assert store.refresh()
    assert served_hours(store) == {1: 30}


def test_a_lake_that_vanished_is_an_error_until_it_is_back(
    store: SnapshotStore, silver: Any, elapsed: list[float], tmp_path: Path
) -> None:
    """Each look says so again: a failure is never taken for mended because nobody looked."""
    first = silver.snapshot()
    store.refresh()
    shutil.move(silver.lake.root, tmp_path / "away")
    elapsed[0] += LISTING_INTERVAL_S
    for _ in range(2):
        with pytest.raises(LakeError):
            store.refresh()
    shutil.move(tmp_path / "away", silver.lake.root)
    assert not store.refresh()
    with store.read() as snapshot:
        assert snapshot.manifest == first


def test_the_thread_follows_the_manifest(store: SnapshotStore, silver: Any, eventually: Callable[..., Any]) -> None:
    """Started once, the store serves what is there and what comes."""
    store.start()
    try:
        for sales in (1, 2, 3):
            silver.put("hourly_sales", [an_hour(JANUARY, sales)])
            named = silver.snapshot()

            def is_served(named: object = named) -> bool:
                try:
                    with store.read() as snapshot:
                        return bool(snapshot.manifest == named)
                except NoSnapshotError:
                    return False

            eventually(is_served, timeout_s=20, what=f"snapshot {named.id} is served")
            assert served_hours(store) == {1: sales}
    finally:
        store.close()
