"""The log of a Delta table as files: which of them are damaged or gone, where the table cannot be opened."""

import json
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from salesviews.tables import storage
from salesviews.tables.storage import Place

FOLDER = "_delta_log"

_HINT = "_last_checkpoint"
_ENTRY = re.compile(r"\d{20}\.json")
_CHECKPOINT = re.compile(r"\d{20}\.checkpoint.*\.parquet")


def damage(table: Place) -> list[Place]:
    """The files of a table's log that cannot be read or are gone, in the order of their versions."""
    names = sorted(storage.names(table / FOLDER))
    entries = [name for name in names if _ENTRY.fullmatch(name)]
    checkpoints = [name for name in names if _CHECKPOINT.fullmatch(name)]
    damaged = {name for name in entries if not _is_entry(table / FOLDER / name)}
    damaged |= {name for name in checkpoints if not _is_parquet(table / FOLDER / name)}
    damaged |= set(_gone(entries, checkpoints))
    if (hinted := _last_checkpoint(table / FOLDER)) and not any(name.startswith(hinted) for name in checkpoints):
        damaged.add(f"{hinted}.checkpoint.parquet")
    return [table / FOLDER / name for name in sorted(damaged)]


def _is_entry(file: Place) -> bool:
    try:
        lines = file.read_bytes().decode().splitlines()
        return bool(lines) and all(isinstance(json.loads(line), dict) for line in lines)
    except (OSError, ValueError):
        return False


def _is_parquet(file: Place) -> bool:
    try:
        pq.ParquetFile(storage.source(file)).read()
    except (OSError, pa.ArrowException):
        return False
    return True


def _last_checkpoint(folder: Place) -> str:
    """The version of the checkpoint that a hint names; empty where there is none, or none that can be read."""
    try:
        return f"{int(json.loads((folder / _HINT).read_bytes())['version']):020}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _gone(entries: list[str], checkpoints: list[str]) -> Iterator[str]:
    """What is missing between the newest checkpoint (or the beginning) and the newest entry."""
    first = int(checkpoints[-1][:20]) + 1 if checkpoints else 0
    newest = int(entries[-1][:20]) if entries else -1
    for version in range(first, newest):
        if (name := f"{version:020}.json") not in entries:
            yield name
