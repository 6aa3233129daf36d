"""The log of a Delta table as files: which versions it holds, what its commits say, and which of it nobody needs.

A version can be opened if its commit is in the log, and all commits back to a checkpoint, or to version 0.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from salesviews.errors import LakeError
from salesviews.lake import Lake, Table

FOLDER = "_delta_log"

_ENTRY = re.compile(r"(\d{20})\.(.+)")
_COMMIT = "json"
_CHECKPOINT = "checkpoint.parquet"


@dataclass(frozen=True)
class Log:
    """What was in the log when it was looked at.

    :param committed_ns: when each version was committed, by the file system's clock; in order of the versions
    :param checkpoints: the versions that have a checkpoint, in order
    :param entries: every file that belongs to a version, with that version, in order
    """

    table: Table
    folder: Path
    committed_ns: Mapping[int, int]
    checkpoints: tuple[int, ...]
    entries: tuple[tuple[int, Path], ...]

    @property
    def newest(self) -> int:
        return next(reversed(self.committed_ns))

    @property
    def oldest(self) -> int:
        """The oldest version that can be opened."""
        first = next(iter(self.committed_ns))
        return first if first == 0 or not self.checkpoints else self.checkpoints[0]

    @property
    def since_checkpoint(self) -> int:
        """How many commits a reader of the newest version reads one by one."""
        return self.newest - (self.checkpoints[-1] if self.checkpoints else -1)

    def first_since(self, moment: datetime) -> int:
        """The first version that was committed at or after a moment; the newest one where none was."""
        moment_ns = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e9)
        return next((version for version, at_ns in self.committed_ns.items() if at_ns >= moment_ns), self.newest)

    def unneeded(self, first: int) -> tuple[Path, ...]:
        """What may be deleted, in this order, so that ``first`` and every later version can be opened."""
        bases = [version for version in self.checkpoints if version <= first]
        return tuple(path for version, path in self.entries if version < bases[-1]) if bases else ()

    def actions(self, version: int) -> Iterator[dict[str, Any]]:
        """The actions of a commit.

        :raises FileNotFoundError: if it was cleaned up since
        :raises LakeError: if it is damaged
        """
        file = self.folder / f"{version:020}.{_COMMIT}"
        text = file.read_bytes()
        try:
            yield from map(json.loads, text.splitlines())
        except ValueError as error:
            raise LakeError(
                f"{file}, a commit of {self.table.name}, is damaged: {error}. Restore the file from a backup."
            ) from error

    def metadata(self, version: int, key: str) -> Any:
        """What a commit's writer noted under a key; None where it noted nothing."""
        return next((action["commitInfo"].get(key) for action in self.actions(version) if "commitInfo" in action), None)

    def added(self, after: int) -> set[str]:
        """The files that commits after a version added, by their paths under the table."""
        return {
            unquote(action["add"]["path"])
            for version in self.committed_ns
            if version > after
            for action in self.actions(version)
            if "add" in action
        }


def read(lake: Lake, table: Table) -> Log | None:
    """The log as it is now; None where there is no such table."""
    folder = Path(lake.uri(table)) / FOLDER
    committed_ns: dict[int, int] = {}
    checkpoints: list[int] = []
    entries: list[tuple[int, Path]] = []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if not (match := _ENTRY.fullmatch(entry.name)):
                    continue
                version, kind = int(match[1]), match[2]
                entries.append((version, Path(entry.path)))
                if kind == _COMMIT:
                    try:
                        committed_ns[version] = entry.stat().st_mtime_ns
                    except FileNotFoundError:  # cleaned up a moment ago
                        entries.pop()
                elif kind == _CHECKPOINT:
                    checkpoints.append(version)
    except FileNotFoundError:
        return None
    if not committed_ns:
        return None
    return Log(table, folder, dict(sorted(committed_ns.items())), tuple(sorted(checkpoints)), tuple(sorted(entries)))
