"""Mends an append-only table: takes data files that are gone out of its log, and adds rows that it lacks, once.

The rows that a table should have and lacks can only be known by reading it. So adding them is a comparison with what
was read: an application transaction of its own counts the mendings, and one that was computed before another one landed
is refused. Appends of other streams may land in between; they are about other rows.
"""

import logging

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from salesviews.errors import LakeError
from salesviews.lake import Lake, Table
from salesviews.tables import files, storage
from salesviews.tables.storage import Place
from sinks.appends import writer_properties

_log = logging.getLogger(__name__)

_MENDINGS = "replay"
_ATTEMPTS = 20
_RETRIES_IN_AN_ATTEMPT = 100
_SHOWN = 5


def state(handle: DeltaTable) -> str:
    """What a mending is compared by: the table itself, and how often it was mended."""
    return _state(handle, _mendings(handle))


def _state(handle: DeltaTable, mendings: int) -> str:
    return f"{handle.metadata().id}/{mendings}"


def mend(lake: Lake, table: Table, rows: pa.Table, expected: str) -> str | None:
    """Add rows in one commit, if the table's ``state`` is still the one that was read with what it lacks.

    Gives the state after it. None where it was another, or where the commit may have landed or not: what the table
    lacks must be read again.
    """
    handle = lake.open(table)
    if state(handle) != expected:
        return None
    mendings = _mendings(handle) + 1
    try:
        write_deltalake(
            handle,
            rows,
            mode="append",
            writer_properties=writer_properties(table),
            commit_properties=CommitProperties(
                app_transactions=[Transaction(_MENDINGS, mendings)], max_commit_retries=_RETRIES_IN_AN_ATTEMPT
            ),
        )
    except (CommitFailedError, OSError) as error:
        _log.info("mending %s did not go through: %s", table.name, error)
        return None
    return _state(handle, mendings)


def _mendings(handle: DeltaTable) -> int:
    return int(handle.transaction_version(_MENDINGS) or 0)


def forget_gone(lake: Lake, table: Table) -> tuple[str, ...]:
    """Take the data files that the table's log names and that are gone out of it. Gives their paths under the table.

    :raises LakeError: if the table could not be written
    """
    failure: Exception | None = None
    for _ in range(_ATTEMPTS):
        handle = lake.open(table)
        try:
            gone = tuple(sorted(handle.repair()["files_removed"]))
        except (CommitFailedError, OSError) as error:  # another took them out, or compacted
            failure = error
            continue
        if gone:
            _log.warning(
                "%d data files that the log of %s names are gone, and were taken out of it in version %d: %s",
                len(gone),
                table.name,
                handle.version(),
                ", ".join(gone[:_SHOWN]) + (" …" if len(gone) > _SHOWN else ""),
            )
        return gone
    raise LakeError(
        f"The data files of {table.name} that are gone could not be taken out of its log; the last error: {failure}. "
        f"Are there rights to write at {lake.uri(table)}?"
    ) from failure


def set_aside(lake: Lake, table: Table, file: Place) -> Place:
    """Move a data file that cannot be read out of the way: it is gone for the table, and kept for who looks into it."""
    folder = lake.folder(table)
    kept = folder / files.SET_ASIDE / str(file).removeprefix(f"{folder}/")
    storage.move(file, kept)
    _log.warning("%s cannot be read, and was moved to %s", file, kept)
    return kept
