"""The snapshot manifest: which versions of the Silver tables belong together, and as of which positions.

A manifest is one row of ``silver/snapshots``, which is overwritten by each snapshot; its id is the version of that
table. Of the overwritten tables it names each file with a digest, so that what is served is what was written, and so
that a snapshot can be read as long as its files are kept, whatever became of the tables' logs (``history``).

Readers of the append-only tables (``ventes_clean``, ``ventes_rejetees``) must leave out rows beyond ``sequence``: a
checkpoint that was interrupted may have appended more than the snapshot covers.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from salesviews import definition, lake
from salesviews.errors import DefinitionError, LakeError
from salesviews.lake import Table
from salesviews.tables import files
from salesviews.tables.files import Listing, Partition
from salesviews.typed import SourcePartition

EMPTY_SEQUENCE = -1
"""The sequence of a snapshot that covers nothing."""

METADATA = "snapshot"
"""The key under which a manifest's commit notes its summary."""

SUMMARY = ("id", "created_at", "generation", "sequence", "positions", "caught_up")
"""The columns that a ``Summary`` has."""


@dataclass(frozen=True)
class DataFile:
    """A file of an overwritten table.

    :param path: under the table
    :param digest: ``files.digest`` of it as it was written
    """

    path: str
    partition: Partition
    digest: str


@dataclass(frozen=True)
class Summary:
    """What a list of snapshots says of each: the values of a ``Manifest`` that are no matter of tables and files."""

    id: int
    created_at: datetime
    generation: int
    sequence: int
    positions: dict[SourcePartition, int]
    caught_up: bool

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Summary":
        """:param row: of ``silver/snapshots``, as Python values; columns of tables and files are not needed"""
        return cls(**{name: row[name] for name in SUMMARY if name != "positions"}, positions=_positions(row))

    @classmethod
    def of_metadata(cls, noted: Mapping[str, Any]) -> "Summary":
        """:param noted: ``Manifest.commit_metadata``, as it was read back"""
        return cls.of_row({**noted, "created_at": datetime.fromisoformat(noted["created_at"])})


@dataclass(frozen=True)
class Manifest:
    """A snapshot.

    :param generation: counts the times that everything was computed again from Bronze (`salesviews rebuild`)
    :param sequence: the last place in the generation's total order that it covers
    :param positions: for each source partition, the next position: what is before it is covered
    :param caught_up: nothing was known to be waiting when it was made
    :param tables: the version of each Silver table, by name
    :param files: the files of each overwritten table, by the table's name
    :param definition: ``definition.of`` what it was counted by
    :param successor: the generation that is being computed and will replace this one; None where there is none
    """

    id: int
    created_at: datetime
    generation: int
    sequence: int
    positions: dict[SourcePartition, int]
    caught_up: bool
    tables: dict[str, int]
    files: dict[str, tuple[DataFile, ...]] = field(default_factory=dict)
    definition: str = field(default_factory=definition.digest)
    successor: int | None = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Manifest":
        """:param row: of ``silver/snapshots``, as Python values"""
        return cls(
            id=row["id"],
            created_at=row["created_at"],
            generation=row["generation"],
            sequence=row["sequence"],
            positions=_positions(row),
            caught_up=row["caught_up"],
            tables={entry["table"]: entry["version"] for entry in row["tables"]},
            files={
                entry["table"]: tuple(
                    DataFile(file["path"], tuple(file["partition"]), file["digest"]) for file in entry["files"]
                )
                for entry in row["tables"]
                if entry["files"] is not None
            },
            definition=row["definition"],
            successor=row["successor"],
        )

    @property
    def summary(self) -> Summary:
        return Summary(**{name: getattr(self, name) for name in SUMMARY})

    @property
    def commit_metadata(self) -> dict[str, Any]:
        """What the commit that writes it notes, so that snapshots can be listed from the log alone."""
        row = self._row
        return {
            METADATA: {name: row[name] for name in SUMMARY if name != "created_at"}
            | {"created_at": self.created_at.isoformat()}
        }

    @property
    def is_empty(self) -> bool:
        """It covers no message."""
        return not self.positions

    def check_definition(self, dedup_days: int) -> None:
        """
        :param dedup_days: for how many days this process remembers ids
        :raises DefinitionError: if it would count otherwise than the one that made these figures
        """
        if self.is_empty:
            return
        if definition.rules(self.definition) != definition.digest():
            raise DefinitionError(
                f"The figures (snapshot {self.id}, generation {self.generation}) were counted by a program with other "
                f"rules or views (definition {self.definition}, this is {definition.of(dedup_days)}); adding to them "
                "would mix two rules. `salesviews rebuild` computes them again by this program's, from Bronze, and "
                "shows what changes."
            )
        if (counted_by := definition.dedup_days(self.definition)) not in (None, dedup_days):
            raise DefinitionError(
                f"The figures (snapshot {self.id}, generation {self.generation}) were counted with "
                f"SALESVIEWS_DEDUP_DAYS={counted_by}, this process has {dedup_days}: ids that were forgotten would "
                "count again. Set it back; or `salesviews rebuild`, with the new value, computes the figures again, "
                "and shows what changes."
            )

    def listing(self, source: lake.Lake, table: Table) -> Listing:
        """The files of a table in this snapshot.

        :raises LakeError: if the version that it names cannot be read
        """
        if table.name not in self.tables:
            if self.successor is not None:
                raise LakeError(
                    f"Snapshot {self.id} names no version of {table.name}: generation {self.successor}, which "
                    "`salesviews rebuild` is computing, will have it. Where the rebuild was interrupted, run it again."
                )
            raise LakeError(
                f"Snapshot {self.id} names no version of {table.name}: a program with other views wrote it. "
                "`salesviews rebuild` computes this program's views from Bronze."
            )
        named = self.files.get(table.name)
        if named is None:
            return files.listing(source, table, self.tables[table.name])
        by_partition: dict[Partition, set[str]] = {}
        for file in named:
            by_partition.setdefault(file.partition, set()).add(file.path)
        return Listing(
            table,
            "",
            self.tables[table.name],
            {partition: frozenset(paths) for partition, paths in by_partition.items()},
            {file.path: file.digest for file in named},
        )

    def to_arrow(self) -> pa.Table:
        return pa.Table.from_pylist([self._row | {"digest": self.digest}], schema=lake.SNAPSHOTS.schema)

    @property
    def digest(self) -> str:
        """Of all that it says: a manifest whose bytes were changed has another one."""
        text = json.dumps(self._row, default=datetime.isoformat, ensure_ascii=False)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def _row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "created_at": self.created_at,
            "generation": self.generation,
            "sequence": self.sequence,
            "positions": [
                {
                    "topic": source.topic,
                    "topic_id": source.topic_id,
                    "partition": source.partition,
                    "offset": offset,
                }
                for source, offset in sorted(self.positions.items())
            ],
            "caught_up": self.caught_up,
            "tables": [
                {"table": table, "version": version, "files": self._file_rows(table)}
                for table, version in sorted(self.tables.items())
            ],
            "definition": self.definition,
            "successor": self.successor,
        }

    def _file_rows(self, table: str) -> list[dict[str, Any]] | None:
        if table not in self.files:
            return None
        return [
            {"path": file.path, "partition": list(file.partition), "digest": file.digest} for file in self.files[table]
        ]


def _positions(row: Mapping[str, Any]) -> dict[SourcePartition, int]:
    return {
        SourcePartition(position["topic_id"], position["partition"], position["topic"]): position["offset"]
        for position in row["positions"]
    }


def read(source: lake.Lake, version: int | None = None) -> Manifest | None:
    """The newest manifest, or that of a version; None before the first one.

    :raises LakeError: if the table does not exist, or does not hold one row that is as it was written
    """
    listed = files.listing(source, lake.SNAPSHOTS, version)
    if not listed.files:
        return None
    rows = files.rows(source, listed, listed.files).to_pylist()
    if len(rows) != 1:
        raise LakeError(
            f"{lake.SNAPSHOTS.name} version {listed.version} holds {len(rows)} manifests instead of one. "
            "Something else writes to it, or it was damaged: `salesviews rebuild` makes a new one."
        )
    return of_checked_row(rows[0], f"version {listed.version} of {lake.SNAPSHOTS.name}")


def of_checked_row(row: Mapping[str, Any], where: str) -> Manifest:
    """A manifest, if its digest is that of what it says.

    :param where: it was read, for the error
    :raises LakeError: if it is not
    """
    try:
        found = Manifest.of_row(row)
        is_sound = found.digest == row["digest"]
    except (TypeError, KeyError, ValueError):
        is_sound = False
    if not is_sound:
        raise LakeError(
            f"The manifest in {where} is not what was written: its digest does not fit. The file is damaged. "
            "Restore it, or `salesviews rebuild` computes Silver again from Bronze."
        )
    return found
