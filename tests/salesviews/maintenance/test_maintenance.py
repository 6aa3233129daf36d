"""Maintenance in a test's own time; beside live processes it is in tests/integration/test_maintenance.py."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aging import INTERVAL, RETENTION, SOURCE, AgingLake, contents, data_files, log_files, tree
from checkpoints import write_snapshot
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.table import TableOptimizer

from salesviews import lake, maintenance
from salesviews.errors import ExpiredError, LakeError, UnreadableError
from salesviews.lake import Lake
from salesviews.maintenance import shelving
from salesviews.maintenance.history import History, Shelf
from salesviews.maintenance.retention import Retention
from salesviews.manifest import Manifest
from salesviews.tables import files
from salesviews.views import HOURLY_SALES
from sinks import overwrites
from sinks.appends import covered
from sinks.bronze import stream_name
from sinks.silver import named_files

HOURLY = lake.of_view(HOURLY_SALES)
HOUR = timedelta(hours=1)
RECENT = HOUR // INTERVAL
FEW = 5
"""So many small files are compacted here."""


@pytest.fixture
def aging(tmp_path: Path) -> AgingLake:
    """Without a sale."""
    return AgingLake(tmp_path / "lake")


@pytest.fixture(scope="module")
def _of_age(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], AgingLake]:
    folder = tmp_path_factory.mktemp("of age")
    made = {0: AgingLake(folder / "0")}

    def of_age(snapshots: int) -> AgingLake:
        if snapshots not in made:
            younger = max(age for age in made if age < snapshots)
            made[snapshots] = made[younger].copy(folder / str(snapshots))
            grow(made[snapshots], snapshots - younger)
        return made[snapshots]

    return of_age


@pytest.fixture
def grown(_of_age: Callable[[int], AgingLake], tmp_path: Path) -> Callable[[int], AgingLake]:
    """``grown(12)``: a lake with so many sales, each with a snapshot, and without a maintenance."""
    return lambda snapshots: _of_age(snapshots).copy(tmp_path / "lake")


def grow(aging: AgingLake, snapshots: int, every: int | None = None) -> None:
    """Some snapshots more, with a maintenance after each so many of them."""
    for number in range(1, snapshots + 1):
        aging.snapshot()
        if every and number % every == 0:
            assert aging.maintain(small_files=FEW).is_done


def assert_kept_snapshots_answer(aging: AgingLake, retention: Retention = RETENTION) -> list[int]:
    """Each shows every row that it showed when it was made; of all others it is said that they are not kept any more.

    Gives the ids of those that are kept.
    """
    history = History(aging.lake, retention, aging)
    kept = {each.id: each for each in history.snapshots()}
    assert kept
    for each in kept.values():
        assert contents(aging.lake, history.resolve(each.id)) == aging.shown[each.id], each
    for identity in set(range(1, max(kept))) - kept.keys():
        with pytest.raises(ExpiredError):
            history.find(identity)
    assert offsets_in_bronze(aging) == list(range(aging.offset))
    return sorted(kept)


def offsets_in_bronze(aging: AgingLake) -> list[int]:
    rows = aging.lake.open(lake.BRONZE).to_pyarrow_dataset().to_table(["offset"])
    return sorted(rows.column("offset").to_pylist())


def test_what_is_on_disk_stays_bounded(aging: AgingLake) -> None:
    """Law: however many snapshots were written, the files are those of what is kept; and what is kept answers."""
    bound = RECENT + 12 + 10  # the recent ones, one an hour for 12 hours, and what came since the last run
    for _ in range(12):
        grow(aging, 7, every=7)
        assert data_files(aging, HOURLY) <= bound
        assert data_files(aging, lake.SNAPSHOTS) <= bound
        for table in (lake.BRONZE, lake.CLEAN, lake.RETAINED):
            assert data_files(aging, table) <= 20
        for table in (lake.BRONZE, lake.CLEAN, HOURLY, lake.SNAPSHOTS, lake.RETAINED):
            assert log_files(aging, table) <= 35
    kept = assert_kept_snapshots_answer(aging)
    assert kept[-RECENT:] == list(range(kept[-1] - RECENT + 1, kept[-1] + 1))
    assert RECENT + 10 <= len(kept) <= RECENT + 13


def test_recorded_positions_survive(aging: AgingLake) -> None:
    """Law: a batch that is read again after compaction, checkpoint and log clean-up still adds nothing."""
    grow(aging, 24, every=12)
    aging.age(3 * HOUR)
    aging.maintain(small_files=2)
    assert data_files(aging, lake.BRONZE) <= 3
    assert covered(aging.lake, lake.BRONZE, stream_name(SOURCE)) == 24
    aging.begin()
    for offset in range(25):
        aging.add(offset)
    aging.bronze.flush()
    write_snapshot(aging.silver)
    assert aging.lake.open(lake.BRONZE).to_pyarrow_dataset().count_rows() == 25
    assert [row["vente_id"] for row in contents(aging.lake, aging.newest())[lake.CLEAN.name]] == sorted(
        range(25), key=str
    )


# ---- Crashes, and others at the same time ----


class CrashError(BaseException):
    pass


@contextmanager
def effects(at: Callable[[str], None]) -> Iterator[None]:
    """Calls ``at(what)`` before and after each thing that a maintenance changes."""

    def around(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            if isinstance(arguments[0], Path) and "/lake/" not in str(arguments[0]):
                return real(*arguments, **options)
            at(f"before {name}")
            result = real(*arguments, **options)
            at(f"after {name}")
            return result

        return run

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shelving, "write_deltalake", around(write_deltalake, "retaining"))
        patched.setattr(DeltaTable, "create_checkpoint", around(DeltaTable.create_checkpoint, "a checkpoint"))
        patched.setattr(TableOptimizer, "compact", around(TableOptimizer.compact, "compacting"))
        patched.setattr(Path, "unlink", around(Path.unlink, "deleting"))
        yield


@pytest.fixture(scope="module")
def ripe(tmp_path_factory: pytest.TempPathFactory) -> AgingLake:
    """A lake on which a maintenance has everything to do; tests take copies of it."""
    made = AgingLake(tmp_path_factory.mktemp("ripe") / "lake")
    grow(made, 8)
    assert made.maintain(small_files=1000).is_done
    grow(made, 12)
    log = Path(made.lake.uri(HOURLY), "_delta_log")
    for path in (*log.glob("*.checkpoint.parquet"), log / "_last_checkpoint"):
        path.unlink()
    return made


@pytest.fixture(scope="module")
def places(ripe: AgingLake, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Where to disturb: before the first of each run of the same effect, and in the middle of the last run."""
    seen: list[str] = []
    with effects(seen.append):
        ripe.copy(tmp_path_factory.mktemp("places") / "lake").maintain(small_files=FEW)
    names = [each.partition(" ")[2] for each in seen]
    assert set(names) == {"retaining", "a checkpoint", "compacting", "deleting"}
    edges = [0, *(place for place in range(1, len(names)) if names[place - 1] != names[place])]
    return [*edges, (edges[-1] + len(names)) // 2]


def disturbed(place: int, disturb: Callable[[], None]) -> Callable[[str], None]:
    count = iter(range(1_000_000))

    def at(_what: str) -> None:
        if next(count) == place:
            disturb()

    return at


def test_a_crash_anywhere_is_made_up_for_by_the_next_run(ripe: AgingLake, places: list[int], tmp_path: Path) -> None:
    """Law: wherever it is killed, what is kept answers at once, and the next run does what is left to do."""
    undisturbed = ripe.copy(tmp_path / "undisturbed")
    undisturbed.maintain(small_files=FEW)
    expected = assert_kept_snapshots_answer(undisturbed)

    def crash() -> None:
        raise CrashError

    for place in places:
        aging = ripe.copy(tmp_path / f"crash-{place}" / "lake")
        with effects(disturbed(place, crash)), pytest.raises(CrashError):
            aging.maintain(small_files=FEW)
        assert_kept_snapshots_answer(aging)
        aging.stamp()
        assert aging.maintain(small_files=FEW).is_done
        assert assert_kept_snapshots_answer(aging) == expected
        for table in lake.TABLES:
            assert data_files(aging, table) <= data_files(undisturbed, table) + 2, (place, table.name)
            assert log_files(aging, table) <= log_files(undisturbed, table) + 2, (place, table.name)


@pytest.mark.parametrize(("asleep", "every"), [(timedelta(0), 1), (3 * HOUR, 2)], ids=["at_once", "asleep"])
def test_two_at_once_are_harmless(
    ripe: AgingLake, places: list[int], tmp_path: Path, asleep: timedelta, every: int
) -> None:
    """Law: whatever another maintenance and the processors do in the middle of one, nothing that is kept goes.

    Asleep, hours pass in between; what the sleeper then does was decided long ago.
    """
    for place in places[::every]:
        aging = ripe.copy(tmp_path / f"place-{place}" / "lake")

        def meanwhile(aging: AgingLake = aging) -> None:
            aging.age(asleep)
            grow(aging, 2)
            assert aging.maintain(small_files=FEW).is_done

        with effects(disturbed(place, meanwhile)):
            assert aging.maintain(small_files=FEW).is_done
        assert_kept_snapshots_answer(aging)
        grow(aging, 2)
        assert aging.maintain(small_files=FEW).is_done
        assert_kept_snapshots_answer(aging)


# ---- What must stay ----


def test_an_interrupted_checkpoint_can_be_taken_back(grown: Callable[[int], AgingLake]) -> None:
    """Law: a view table that was overwritten without a manifest goes back to the manifest's version days later."""
    aging = grown(12)
    for number in range(25):
        rows = aging.lake.open(HOURLY).to_pyarrow_table()
        write_deltalake(
            aging.lake.open(HOURLY),
            rows,
            mode="overwrite",
            commit_properties=CommitProperties(app_transactions=[Transaction("views", 1_000 + number)]),
        )
    aging.age(5 * HOUR)
    assert aging.maintain().is_done
    aging.age(5 * HOUR)
    assert aging.maintain().is_done
    aging.begin()
    aging.snapshot()
    assert_kept_snapshots_answer(aging)
    [hour] = aging.shown[14][HOURLY.name]
    assert hour["ventes_count"] == 13


def test_files_of_writers_that_have_not_committed_stay(grown: Callable[[int], AgingLake]) -> None:
    """Law: of the files that nothing names, only old ones go, and none whose name begins with an underscore."""
    aging = grown(2)
    folder = Path(aging.lake.uri(lake.BRONZE)) / "jour=2026-01-01"
    old = ["part-old.parquet", "part-old.parquet#1", "_unreadable-part.parquet"]
    for name in old:
        (folder / name).touch()
    aging.age(2 * HOUR)
    (folder / "part-young.parquet").touch()
    aging.stamp()
    aging.maintain()
    left = {path.name for path in folder.iterdir()}
    assert left & {*old, "part-young.parquet"} == {"_unreadable-part.parquet", "part-young.parquet"}
    aging.age(2 * HOUR)
    aging.maintain()
    assert "part-young.parquet" not in {path.name for path in folder.iterdir()}


def write_manifest(aging: AgingLake, new: Manifest) -> None:
    write_deltalake(
        aging.lake.open(lake.SNAPSHOTS),
        new.to_arrow(),
        mode="overwrite",
        commit_properties=CommitProperties(custom_metadata=new.commit_metadata),
    )
    aging.newest()
    aging.age(INTERVAL)


def rebuilt(aging: AgingLake) -> None:
    """A new generation replaces the sales; the last manifest of the old one names their old files."""
    newest = aging.newest()
    sales = {
        table.name: named_files(aging.lake, aging.lake.open(table), table, ()) for table in (lake.CLEAN, lake.REJECTED)
    }
    closing = replace(newest, id=newest.id + 1, created_at=aging.now, files={**newest.files, **sales}, successor=1)
    write_manifest(aging, closing)
    rows = aging.lake.open(lake.CLEAN).to_pyarrow_table()
    write_deltalake(aging.lake.open(lake.CLEAN), rows, mode="overwrite")
    versions = {table.name: aging.lake.open(table).version() for table in lake.SILVER}
    new = replace(newest, id=newest.id + 2, created_at=aging.now, generation=1, tables=versions)
    write_manifest(aging, new)


def test_snapshots_of_an_older_generation_stay_whole(grown: Callable[[int], AgingLake]) -> None:
    """Law: what a rebuild replaced is kept as long as a snapshot shows it, sales too; then it goes."""
    aging = grown(8)
    rebuilt(aging)
    old_sales = set(Path(aging.lake.uri(lake.CLEAN)).rglob("part-*.parquet"))
    aging.begin()
    aging.age(3 * HOUR)
    grow(aging, 6, every=2)
    kept = assert_kept_snapshots_answer(aging)
    generations = {each.id: each.generation for each in History(aging.lake, RETENTION, aging).snapshots()}
    assert {generations[identity] for identity in kept} == {0, 1}
    for _ in range(2):
        aging.age(7 * HOUR)
        grow(aging, 2, every=1)
    assert {each.generation for each in History(aging.lake, RETENTION, aging).snapshots()} == {1}
    assert not [path for path in old_sales if path.exists()]
    assert_kept_snapshots_answer(aging)


def test_nothing_is_compacted_while_a_generation_is_computed(grown: Callable[[int], AgingLake]) -> None:
    """Law: a rebuild reads Bronze and replaces the sales in peace."""
    aging = grown(8)
    newest = aging.newest()
    write_manifest(aging, replace(newest, id=newest.id + 1, successor=1))
    result = aging.maintain(small_files=2)
    assert result.is_done
    assert sum(table.compacted for table in result.tables) == 0


def test_the_newest_snapshot_is_kept_whatever_its_age(grown: Callable[[int], AgingLake]) -> None:
    """Law: a pipeline that stood still for longer than retention has its newest snapshot, and can go on."""
    aging = grown(12)
    aging.age(timedelta(days=30))
    for _ in range(2):
        assert aging.maintain().is_done
        aging.age(2 * HOUR)
    assert assert_kept_snapshots_answer(aging) == [13]
    assert data_files(aging, HOURLY) == data_files(aging, lake.SNAPSHOTS) == 1
    aging.begin()
    grow(aging, 2)
    assert assert_kept_snapshots_answer(aging) == [13, 14, 15]


def test_all_snapshots_inside_retention_can_be_kept(grown: Callable[[int], AgingLake]) -> None:
    """Law: with a step of 0 none is thinned out."""
    everything = replace(RETENTION, step_s=0)
    aging = grown(12)
    assert aging.maintain(everything).is_done
    aging.age(2 * HOUR)
    grow(aging, 2)
    assert aging.maintain(everything).is_done
    assert assert_kept_snapshots_answer(aging, everything) == list(range(1, 16))


# ---- What is not well ----


def test_a_table_whose_file_is_gone_is_left_alone_and_named(grown: Callable[[int], AgingLake]) -> None:
    """Law: nothing is deleted of a table that is damaged; the others are maintained."""
    aging = grown(12)
    aging.age(3 * HOUR)
    gone = next(Path(aging.lake.uri(lake.BRONZE)).rglob("part-*.parquet"))
    gone.rename(gone.with_name("_away"))
    before = data_files(aging, lake.BRONZE)
    result = aging.maintain()
    problems = {table.table: table.problem for table in result.tables if table.problem}
    assert list(problems) == [lake.BRONZE.name]
    assert gone.name in str(problems[lake.BRONZE.name])
    assert "salesviews replay" in str(problems[lake.BRONZE.name])
    assert not result.is_done
    assert data_files(aging, lake.BRONZE) == before
    assert data_files(aging, HOURLY) < 12


@pytest.mark.parametrize("damage", ["commit", "checkpoint"])
def test_a_damaged_log_is_left_alone_and_named(grown: Callable[[int], AgingLake], damage: str) -> None:
    """Law: a log that cannot be read says nothing of what is needed, so nothing goes."""
    aging = grown(25)
    aging.age(3 * HOUR)
    log = Path(aging.lake.uri(HOURLY)) / "_delta_log"
    name = f"{23:020}.json" if damage == "commit" else f"{19:020}.checkpoint.parquet"
    (log / name).write_bytes(b"{" * 100)
    before = tree(Path(aging.lake.uri(HOURLY)))
    result = aging.maintain()
    assert [table.table for table in result.tables if table.problem] == [HOURLY.name]
    assert tree(Path(aging.lake.uri(HOURLY))) == before


def test_a_snapshot_that_cannot_be_read_is_not_kept_and_named(grown: Callable[[int], AgingLake]) -> None:
    """Law: it does not stop the maintenance of all others, and is no secret."""
    aging = grown(14)
    [name] = aging.lake.open(lake.SNAPSHOTS, 6).file_uris()
    Path(name).write_bytes(b"no parquet")
    result = aging.maintain()
    assert not result.is_done
    assert name in result.problems[0]
    assert aging.maintain().is_done
    assert_kept_snapshots_answer(aging)


def test_a_damaged_manifest_that_is_recent_is_named_and_the_rest_is_maintained(
    grown: Callable[[int], AgingLake],
) -> None:
    """Law: before a rebuild and in the hour after it; once the file is restored, its snapshot answers as it did."""
    aging = grown(12)
    assert aging.maintain(small_files=1000).is_done
    aging.age(10 * HOUR)
    newest = aging.newest()
    [name] = aging.lake.open(lake.SNAPSHOTS).file_uris()
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[:-9])
    result = aging.maintain(small_files=2)
    assert result.problems
    assert all(name in problem for problem in result.problems)
    assert sum(table.compacted for table in result.tables) == 0, "a rebuild may be reading them"
    rows = aging.lake.open(HOURLY).to_pyarrow_table()
    write_deltalake(aging.lake.open(HOURLY), rows, mode="overwrite")
    hourly = aging.lake.open(HOURLY)
    new = replace(
        newest,
        tables={**newest.tables, HOURLY.name: hourly.version()},
        files={**newest.files, HOURLY.name: named_files(aging.lake, hourly, HOURLY, ())},
    )
    for number in (14, 15):
        write_manifest(aging, replace(new, id=number, created_at=aging.now))
    result = aging.maintain(small_files=2)
    assert [name in problem for problem in result.problems] == [True]
    assert [table.table for table in result.tables if table.problem] == []
    assert {table.table: table.compacted for table in result.tables}[lake.BRONZE.name] == 12
    Path(name).write_bytes(content)
    assert aging.maintain().is_done
    assert 13 in assert_kept_snapshots_answer(aging)


def test_a_manifest_without_tables_may_be_the_oldest_recent_one(grown: Callable[[int], AgingLake]) -> None:
    """Law: a rebuild that knew no figures announces itself by one; the logs stay as they are while it is that."""
    aging = grown(24)
    aging.age(3 * HOUR)
    assert aging.maintain().is_done
    newest = aging.newest()
    overwrites.write_manifest(aging.lake, replace(newest, id=26, created_at=aging.now, tables={}, files={}))
    aging.age(2 * HOUR)
    assert aging.maintain().is_done
    write_manifest(aging, replace(newest, id=27, created_at=aging.now))
    aging.age(2 * HOUR)
    assert aging.maintain().is_done


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> AgingLake:
    """A lake with retained snapshots of two days; tests take copies of it."""
    made = AgingLake(tmp_path_factory.mktemp("two days") / "lake")
    made.age(19 * HOUR)
    grow(made, 14)
    made.age(3 * HOUR)
    grow(made, 12, every=12)
    assert [path.parent.name for path in retained_files(made)] == ["jour=2026-01-01", "jour=2026-01-02"]
    return made


def retained_files(aging: AgingLake) -> list[Path]:
    folder = Path(aging.lake.uri(lake.RETAINED))
    listed = files.listing(aging.lake, lake.RETAINED)
    return sorted(folder / path for paths in listed.files.values() for path in paths)


@pytest.mark.parametrize("day", [1, 2])
def test_a_damaged_file_of_retained_snapshots_stops_nothing_else(two_days: AgingLake, tmp_path: Path, day: int) -> None:
    """Law: all others are kept and answer; of its own it is said which file has them, and once that is restored, they
    answer as they did. Until then it is a problem of each maintenance, which deletes nothing that they need.
    """
    aging = two_days.copy(tmp_path / "lake")
    lost = [each for each in Shelf(aging.lake).look().retained if each.created_at.day == day]
    assert lost
    file = retained_files(aging)[day - 1]
    content = file.read_bytes()
    file.write_bytes(content[:-5])
    for _ in range(2):
        result = aging.maintain(small_files=FEW)
        assert [file.name in problem and "_unreadable" in problem for problem in result.problems] == [True]
        assert not [table for table in result.tables if table.problem]
        history = History(aging.lake, RETENTION, aging)
        for each in history.snapshots():
            assert contents(aging.lake, history.resolve(each.id)) == aging.shown[each.id]
        for each in lost:
            for asked in (each.id, each.created_at):
                with pytest.raises(UnreadableError, match=file.name):
                    history.find(asked)
        grow(aging, 6)
    assert history.find(aging.now).id == aging.newest().id
    file.write_bytes(content)
    assert {each.id for each in lost} <= set(assert_kept_snapshots_answer(aging))
    assert aging.maintain(small_files=FEW).is_done
    assert lost[0].id in assert_kept_snapshots_answer(aging)
    assert len(retained_files(aging)) == 2


def test_a_damaged_file_of_retained_snapshots_can_be_set_aside(two_days: AgingLake, tmp_path: Path) -> None:
    """Law: what its error says to do gives up the snapshots of that file and no others, and all is well again."""
    aging = two_days.copy(tmp_path / "lake")
    before = assert_kept_snapshots_answer(aging)
    file, other = retained_files(aging)
    aside = Path(aging.lake.uri(lake.RETAINED)) / files.SET_ASIDE / file.name
    aside.parent.mkdir()
    file.rename(aside)
    aside.write_bytes(b"no parquet")
    assert aging.maintain(small_files=FEW).is_done
    left = assert_kept_snapshots_answer(aging)
    assert 0 < len(set(before) - set(left)) < len(before) - RECENT
    assert retained_files(aging) == [other]
    aging.age(2 * HOUR)
    assert aging.maintain(small_files=FEW).is_done
    assert data_files(aging, HOURLY) == len(assert_kept_snapshots_answer(aging))


def test_a_damaged_file_of_retained_snapshots_beyond_retention_is_dropped(two_days: AgingLake, tmp_path: Path) -> None:
    """Law: nobody can ask for what is in it, so nobody has to read it."""
    aging = two_days.copy(tmp_path / "lake")
    file = retained_files(aging)[0]
    file.write_bytes(b"no parquet")
    aging.age(12 * HOUR)
    grow(aging, 1)
    assert aging.maintain().is_done
    assert file not in retained_files(aging)
    assert_kept_snapshots_answer(aging)


def test_a_lake_whose_snapshots_were_made_anew_forgets_the_old_ones(aging: AgingLake) -> None:
    """Law: ids begin again; what was retained under the same ids is of another table, and is not served as theirs."""
    grow(aging, 12, every=6)
    for table in (lake.BRONZE, lake.SNAPSHOTS, *lake.SILVER):
        shutil.rmtree(aging.lake.uri(table))
    aging.shown.clear()
    aging.offset = 0
    aging.age(HOUR)
    aging.begin()
    assert assert_kept_snapshots_answer(aging) == [1]
    assert aging.maintain().is_done
    assert assert_kept_snapshots_answer(aging) == [1]
    for _ in range(2):
        aging.age(2 * HOUR)
        aging.snapshot()
    assert aging.maintain().is_done
    assert aging.lake.open(lake.RETAINED).to_pyarrow_dataset().count_rows() == 1
    assert assert_kept_snapshots_answer(aging) == [1, 2, 3]


def test_there_must_be_a_lake(tmp_path: Path) -> None:
    """Law: an address with nothing there is an error, not a lake without work."""
    with pytest.raises(LakeError, match="SALESVIEWS_LAKE"):
        maintenance.run(Lake(str(tmp_path)), maintenance.Options(RETENTION), lambda _: None)  # type: ignore[arg-type,return-value]


# ---- What is said and set ----


def test_a_dry_run_changes_nothing_and_tells_what_would_be(ripe: AgingLake, tmp_path: Path) -> None:
    """Law: not a byte moves; the run after it deletes and keeps what was told."""
    aging = ripe.copy(tmp_path / "lake")
    before = tree(aging.root)
    told = aging.maintain(small_files=1000, is_dry_run=True)
    assert tree(aging.root) == before
    done = aging.maintain(small_files=1000)
    assert (told.recent, told.retained, told.copied, told.dropped) == (
        done.recent,
        done.retained,
        done.copied,
        done.dropped,
    )
    assert done.copied
    assert {table.table: table.deleted for table in told.tables} == {
        table.table: table.deleted for table in done.tables
    }
    assert sum(table.deleted for table in done.tables) > 0


def test_tables_of_an_older_program_get_the_properties(aging: AgingLake) -> None:
    """Law: but not the snapshots, where a commit is a snapshot; and the views process is not disturbed."""
    for table in (*maintenance.APPEND_ONLY, *lake.OVERWRITTEN):
        aging.lake.open(table).alter.set_table_properties({"delta.checkpointInterval": "100"})
    aging.begin()
    grow(aging, 3)
    assert aging.maintain().is_done
    for table in (*maintenance.APPEND_ONLY, HOURLY):
        held = aging.lake.open(table).metadata().configuration
        assert {name: held[name] for name in lake.PROPERTIES} == dict(lake.PROPERTIES)
    assert aging.lake.open(lake.SNAPSHOTS).version() == 4
    grow(aging, 2)
    aging.begin()
    grow(aging, 2)
    assert assert_kept_snapshots_answer(aging) == list(range(1, 9))


def test_what_was_done_is_told(grown: Callable[[int], AgingLake]) -> None:
    """Law: files and log files before and after are those on disk."""
    aging = grown(24)
    aging.age(2 * HOUR)
    before = {table.name: (data_files(aging, table), log_files(aging, table)) for table in (HOURLY, lake.CLEAN)}
    result = aging.maintain(small_files=FEW)
    for table in (HOURLY, lake.CLEAN):
        [told] = [each for each in result.tables if each.table == table.name]
        extra = (Path(aging.lake.uri(table)) / "_delta_log" / "_last_checkpoint").exists()
        assert (told.files_before, told.log_before + extra) == before[table.name]
        assert (told.files_after, told.log_after + extra) == (data_files(aging, table), log_files(aging, table))
        assert told.log_deleted > 0
