from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from salesviews.errors import LakeError
from salesviews.lake import Lake, Table
from salesviews.tables import log_damage

TABLE = Table("essai", pa.schema([("offset", pa.int64())]), (), "a table of these tests")
COMMITS = 12


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A table with a checkpoint (of its version 9) and entries after it."""
    made = Lake(str(tmp_path / "lake"))
    made.create(TABLE)
    for number in range(1, COMMITS + 1):
        write_deltalake(made.open(TABLE), pa.table({"offset": [number]}), mode="append")
    return made


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-6] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize("name", [f"{11:020}.json", f"{COMMITS:020}.json", f"{9:020}.checkpoint.parquet"])
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_log_is_refused_by_the_name_of_its_file(
    lake: Lake, name: str, damage: Callable[[Path], None]
) -> None:
    """Law: a log with a file that is cut, changed or gone is not opened as if it were whole; the error names the file.

    That the last entry was deleted cannot be seen: it is a table that is one commit behind, as its positions say.
    """
    folder = Path(lake.uri(TABLE)) / log_damage.FOLDER
    assert log_damage.damage(folder.parent) == []
    damage(folder / name)
    if damage is Path.unlink and name.startswith(f"{COMMITS:020}"):
        assert lake.open(TABLE).version() == COMMITS - 1
        return
    with pytest.raises(LakeError, match=f"{name} is damaged or gone.*Restore the file"):
        lake.open(TABLE)
