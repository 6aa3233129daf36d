"""Which snapshot a question names; what each shows is in test_maintenance.py and tests/web/test_past.py."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aging import INTERVAL, RETENTION, START, AgingLake, contents
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from salesviews import lake
from salesviews.errors import ExpiredError, LakeError, ParameterError, UnknownSnapshotError
from salesviews.maintenance import history
from salesviews.maintenance.history import History
from salesviews.manifest import EMPTY_SEQUENCE, Manifest
from sinks import overwrites

HOUR = timedelta(hours=1)


@pytest.fixture
def aging(tmp_path: Path) -> AgingLake:
    return AgingLake(tmp_path / "lake")


@pytest.fixture
def found(aging: AgingLake) -> History:
    return History(aging.lake, RETENTION, aging)


@given(st.integers(0, 10**18 - 1))
def test_an_id_is_read_as_it_is_written(number: int) -> None:
    """Law: digits are an id."""
    assert history.parse(str(number)) == number


@given(st.datetimes(timezones=st.timezones()), st.sampled_from(["microseconds", "seconds"]))
def test_an_instant_is_read_with_its_offset(moment: datetime, precision: str) -> None:
    """Law: whatever its offset, it is the same instant; without one it is UTC."""
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        return
    text = moment.isoformat(timespec=precision)
    expected = utc if precision == "microseconds" else utc.replace(microsecond=0)
    if "T" in text and moment.utcoffset() is not None and not moment.utcoffset().total_seconds() % 60:  # type: ignore[union-attr]
        assert history.parse(text) == expected
    assert history.parse(utc.replace(tzinfo=None).isoformat()) == utc


@given(st.text())
def test_all_else_is_refused(text: str) -> None:
    """Law: with what is expected, and never another error."""
    try:
        found = history.parse(text)
    except ValueError as error:
        assert "a snapshot's id, or an instant" in str(error)  # noqa: PT017 - most texts are refused, not all
    else:
        assert text.isdigit() or isinstance(found, datetime)


def test_by_id_and_by_time(aging: AgingLake, found: History) -> None:
    """Law: a time names the newest snapshot that was made by then."""
    for _ in range(5):
        aging.snapshot()
    assert [each.id for each in found.snapshots()] == [6, 5, 4, 3, 2, 1]
    assert found.find(4).id == 4
    assert found.find(START + 2 * INTERVAL).id == 4
    assert found.find(START + 3 * INTERVAL - timedelta(microseconds=1)).id == 4
    assert found.find(aging.now).id == 6
    with pytest.raises(ParameterError, match="has not come yet"):
        found.find(aging.now + timedelta(microseconds=1))
    for never in (0, 7, START - timedelta(days=1)):
        with pytest.raises(UnknownSnapshotError):
            found.find(never)


def test_where_nothing_is(tmp_path: Path) -> None:
    """Law: a lake without snapshots has none to ask for."""
    nothing = History(lake.Lake(str(tmp_path)), RETENTION, lambda: START)
    assert nothing.snapshots() == []
    for asked in (1, START):
        with pytest.raises(UnknownSnapshotError, match="none at all yet"):
            nothing.find(asked)


def test_what_an_older_program_wrote_is_listed(aging: AgingLake, found: History) -> None:
    """Law: where a commit does not note its summary, the manifest is read."""
    newest = aging.snapshot()
    older = type(newest)(**{**vars(newest), "id": newest.id + 1})
    write_deltalake(aging.lake.open(lake.SNAPSHOTS), older.to_arrow(), mode="overwrite")
    assert found.snapshots()[0] == older.summary
    assert found.resolve(older.id) == older


def test_a_look_costs_what_is_new(aging: AgingLake, found: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a commit is read once; after a maintenance, and for a lake that was made anew, the list is right again."""
    read: list[str] = []
    real = Path.read_bytes

    def note(path: Path) -> bytes:
        if path.is_relative_to(aging.root):  # servers of other tests may look at their own
            read.append(path.name)
        return real(path)

    for _ in range(4):
        aging.snapshot()
    monkeypatch.setattr(Path, "read_bytes", note)
    for expected in (5, 0):
        read.clear()
        found.snapshots()
        assert len(read) == expected
    aging.snapshot()
    read.clear()
    assert found.snapshots()[0].id == 6
    assert read == [f"{6:020}.json"]
    aging.age(3 * HOUR)
    aging.maintain()
    assert [each.id for each in found.snapshots()] == [6, 5]


def test_a_time_before_the_oldest_that_is_kept(
    aging: AgingLake, found: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: there was a snapshot if the table existed: it is expired; else there never was one."""
    for _ in range(12):
        aging.snapshot()
    aging.age(20 * HOUR)
    aging.maintain()
    assert [each.id for each in found.snapshots()] == [13]
    monkeypatch.setattr(History, "_began", lambda _: START + 2 * INTERVAL)
    with pytest.raises(ExpiredError, match=r"The oldest: 13 \(2026-01-01T02:12:00Z\)"):
        found.find(START + 3 * INTERVAL)
    with pytest.raises(UnknownSnapshotError, match="they began at 2026-01-01T00:24:00Z"):
        found.find(START + INTERVAL)


def test_manifests_that_do_not_tell_where_the_sales_are_are_passed_over(aging: AgingLake, found: History) -> None:
    """Law: a rebuild that knew no figures closes a generation without tables, and one of its manifests may be damaged:
    every other snapshot of it answers as it did.
    """
    for _ in range(3):
        aging.snapshot()
    [damaged] = aging.lake.open(lake.SNAPSHOTS).file_uris()
    Path(damaged).write_bytes(b"no parquet")
    for number, generation in ((5, 0), (6, 1)):
        overwrites.write_manifest(aging.lake, Manifest(number, aging.now, generation, EMPTY_SEQUENCE, {}, False, {}))
    for number in (1, 2, 3):
        assert contents(aging.lake, found.resolve(number)) == aging.shown[number]
    with pytest.raises(LakeError, match=Path(damaged).name):
        found.resolve(4)
    assert found.resolve(5).tables == {}


def test_a_list_that_is_not_what_the_manifests_say_is_refused(aging: AgingLake, found: History) -> None:
    """Law: a time that was changed in the log never makes another snapshot be served as that of the time."""
    for _ in range(3):
        aging.snapshot()
    log = Path(aging.lake.uri(lake.SNAPSHOTS)) / "_delta_log" / f"{3:020}.json"
    text = log.read_text()
    assert "2026-01-01T00:12:00" in text
    log.write_text(text.replace("2026-01-01T00:12:00", "2026-01-01T00:16:00"))
    with pytest.raises(LakeError, match="manifest of snapshot 3"):
        found.resolve(3)
