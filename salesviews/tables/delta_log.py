"""The log of a Delta table as files: which versions it holds, what its commits say, and which of it nobody needs.

A version can be opened if its commit is in the log, and all commits back to a checkpoint, or to version 0.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from salesviews.errors import LakeError
from salesviews.lake import Lake, Table
from salesviews.tables import storage
from salesviews.tables.storage import Place

FOLDER = "_delta_log"

_ENTRY = re.compile(r"(\d{20})\.(.+)")
_COMMIT = "json"
_CHECKPOINT = "checkpoint.parquet"


@dataclass(frozen=True)
class Log:
    """What was in the log when it was looked at.

    :param commits: the versions whose commit is there, in order
    :param checkpoints: the versions that have a checkpoint, in order
    :param entries: the name of every file that belongs to a version, and that version, in order
    """

    table: Table
    folder: Place
    commits: tuple[int, ...]
    checkpoints: tuple[int, ...]
    entries: tuple[tuple[int, str], ...]

    @property
    def newest(self) -> int:
        return self.commits[-1]

    @property
    def oldest(self) -> int:
        """The oldest version that can be opened."""
        return self.commits[0] if self.commits[0] == 0 or not self.checkpoints else self.checkpoints[0]

    @property
    def since_checkpoint(self) -> int:
        """How many commits a reader of the newest version reads one by one."""
        return self.newest - (self.checkpoints[-1] if self.checkpoints else -1)

    def committed_ns(self, version: int) -> int:
        """When a version was committed, by the file system's clock.

        :raises FileNotFoundError: if it was cleaned up since
        """
        return storage.written_ns(self.folder / f"{version:020}.{_COMMIT}")

    def first_since(self, moment: datetime) -> int:
        """The first of the versions that were committed at or after a moment; the newest one where none was."""
        first = self.newest
        for version in reversed(self.commits):
            try:
                if self.committed_ns(version) < moment.timestamp() * 1e9:
                    break
            except FileNotFoundError:  # another maintenance has cleaned up
                break
            first = version
        return first

    def unneeded(self, first: int) -> list[Place]:
        """What may be deleted, in this order, so that ``first`` and every later version can be opened."""
        bases = [version for version in self.checkpoints if version <= first]
        return [self.folder / name for version, name in self.entries if version < bases[-1]] if bases else []

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
            action["add"]["path"]
            for version in self.commits
            if version > after
            for action in self.actions(version)
            if "add" in action
        }


def read(lake: Lake, table: Table) -> Log | None:
    """The log as it is now; None where there is no such table."""
    folder = lake.folder(table) / FOLDER
    names = storage.names(folder)
    found = [(int(match[1]), match[2], match[0]) for match in map(_ENTRY.fullmatch, names) if match]
    found.sort()
    commits = tuple(version for version, kind, _ in found if kind == _COMMIT)
    if not commits:
        return None
    return Log(
        table,
        folder,
        commits,
        tuple(version for version, kind, _ in found if kind == _CHECKPOINT),
        tuple((version, name) for version, _, name in found),
    )
