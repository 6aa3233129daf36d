"""The Delta tables: names, schemas and partitions, derived from the fields and the views; and how to open them.

Every table is readable by any Delta reader of version 1: UTC timestamps, no column mapping, no deletion vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from salesviews import event, views
from salesviews.errors import DamagedLogError, LakeError
from salesviews.settings import Settings
from salesviews.tables import log_damage, storage

_UTC = pa.timestamp("us", tz="UTC")

_POSITION = [
    pa.field("partition", pa.int32()),
    pa.field("offset", pa.int64()),
    pa.field("topic_id", pa.string()),
]


@dataclass(frozen=True)
class Table:
    """A Delta table of the lake.

    :param name: its path under the lake
    :param partition_by: partition columns, all in the schema
    :param distinct: columns whose values hardly repeat: a dictionary of them would cost time and save nothing
    """

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    doc: str
    distinct: tuple[str, ...] = ()


BRONZE = Table(
    "bronze/ventes_stream",
    pa.schema(
        [field.arrow for field in event.FIELDS]
        + [
            pa.field("payload", pa.binary()),
            pa.field("key", pa.binary()),
            pa.field("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
            pa.field("topic", pa.string()),
            pa.field("topic_id", pa.string()),
            pa.field("kafka_timestamp", _UTC),
            pa.field("partition", pa.int32()),
            pa.field("offset", pa.int64()),
            pa.field("date_ingestion", _UTC),
            pa.field("jour", pa.date32()),
        ]
    ),
    ("jour",),
    "every raw message, exactly as received; append-only",
    distinct=("payload", "vente_id", "timestamp", "offset"),
)

CLEAN = Table(
    "silver/ventes_clean",
    pa.schema(
        [field.arrow for field in event.FIELDS]
        + [
            pa.field("annee", pa.int32()),
            pa.field("mois", pa.int32()),
            pa.field("jour", pa.int32()),
            pa.field("jour_semaine", pa.string()),
            pa.field("heure", pa.int32()),
            *_POSITION,
            pa.field("sequence", pa.int64()),
        ]
    ),
    ("annee", "mois"),
    "every sale that counts, with its Bronze position and its place in the total order; append-only",
    distinct=("vente_id", "timestamp", "offset", "sequence"),
)

REJECTED = Table(
    "silver/ventes_rejetees",
    pa.schema(
        [
            pa.field("motif", pa.string()),
            pa.field("vente_id", pa.int64()),
            *_POSITION,
            pa.field("kafka_timestamp", _UTC),
            pa.field("sequence", pa.int64()),
            pa.field("compte_partition", pa.int32()),
            pa.field("compte_offset", pa.int64()),
            pa.field("compte_topic_id", pa.string()),
        ]
    ),
    (),
    "every message that does not count, with its motif; of a doublon, where the one is that counted; append-only",
)

SNAPSHOTS = Table(
    "silver/snapshots",
    pa.schema(
        [
            pa.field("id", pa.int64()),
            pa.field("created_at", _UTC),
            pa.field("generation", pa.int64()),
            pa.field("sequence", pa.int64()),
            pa.field(
                "positions",
                pa.list_(
                    pa.struct(
                        [
                            ("topic", pa.string()),
                            ("topic_id", pa.string()),
                            ("partition", pa.int32()),
                            ("offset", pa.int64()),
                        ]
                    )
                ),
            ),
            pa.field("caught_up", pa.bool_()),
            pa.field(
                "tables",
                pa.list_(
                    pa.struct(
                        [
                            ("table", pa.string()),
                            ("version", pa.int64()),
                            (
                                "files",
                                pa.list_(
                                    pa.struct(
                                        [
                                            ("path", pa.string()),
                                            ("partition", pa.list_(pa.int32())),
                                            ("digest", pa.string()),
                                        ]
                                    )
                                ),
                            ),
                        ]
                    )
                ),
            ),
            pa.field("definition", pa.string()),
            pa.field("successor", pa.int64()),
            pa.field("digest", pa.string()),
        ]
    ),
    (),
    "the manifest: one row, whose id is the table's own version, says which versions and files of the tables belong "
    "together, as of which next positions and which last sequence",
)

RETAINED = Table(
    "silver/snapshots_retained",
    SNAPSHOTS.schema.append(pa.field("jour", pa.date32())),
    ("jour",),
    "the manifests of earlier snapshots that are kept (`salesviews maintain`), by the day on which they were made",
)

_PERIOD = ("annee", "mois")


def of_view(view: views.View) -> Table:
    return Table(f"silver/{view.name}", view.schema, _PERIOD, view.doc)


def of_roll_up(roll_up: views.RollUp) -> Table:
    return Table(f"silver/{roll_up.name}", roll_up.schema, _PERIOD if roll_up.partitioned else (), roll_up.doc)


OVERWRITTEN: tuple[Table, ...] = (*map(of_view, views.VIEWS), *map(of_roll_up, views.ROLL_UPS))
SILVER: tuple[Table, ...] = (CLEAN, REJECTED, *OVERWRITTEN)
TABLES: tuple[Table, ...] = (BRONZE, *SILVER, SNAPSHOTS, RETAINED)

PROPERTIES: Mapping[str, str] = {
    # A commit's cost is that of reading the log from its last checkpoint.
    "delta.checkpointInterval": "10",
    # What history needs is known to `salesviews maintain` alone.
    "delta.enableExpiredLogCleanup": "false",
    # After that, checkpoints forget the files that were replaced; a week of them would be millions.
    "delta.deletedFileRetentionDuration": "interval 1 hours",
}
"""Delta's properties of each table."""

_REWRITTEN = "salesviews.rewritten"


@dataclass(frozen=True)
class Lake:
    """The lake at an address: a folder, or ``s3://bucket/prefix``.

    Handles are opened anew for each commit: a long-lived one grows, and sees old versions.

    :param options: what is needed to reach an object store (``Settings.lake_options``)
    """

    root: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, settings: Settings) -> "Lake":
        """The lake that the settings name, with what is needed to reach it."""
        return cls(settings.lake, settings.lake_options)

    def uri(self, table: Table) -> str:
        return f"{self.root.rstrip('/')}/{table.name}"

    @property
    def place(self) -> storage.Place:
        """Where the tables are."""
        return storage.place(self.root, self.options)

    def folder(self, table: Table) -> storage.Place:
        """A table's files, as files."""
        return storage.place(self.uri(table), self.options)

    @property
    def _storage_options(self) -> dict[str, str] | None:
        return dict(self.options) or None

    def exists(self, table: Table) -> bool:
        return DeltaTable.is_deltatable(self.uri(table), self._storage_options)

    def create(self, table: Table) -> None:
        """Create a table that does not exist; safe to call from several processes at once.

        :raises LakeError: if it exists, and a file of its log is damaged
        """
        storage.make_folder(self.folder(table))
        try:
            DeltaTable.create(
                self.uri(table),
                schema=table.schema,
                mode="ignore",
                partition_by=list(table.partition_by) or None,
                name=table.name.rpartition("/")[2],
                description=table.doc,
                configuration=PROPERTIES,
                storage_options=self._storage_options,
            )
        except DeltaError as error:
            raise self._unreadable_log(table, error) from error

    def open(self, table: Table, version: int | None = None) -> DeltaTable:
        """A new handle.

        :raises LakeError: if the table does not exist, or a file of its log is damaged
        """
        try:
            return DeltaTable(self.uri(table), version=version, storage_options=self._storage_options)
        except TableNotFoundError as error:
            raise LakeError(
                f"There is no Delta table at {self.uri(table)}. Is SALESVIEWS_LAKE the right address? "
                "The processors create the tables when they start."
            ) from error
        except DeltaError as error:
            unreadable = self._unreadable_log(table, error)
            if version is None or unreadable.is_found:
                raise unreadable from error
            raise  # there may be no such version

    def _unreadable_log(self, table: Table, error: DeltaError) -> DamagedLogError:
        damaged = log_damage.damage(self.folder(table))
        which = f"{damaged[0]} is damaged or gone" if damaged else f"A file of {self.uri(table)}/_delta_log is damaged"
        reason, _, _ = str(error).partition("\n")  # what follows is a stack of Rust
        return DamagedLogError(
            f"{which}{f', and {len(damaged) - 1} more' if damaged[1:] else ''}: the log of {table.name} cannot be "
            f"read: {reason}. Restore the file. If it is lost, move the table's folder away: `salesviews replay` fills "
            "Bronze again from Kafka, `salesviews rebuild` Silver from Bronze.",
            is_found=bool(damaged),
        )

    def open_to_rewrite(self, table: Table, now: datetime) -> DeltaTable:
        """A new handle, through which one commit may replace files of a table that others append to and compact.

        Delta compares a compaction with no other compaction, nor with an overwriting of the whole table: both would
        land, and rows would be there twice. But a change of the metadata fails each commit that began before it. So
        this notes ``now`` in a property, and then opens the handle. Of two that do so, the one that was noted first
        either lands before the other opens its handle, or fails. Appends that are under way fail too, and are repeated.

        :raises CommitFailedError: if another is noted at the same moment
        """
        self.open(table).alter.set_table_properties({_REWRITTEN: now.isoformat()}, raise_if_not_exists=False)
        return self.open(table)
