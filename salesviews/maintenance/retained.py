"""The manifests of earlier snapshots that are kept: rows of ``silver/snapshots_retained``, in files by day.

A file that cannot be read takes its snapshots with it, and no others. It stays in the table, and what its manifests may
need stays on disk, until it is restored, or nothing waits for it any more: its day is beyond retention, or an operator
has moved it to the folder of files that were set aside (``files.SET_ASIDE``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa

from salesviews import lake
from salesviews.errors import UnreadableError
from salesviews.lake import Lake
from salesviews.tables import files
from salesviews.tables.files import Listing


@dataclass(frozen=True)
class Unread:
    """A file that cannot be read.

    :param path: under the table
    :param day: its snapshots were made on it
    """

    path: str
    day: date
    error: UnreadableError
    is_set_aside: bool

    def is_given_up(self, oldest: datetime) -> bool:
        """Nothing waits for it any more.

        :param oldest: what was served since then can be asked for
        """
        end = datetime.combine(self.day, time(), UTC) + timedelta(days=1)
        return self.is_set_aside or end <= oldest


def day(moment: datetime) -> date:
    """The day under which the manifest of that moment is kept."""
    return moment.astimezone(UTC).date()


def batches(
    source: Lake, listed: Listing, columns: Sequence[str], batch_rows: int, tell: Callable[[Unread], None]
) -> Iterator[pa.RecordBatch]:
    """The rows in small batches, file by file.

    :param tell: called for each file that cannot be read, or not to its end
    """
    for partition, paths in sorted(listed.files.items()):
        for path in sorted(paths):
            of_file = replace(listed, files={partition: frozenset([path])})
            try:
                yield from files.batches(source, of_file, columns, batch_rows)
            except UnreadableError as error:
                tell(Unread(path, partition[0], error, _is_set_aside(source, path, error)))


def _is_set_aside(source: Lake, path: str, error: UnreadableError) -> bool:
    folder = source.folder(lake.RETAINED) / files.SET_ASIDE
    return not error.file.exists() and any((folder / each).exists() for each in (path, error.file.name))
