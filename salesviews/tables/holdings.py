"""Which positions of source partitions a table holds, found in its rows: what its log claims may not be there."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from salesviews.lake import Lake
from salesviews.tables import files
from salesviews.tables.files import Listing
from salesviews.tables.ranges import Ranges
from salesviews.typed import SourcePartition

DEFAULT_MEMORY_MB = 1024

_COLUMNS = ("topic_id", "partition", "offset")


def missing(
    lake: Lake,
    of: Sequence[Listing],
    ends: Mapping[SourcePartition, int],
    memory_mb: int = DEFAULT_MEMORY_MB,
) -> dict[SourcePartition, Ranges]:
    """For each source partition, the positions before its end of which the tables have no row.

    One pass over three columns, sorted by DuckDB, on disk beyond its memory: 16 bytes a position.

    :param of: versions of tables with a row a message: their columns ``topic_id``, ``partition``, ``offset`` are read
    :raises UnreadableError: naming the file that cannot be read
    """
    sources = sorted(ends)
    numbered = pa.table(
        {
            "number": pa.array(range(len(sources)), pa.int32()),
            "topic_id": pa.array([source.topic_id for source in sources], pa.string()),
            "partition": pa.array([source.partition for source in sources], pa.int32()),
            "end_offset": pa.array([ends[source] for source in sources], pa.int64()),
        }
    )
    with (
        tempfile.TemporaryDirectory(prefix="salesviews-holdings-") as folder,
        duckdb.connect(Path(folder) / "holdings.duckdb") as connection,
    ):
        connection.execute("SET memory_limit = $value", {"value": f"{memory_mb}MB"})
        connection.execute("SET temp_directory = $value", {"value": folder})
        connection.register("numbered", numbered)
        connection.execute("CREATE TABLE sources AS SELECT * FROM numbered")
        with files.streamed(connection, "arriving", lake, of, _COLUMNS):
            connection.execute(
                'CREATE TABLE held AS SELECT number, "offset" FROM arriving JOIN sources USING (topic_id, partition) '
                'WHERE "offset" < end_offset'
            )
        gaps = connection.sql(
            'SELECT number, start, "offset" AS stop FROM (SELECT number, "offset", '
            'coalesce(lag("offset") OVER (PARTITION BY number ORDER BY "offset") + 1, 0) AS start '
            'FROM (FROM held UNION ALL SELECT number, end_offset FROM sources)) WHERE start < "offset" ORDER BY ALL'
        ).to_arrow_table()
    numbers, starts, stops = (gaps.column(name).to_numpy() for name in ("number", "start", "stop"))
    bounds = np.searchsorted(numbers, range(len(sources) + 1))
    return {
        source: Ranges(starts[first:last], stops[first:last])
        for source, first, last in zip(sources, bounds[:-1], bounds[1:], strict=True)
    }
