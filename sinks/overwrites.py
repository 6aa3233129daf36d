"""Overwrites of Delta tables that only one process may write at a time: view tables, roll-ups, the manifest.

Each commit carries an application transaction, so that of two writers that overlap in time one loses: its commit
conflicts, or it finds a version or a record that is not its own. The one that loses ends.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError

from salesviews import lake, metrics
from salesviews.errors import FencedError
from salesviews.lake import Lake, Table
from salesviews.manifest import DataFile, Manifest
from salesviews.tables import files

WRITER = "views"
"""The application transaction in which an overwritten table records the sequence that it shows."""

GENERATION = "generation"
"""The application transaction in which the manifest's table records the newest generation."""


def overwrite(
    handle: DeltaTable,
    table: Table,
    rows: Any,
    transactions: Mapping[str, int],
    *,
    predicate: str | None = None,
    writer: WriterProperties | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Overwrite what a predicate names (default: all) of a table, through a handle; it then is at the new version.

    :param rows: an Arrow table, or a stream of batches
    :param transactions: recorded in the same commit, by name
    :param metadata: noted by the commit, for who reads the log
    :raises FencedError: if another writer was faster
    """
    try:
        with metrics.commit(table.name):
            write_deltalake(
                handle,
                rows,
                mode="overwrite",
                predicate=predicate,
                schema_mode="overwrite" if table is lake.SNAPSHOTS else None,  # an older program's has fewer columns
                writer_properties=writer or WriterProperties(),
                commit_properties=CommitProperties(
                    custom_metadata=dict(metadata) if metadata else None,
                    app_transactions=[Transaction(name, version) for name, version in transactions.items()],
                ),
            )
    except CommitFailedError as error:
        raise fenced(table, f"did not take the commit: {error}") from error


def write_manifest(target: Lake, new: Manifest) -> None:
    """Overwrite the manifest: the snapshot exists from then on.

    :raises FencedError: if the newest manifest is not the one before it
    """
    handle = target.open(lake.SNAPSHOTS)
    if handle.version() != new.id - 1:
        raise fenced(lake.SNAPSHOTS, f"is at version {handle.version()}, this process would write {new.id}")
    transactions = {WRITER: new.id, GENERATION: new.generation}
    overwrite(handle, lake.SNAPSHOTS, new.to_arrow(), transactions, metadata=new.commit_metadata)
    if handle.version() != new.id:
        raise fenced(lake.SNAPSHOTS, f"is at version {handle.version()}, this process wrote {new.id}")


def named_files(target: Lake, handle: DeltaTable, table: Table, known: Sequence[DataFile]) -> tuple[DataFile, ...]:
    """The files of an open table, with their digests: those that are known keep theirs, new ones are read back."""
    held = {file.path: file for file in known}
    return tuple(
        held.get(path) or DataFile(path, partition, files.digest(target, table, path))
        for partition, paths in sorted(files.of_handle(handle, table).files.items())
        for path in sorted(paths)
    )


def append_stream(table: Table, generation: int) -> str:
    """The application transaction under which an append-only Silver table records a generation's sequences."""
    return f"{table.name}/{generation}" if generation else table.name


def fenced(table: Table, what: str) -> FencedError:
    return FencedError(
        f"{table.name} {what}. Another process writes the figures; this one ends, and starts again from what is "
        "committed."
    )
