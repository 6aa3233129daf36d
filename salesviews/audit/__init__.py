"""The audit: Silver compared with what Bronze gives, at the positions of the newest snapshot.

It reads named versions only, so that it can run beside live processes, and asks nothing of Kafka. In order:

1. Read the newest manifest.
2. Wait until Bronze covers its positions: ingest commits every few seconds, and a snapshot can be a moment ahead.
3. Load the positions of Silver, and judge Bronze's payloads again (``recount``).
4. Compare each message: its typed columns in Bronze, and its row in ``ventes_clean`` or ``ventes_rejetees``.
5. Compute the views and roll-ups again, and compare each row.

The command line then keeps the result (``audit_result``). A crash at any step leaves nothing but a temporary
folder, and the result of the audit before.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from deltalake.exceptions import DeltaError

from salesviews import definition, event, lake, manifest, views
from salesviews.audit.audit_result import Partition, Result
from salesviews.audit.differences import WHOLE_ROW, Comparison, Difference, Differences, name
from salesviews.audit.recount import CLEAN_COLUMNS, DERIVED, Recount, Sample
from salesviews.errors import AuditError, SalesviewsError
from salesviews.lake import Lake
from salesviews.manifest import Manifest
from salesviews.tables import files
from salesviews.typed import OFFSET_BITS, SourcePartition

DEFAULT_SHOWN = 20
DEFAULT_WAIT_S = 60.0
DEFAULT_MEMORY_MB = 1024

_POLL_S = 0.5
_BRONZE = lake.BRONZE.name
_REJECTED_COLUMNS = ("motif", "vente_id", "kafka_timestamp", "compte")


@dataclass(frozen=True)
class Options:
    """
    :param dedup_days: for how many days ids were remembered, where the snapshot does not say it
    :param sample_pct: the share of the messages that is checked; None checks everything
    :param seed: which messages a sample has
    :param shown: how many differences of a table are named
    :param wait_s: how long Bronze may take to reach the snapshot's positions
    """

    dedup_days: int
    sample_pct: float | None = None
    seed: int = 0
    shown: int = DEFAULT_SHOWN
    wait_s: float = DEFAULT_WAIT_S
    memory_mb: int = DEFAULT_MEMORY_MB


def run(
    source: Lake,
    options: Options,
    stream_name: Callable[[SourcePartition], str],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Result:
    """Audit a lake.

    :param stream_name: the application transaction under which Bronze records a source partition's positions
    :raises AuditError: if it cannot be made
    """
    try:
        snapshot = _newest_snapshot(source)
        with tempfile.TemporaryDirectory(prefix="salesviews-audit-") as folder:
            return _Audit(source, snapshot, options, stream_name, Path(folder), clock).run()
    except AuditError:
        raise
    except (SalesviewsError, DeltaError, OSError) as error:
        raise AuditError(f"The audit could not be made: {error}") from error
    except duckdb.Error as error:
        raise AuditError(
            f"The audit could not be made: DuckDB says: {error}. It needs space in {tempfile.gettempdir()} "
            "(TMPDIR names another folder), about as much as Bronze has, and memory (--memory)."
        ) from error


def _newest_snapshot(source: Lake) -> Manifest:
    snapshot = manifest.read(source)
    if snapshot is None:
        raise AuditError(
            f"{source.root} has no snapshot yet, so there is nothing to audit. `salesviews views` writes one."
        )
    return snapshot


class _Audit:
    def __init__(
        self,
        source: Lake,
        snapshot: Manifest,
        options: Options,
        stream_name: Callable[[SourcePartition], str],
        folder: Path,
        clock: Callable[[], datetime],
    ) -> None:
        self._lake = source
        self._snapshot = snapshot
        self._options = options
        self._stream_name = stream_name
        self._folder = folder
        self._clock = clock
        self._differences = Differences(options.shown)
        self._checked: dict[str, int] = {}
        self._recount: Recount

    def run(self) -> Result:
        audited_at, started = self._clock(), time.monotonic()
        bronze = self._wait_for_bronze()
        options = self._options
        sample = None if options.sample_pct is None else Sample(options.sample_pct / 100, options.seed)
        dedup_days = definition.dedup_days(self._snapshot.definition) or options.dedup_days
        self._recount = Recount(self._lake, self._snapshot, bronze, self._folder, dedup_days, sample, options.memory_mb)
        try:
            self._load()
            self._compare_messages()
            self._check_sample_has_any()
            partitions: tuple[Partition, ...] = ()
            lost = None
            if sample is None:
                partitions = self._conservation()
                lost = self._compare_views(sum(each.positions - each.received for each in partitions))
        finally:
            self._recount.close()
        duration_s = time.monotonic() - started
        messages = self._checked[_BRONZE]
        return Result(
            holds=not self._differences.total,
            audited_at=audited_at,
            duration_s=round(duration_s, 3),
            messages=messages,
            messages_per_s=round(messages / duration_s, 1),
            snapshot=self._snapshot.id,
            snapshot_created_at=self._snapshot.created_at,
            generation=self._snapshot.generation,
            sequence=self._snapshot.sequence,
            sample_pct=options.sample_pct,
            seed=None if sample is None else options.seed,
            checked=self._checked,
            not_checked=() if sample is None else _beyond_sample(options),
            partitions=partitions,
            lost=lost,
            differences_total=self._differences.total,
            differences_by_table=self._differences.totals,
            differences=tuple(self._differences.kept),
        )

    def _wait_for_bronze(self) -> files.Listing:
        """The version of Bronze that is read; what it does not cover when the time is over is a difference."""
        deadline = time.monotonic() + self._options.wait_s
        while True:
            handle = self._lake.open(lake.BRONZE)
            behind = {}
            for source, position in self._snapshot.positions.items():
                covered = handle.transaction_version(self._stream_name(source)) or 0
                if covered < position:
                    behind[source] = (position, covered)
            if not behind or time.monotonic() >= deadline:
                break
            time.sleep(_POLL_S)
        self._differences.add(
            [
                Difference(_BRONZE, asdict(source), "next position", position, covered)
                for source, (position, covered) in behind.items()
            ]
        )
        return files.listing(self._lake, lake.BRONZE, handle.version())

    def _load(self) -> None:
        recount = self._recount
        recount.load_places()
        [(clean, rejected)] = self._query(
            "SELECT count(*) FILTER (is_clean), count(*) FILTER (NOT is_clean) FROM places"
        )
        self._checked |= {lake.CLEAN.name: clean, lake.REJECTED.name: rejected}
        for is_clean, table in ((True, lake.CLEAN), (False, lake.REJECTED)):
            [(strangers,)] = self._query(
                f"SELECT count(*) FROM places WHERE position IS NULL AND is_clean = {is_clean}"
            )
            if strangers:
                what = f"{strangers} rows of source partitions that the snapshot does not cover"
                self._differences.add([Difference(table.name, {}, WHOLE_ROW, None, what)], strangers)
        recount.forget_strangers()
        self._add_repeated(f"{lake.CLEAN.name} and {lake.REJECTED.name}", "places")
        recount.load_bronze()
        self._add_repeated(_BRONZE, "judged")
        [(self._checked[_BRONZE],)] = self._query("SELECT count(*) FROM judged")
        recount.find_doubles()

    def _add_repeated(self, table: str, held: str) -> None:
        repeated = self._recount.once(held)
        self._differences.add(
            [
                Difference(table, self._place(position), "rows of this position", 1, count, self._place(position))
                for position, count in repeated
            ]
        )

    def _check_sample_has_any(self) -> None:
        """Nothing that was looked at is no proof of anything."""
        covered = sum(self._snapshot.positions.values())
        if self._options.sample_pct is None or self._checked[_BRONZE] or self._differences.total or not covered:
            return
        raise AuditError(
            f"A sample of {self._options.sample_pct:g} % with seed {self._options.seed} has no message of the "
            f"{covered:,} positions that snapshot {self._snapshot.id} covers: nothing was checked. Take a larger "
            "share, or all of it (without --sample)."
        )

    def _compare_messages(self) -> None:
        self._compare_bronze()
        self._compare_order()
        self._compare_clean()
        Comparison(lake.REJECTED.name, ("position",), _REJECTED_COLUMNS).run(
            self._recount.connection,
            f"(SELECT j.position, coalesce(j.motif, '{event.DOUBLON}') AS motif, j.vente_id, j.kafka_timestamp, "
            "d.compte FROM judged AS j LEFT JOIN doubles AS d USING (position) "
            "WHERE j.motif IS NOT NULL OR d.position IS NOT NULL)",
            "rejetees",
            self._recount.place,
            self._differences,
        )

    def _compare_bronze(self) -> None:
        """The typed columns that Bronze holds are what its payloads give now."""
        columns = (*event.FIELD_NAMES, "jour")
        where = "FROM judged WHERE stored IS NOT NULL"
        Comparison(_BRONZE, ("position",), columns).run(
            self._recount.connection,
            f"(SELECT position, {_quoted(columns)} {where})",
            f"(SELECT position, unnest(stored) {where})",
            self._recount.place,
            self._differences,
        )

    def _compare_order(self) -> None:
        """The total order has each source partition in its own order."""
        rows = self._query(
            "SELECT position, before, sequence, sequence_before FROM (SELECT position, sequence, "
            "lag(position) OVER mine AS before, lag(sequence) OVER mine AS sequence_before FROM places "
            f"WINDOW mine AS (PARTITION BY position >> {OFFSET_BITS} ORDER BY position)) "
            "WHERE sequence <= sequence_before"
        )
        self._differences.add(
            [
                Difference(
                    f"{lake.CLEAN.name} and {lake.REJECTED.name}",
                    self._place(position),
                    "sequence",
                    f"more than {sequence_before}, which offset {self._place(before)['offset']} has",
                    sequence,
                    self._place(position),
                )
                for position, before, sequence, sequence_before in rows
            ]
        )

    def _compare_clean(self) -> None:
        """Every sale that counts is in ``ventes_clean``, nothing else is, and each has the payload's values."""
        counts = "FROM judged ANTI JOIN doubles USING (position) WHERE motif IS NULL AND "
        missing = self._query(f"SELECT position, vente_id {counts} is_clean IS DISTINCT FROM true ORDER BY position")
        extra = self._query(
            "SELECT position, vente_id FROM judged SEMI JOIN doubles USING (position) WHERE is_clean "
            "UNION ALL SELECT position, vente_id FROM judged WHERE motif IS NOT NULL AND is_clean "
            "UNION ALL SELECT position, NULL FROM (FROM places WHERE is_clean) ANTI JOIN judged USING (position) "
            "ORDER BY position"
        )
        for rows, is_expected in ((missing, True), (extra, False)):
            self._differences.add(
                [
                    Difference(
                        lake.CLEAN.name,
                        self._place(position),
                        WHOLE_ROW,
                        {"vente_id": vente_id} if is_expected else None,
                        None if is_expected else {"vente_id": vente_id},
                        self._place(position),
                    )
                    for position, vente_id in rows
                ]
            )
        others = [
            position for (position,) in self._query(f"SELECT position {counts} is_clean AND is_other ORDER BY ALL")
        ]
        if others:
            shown = others[: self._options.shown]
            kept = Differences(self._options.shown)
            Comparison(lake.CLEAN.name, ("position",), CLEAN_COLUMNS).run(
                self._recount.connection,
                f"(SELECT position, {_quoted(event.FIELD_NAMES)}, {_derived()} FROM judged "
                f"WHERE position IN ({', '.join(map(str, shown))}))",
                self._recount.clean_rows(shown),
                self._recount.place,
                kept,
            )
            if not kept.total:
                raise AssertionError(f"rows at {shown} have another hash and the same values")
            self._differences.add(kept.kept, kept.total + len(others) - len(shown))

    def _conservation(self) -> tuple[Partition, ...]:
        """What Silver holds of each source partition, compared with what Bronze received."""
        received = dict(self._query(f"SELECT position >> {OFFSET_BITS}, count(*) FROM judged GROUP BY ALL"))
        held: dict[int, dict[str, int]] = {}
        for number, motif, count in self._query(
            f"SELECT position >> {OFFSET_BITS}, '{event.VALIDE}', count(*) FROM places WHERE is_clean GROUP BY ALL "
            f"UNION ALL SELECT position >> {OFFSET_BITS}, motif, count(*) FROM rejetees WHERE position IS NOT NULL "
            "GROUP BY ALL ORDER BY ALL"
        ):
            held.setdefault(number, {})[motif] = count
        partitions = []
        for number, source in enumerate(self._recount.sources):
            counts = held.get(number, {})
            valid, duplicates = counts.pop(event.VALIDE, 0), counts.pop(event.DOUBLON, 0)
            partition = Partition(
                source.topic,
                source.topic_id,
                source.partition,
                self._snapshot.positions[source],
                received.get(number, 0),
                valid,
                duplicates,
                counts,
            )
            total = valid + duplicates + sum(counts.values())
            if total != partition.received:
                what = "valid + duplicates + rejected"
                self._differences.add([Difference("conservation", asdict(source), what, partition.received, total)])
            partitions.append(partition)
        return tuple(partitions)

    def _compare_views(self, empty_positions: int) -> int:
        """Compare the views and roll-ups.

        :param empty_positions: positions of which Bronze has no message
        :return: how many of them ``qualite`` counts as lost
        """
        recount, connection = self._recount, self._recount.connection
        recount.make_relations()
        lost = 0
        for view in views.VIEWS:
            table = lake.of_view(view)
            found = recount.found(table, view.money_names)
            if view is views.QUALITE:
                [(lost,)] = self._query(
                    f"SELECT coalesce(sum(messages), 0)::BIGINT FROM {found} WHERE motif = '{event.PERDU}'"
                )
                connection.execute(f"DELETE FROM {found} WHERE motif = '{event.PERDU}'")
            comparison = Comparison(
                table.name,
                (*view.key_names, view.window.column),
                (*view.measure_names, "annee", "mois"),
                view.money_names,
            )
            self._checked[table.name] = comparison.run(
                connection, recount.make_view(view), found, recount.place, self._differences
            )
        for roll_up in views.ROLL_UPS:
            table = lake.of_roll_up(roll_up)
            comparison = Comparison(table.name, roll_up.group, roll_up.column_names, roll_up.money_names)
            self._checked[table.name] = comparison.run(
                connection,
                recount.roll_up(roll_up),
                recount.found(table, roll_up.money_names),
                recount.place,
                self._differences,
            )
        if lost > empty_positions:
            what = "positions without a message"
            key = {"motif": event.PERDU}
            self._differences.add([Difference(lake.of_view(views.QUALITE).name, key, what, empty_positions, lost)])
        return lost

    def _query(self, query: str) -> list[Any]:
        return self._recount.connection.execute(query).fetchall()

    def _place(self, packed: int) -> Mapping[str, Any]:
        return self._recount.place(packed) or {}


def _quoted(columns: tuple[str, ...]) -> str:
    return ", ".join(map(name, columns))


def _derived() -> str:
    return ", ".join(f'{function}("timestamp") AS {column}' for column, function in DERIVED.items())


def _beyond_sample(options: Options) -> tuple[str, ...]:
    return (
        f"the messages outside of the sample (about {100 - (options.sample_pct or 0):g} %)",
        "which of several messages of one vente_id comes first",
        "conservation",
        *(table.name for table in lake.OVERWRITTEN),
    )
