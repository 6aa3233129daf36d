"""The snapshot manifest: which versions of the Silver tables belong together, and as of which positions.

A manifest is one row of ``silver/snapshots``, which is overwritten by each snapshot; its id is the version of that
table, so an older manifest is read by time travel. Readers of the append-only tables (``ventes_clean``,
``ventes_rejetees``) must leave out rows beyond ``sequence``: a checkpoint that was interrupted may have appended more
than the snapshot covers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from salesviews import lake
from salesviews.errors import LakeError
from salesviews.typed import SourcePartition

EMPTY_SEQUENCE = -1
"""The sequence of a snapshot that covers nothing."""


@dataclass(frozen=True)
class Manifest:
    """A snapshot.

    :param sequence: the last place in the total order that it covers
    :param positions: for each source partition, the next position: what is before it is covered
    :param caught_up: nothing was known to be waiting when it was made
    :param tables: the version of each Silver table, by name
    """

    id: int
    created_at: datetime
    generation: int
    sequence: int
    positions: dict[SourcePartition, int]
    caught_up: bool
    tables: dict[str, int]

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Manifest":
        """:param row: of ``silver/snapshots``, as Python values"""
        return cls(
            id=row["id"],
            created_at=row["created_at"],
            generation=row["generation"],
            sequence=row["sequence"],
            positions={
                SourcePartition(position["topic_id"], position["partition"], position["topic"]): position["offset"]
                for position in row["positions"]
            },
            caught_up=row["caught_up"],
            tables={entry["table"]: entry["version"] for entry in row["tables"]},
        )

    def to_arrow(self) -> pa.Table:
        row = {
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
            "tables": [{"table": table, "version": version} for table, version in sorted(self.tables.items())],
        }
        return pa.Table.from_pylist([row], schema=lake.SNAPSHOTS.schema)


def read(source: lake.Lake, version: int | None = None) -> Manifest | None:
    """The newest manifest, or that of a version; None before the first one.

    :raises LakeError: if the table does not exist or does not hold one row
    """
    handle = source.open(lake.SNAPSHOTS, version)
    files = source.files(handle, lake.SNAPSHOTS)
    if not files:
        return None
    rows = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    if len(rows) != 1:
        raise LakeError(
            f"{lake.SNAPSHOTS.name} version {handle.version()} holds {len(rows)} manifests instead of one. "
            "Something else writes to it, or it was damaged: `salesviews rebuild` makes a new one."
        )
    [row] = rows
    return Manifest.of_row(row)
