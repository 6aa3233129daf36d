from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from salesviews.errors import LakeError
from salesviews.lake import Lake, Table
from salesviews.tables import delta_log, files

TABLE = Table("essai", pa.schema([("pays", pa.string()), ("nombre", pa.int64())]), ("pays",), "a table of these tests")
COMMITS = 25


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Versions 1 to 25 overwrite a partition whose name a path cannot have as it is."""
    made = Lake(str(tmp_path / "annee=1 été"))
    made.create(TABLE)
    for number in range(COMMITS):
        write_deltalake(
            made.open(TABLE),
            pa.table({"pays": ["Côte d'Ivoire %/ é"], "nombre": [number]}, schema=TABLE.schema),
            mode="overwrite",
            commit_properties=CommitProperties(custom_metadata={"essai": {"number": number}}),
        )
    return made


def read(lake: Lake) -> delta_log.Log:
    log = delta_log.read(lake, TABLE)
    assert log is not None
    return log


def test_a_log_is_what_is_in_its_folder(lake: Lake, tmp_path: Path) -> None:
    """Versions, and the checkpoint of each tenth; no table has no log."""
    log = read(lake)
    assert log.commits == tuple(range(COMMITS + 1))
    assert (log.newest, log.oldest) == (COMMITS, 0)
    assert log.checkpoints == (9, 19)
    assert log.since_checkpoint == 6
    assert log.metadata(8, "essai") == {"number": 7}
    assert log.metadata(0, "essai") is None
    assert delta_log.read(Lake(str(tmp_path / "nowhere")), TABLE) is None


@pytest.mark.parametrize("first", [0, 8, 9, 10, 19, 25])
def test_what_is_not_needed_can_go(lake: Lake, first: int) -> None:
    """Law: without it, the first version and all later ones can be opened, with the files that they had."""
    named = {version: files.listing(lake, TABLE, version).files for version in range(first, COMMITS + 1)}
    for path in read(lake).unneeded(first):
        path.unlink()
    assert {version: files.listing(lake, TABLE, version).files for version in named} == named
    log = read(lake)
    assert log.oldest <= first
    assert log.oldest in (0, 9, 19)


def test_added_files_are_named_as_a_listing_names_them(lake: Lake) -> None:
    """Law: the files of a version and those that were added since are the files of all versions from it on."""
    names = [
        {path for paths in files.listing(lake, TABLE, version).files.values() for path in paths}
        for version in range(COMMITS + 1)
    ]
    for first in (0, 7, 24, 25):
        assert names[first] | read(lake).added(first) == set().union(*names[first:])


def test_the_first_version_since_a_moment(lake: Lake) -> None:
    """By the time of its commit; the newest where all are older."""
    log = read(lake)
    at = datetime.fromtimestamp(log.committed_ns(12) / 1e9, UTC)
    first = log.first_since(at)
    assert log.committed_ns(first) // 1000 >= log.committed_ns(12) // 1000
    assert first == 0 or log.committed_ns(first - 1) <= log.committed_ns(12)
    assert log.first_since(datetime(2000, 1, 1, tzinfo=UTC)) == 0
    assert log.first_since(datetime(2100, 1, 1, tzinfo=UTC)) == COMMITS


def test_a_damaged_commit_is_named(lake: Lake) -> None:
    """Never skipped: the files that it added would be taken for needless."""
    log = read(lake)
    file = log.folder / f"{7:020}.json"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(LakeError, match=file.name):
        log.added(3)
