from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from checkpoints import NOTHING, Published, rows_of

from salesviews import lake, manifest
from salesviews.errors import DefinitionError, FencedError, StateError
from salesviews.lake import Lake, Table
from salesviews.tables import files
from salesviews.typed import SourcePartition
from salesviews.view_rows import DAY_MS, ViewRows
from salesviews.views import HOURLY_SALES, QUALITE, VENTES_PAR_PRODUIT
from sinks.silver import Reached, SilverSink, Take

SOURCE = SourcePartition("id-a", 0, "ventes")
HOUR_MS = 3_600_000
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Simulation:
    """The stream before the sink: one sale of 1.00 an offset, in hour ``offset % 3`` and month ``offset % 2``.

    ``run(first, last)`` adds the take of those sales, and the sums as Quix Streams' state would have them after it;
    ``write`` then makes a checkpoint, and a snapshot of it.

    :param reached: what Kafka has committed
    """

    def __init__(self, target: Lake) -> None:
        self.target = target
        self.reached = NOTHING

    def sink(self) -> SilverSink:
        """A new process, that goes on from the last checkpoint that Kafka committed."""
        made = SilverSink(self.target, lambda: NOW, 0, 30, Published(), 100)
        made.start()
        made.begin(self.reached, {})
        return made

    @staticmethod
    def start_ms(offset: int) -> int:
        month = datetime(2026, 1 + offset % 2, 1, tzinfo=UTC)
        return int(month.timestamp() * 1000) + offset % 3 * HOUR_MS

    def run(self, sink: SilverSink, first: int, last: int) -> None:
        rows = [
            {
                "vente_id": offset,
                "client_id": offset % 4,
                "timestamp": datetime.fromtimestamp(self.start_ms(offset) / 1000, UTC),
                "quantite": 1,
                "montant": 1,
                "annee": 2026,
                "mois": 1 + offset % 2,
                "sequence": offset,
            }
            for offset in range(first, last + 1)
        ]
        clean = pa.Table.from_pylist(rows, schema=lake.CLEAN.schema)
        nothing = lake.REJECTED.schema.empty_table()
        changed = self.sums(range(first, last + 1), last)
        sink.add(Take(clean, nothing, last, {SOURCE: last + 1}, True, changed))

    def sums(self, offsets: range, last: int) -> list[ViewRows]:
        """The rows of views that some sales change, as they are after a last one."""
        hours = {self.start_ms(offset) for offset in offsets}
        days = {start_ms // DAY_MS * DAY_MS for start_ms in hours}
        of_hours = {start_ms: sum(self.start_ms(each) == start_ms for each in range(last + 1)) for start_ms in hours}
        of_days = {
            day_ms: sum(self.start_ms(each) // DAY_MS * DAY_MS == day_ms for each in range(last + 1)) for day_ms in days
        }
        zeros = [0] * (len(QUALITE.measures) - 1)
        return [
            rows_of(HOURLY_SALES, *(((), start_ms, [n, n * 100, n]) for start_ms, n in of_hours.items())),
            rows_of(QUALITE, *((("valide",), start_ms, [n, *zeros]) for start_ms, n in of_hours.items())),
            rows_of(
                VENTES_PAR_PRODUIT,
                *((("Café", "Épicerie"), start_ms, [n, n * 100, n]) for start_ms, n in of_days.items()),
            ),
        ]

    def write(self, sink: SilverSink) -> None:
        sink.flush()
        taken = sink._takes
        sink.committed()
        if taken:
            self.reached = Reached(taken[-1].sequence, taken[-1].positions, True)
        for _ in sink.snapshot():
            pass

    def shown(self) -> tuple[int, dict[str, list[dict[str, object]]]]:
        """What a reader of the newest manifest sees: its sequence, and each table."""
        found = manifest.read(self.target)
        assert found is not None
        tables = {}
        for table in lake.SILVER:
            listing = files.listing(self.target, table, found.tables[table.name])
            rows = files.dataset(self.target, listing).to_table().to_pylist()
            shown = [row for row in rows if row.get("sequence", 0) <= found.sequence]
            tables[table.name] = sorted(shown, key=str)
        return found.sequence, tables


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    return Simulation(Lake(str(tmp_path / "lake")))


@pytest.fixture
def expected(tmp_path: Path) -> Callable[[int], tuple[int, dict[str, list[dict[str, object]]]]]:
    """What an undisturbed sink shows after the sales up to an offset."""

    def run(last: int) -> tuple[int, dict[str, list[dict[str, object]]]]:
        undisturbed = Simulation(Lake(str(tmp_path / f"undisturbed-{last}")))
        sink = undisturbed.sink()
        undisturbed.run(sink, 0, last)
        undisturbed.write(sink)
        return undisturbed.shown()

    return run


def test_an_empty_system_can_be_read(simulation: Simulation) -> None:
    """Law: before any sale there is a manifest, of empty tables."""
    simulation.sink()
    sequence, tables = simulation.shown()
    assert sequence == manifest.EMPTY_SEQUENCE
    assert all(rows == [] for rows in tables.values())


def test_checkpoints_add_up(simulation: Simulation, expected: Callable[[int], object]) -> None:
    """Law: the snapshot after many checkpoints is the one after a single checkpoint."""
    sink = simulation.sink()
    for last in range(10):
        simulation.run(sink, last, last)
        simulation.write(sink)
    assert simulation.shown() == expected(9)


def test_only_tables_that_changed_are_written(simulation: Simulation) -> None:
    """Law: a view without changes keeps its version, in the table and in the manifest."""
    sink = simulation.sink()
    simulation.run(sink, 0, 4)
    simulation.write(sink)
    found = manifest.read(simulation.target)
    assert found is not None
    assert found.tables["silver/hourly_sales"] == 1
    assert found.tables["silver/ventes_par_pays"] == 0
    assert found.tables["silver/ventes_rejetees"] == 0


class CrashError(Exception):
    pass


STEPS = [
    "silver/ventes_clean",
    "silver/hourly_sales",
    "silver/ventes_par_produit",
    "silver/ventes_par_client",
    "silver/top_produits",
    "silver/snapshots",
]


@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("next_cut", [4, 9], ids=["one_month", "same"])
def test_a_crash_at_any_step_changes_nothing(
    simulation: Simulation,
    expected: Callable[[int], object],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    is_before: bool,
    next_cut: int,
) -> None:
    """Law: a sink that dies before or after any of its commits leaves what its successor makes exact again.

    The successor starts from the state of the last Kafka transaction: before it, it takes the same sales, cut as it
    pleases; after it, the rows that changed are owed. Each snapshot that it shows is that of an undisturbed sink, and
    snapshots never go back.
    """
    sink = simulation.sink()
    simulation.run(sink, 0, 3)
    simulation.write(sink)

    def crash_at(table: Table) -> None:
        if table.name == step:
            raise CrashError

    commit, append, write_manifest = SilverSink._commit, SilverSink._append, SilverSink._write_manifest

    def committing(self: SilverSink, handle: object, table: Table, *rest: object) -> None:
        if is_before:
            crash_at(table)
        commit(self, handle, table, *rest)
        crash_at(table)

    def appending(self: SilverSink, table: Table, *rest: object) -> None:
        if is_before:
            crash_at(table)
        append(self, table, *rest)
        crash_at(table)

    def writing_manifest(self: SilverSink, *rest: object) -> None:
        if is_before:
            crash_at(lake.SNAPSHOTS)
        write_manifest(self, *rest)
        crash_at(lake.SNAPSHOTS)

    with monkeypatch.context() as patched:
        patched.setattr(SilverSink, "_write_manifest", writing_manifest)
        patched.setattr(SilverSink, "_commit", committing)
        patched.setattr(SilverSink, "_append", appending)
        simulation.run(sink, 4, 9)
        with pytest.raises(CrashError):
            simulation.write(sink)

    shown_before, _ = simulation.shown()
    successor = simulation.sink()
    if simulation.reached.sequence == 9:
        successor.owe(simulation.sums(range(4, 10), 9))
        next_cut = 9
    else:
        simulation.run(successor, 4, next_cut)
    simulation.write(successor)
    shown, _ = after = simulation.shown()
    assert shown >= shown_before
    assert after == expected(shown)
    simulation.run(successor, next_cut + 1, 11)
    simulation.write(successor)
    assert simulation.shown() == expected(11)


@pytest.mark.parametrize("count", [3, 1], ids=["counted twice", "began at nothing"])
def test_sums_that_are_not_what_came_are_never_served(simulation: Simulation, count: int) -> None:
    """Law: where a view gains more or less than the takes have, whatever became of its state, no snapshot is made."""
    sink = simulation.sink()
    simulation.run(sink, 0, 5)
    simulation.write(sink)
    before = simulation.shown()
    simulation.run(sink, 6, 6)
    sink.flush()
    sink.committed()
    # It has one sale, and gains one.
    sink.owe([rows_of(HOURLY_SALES, ((), simulation.start_ms(6), [count, 100 * count, count]))])
    with pytest.raises(
        StateError, match=rf"hourly_sales {count - 1} ventes more than snapshot 2 has, but 1 came since"
    ):
        for _ in sink.snapshot():
            pass
    assert simulation.shown() == before


def test_what_counts_otherwise_adds_nothing(simulation: Simulation) -> None:
    """Law: a process that remembers ids for another time than the figures were counted with does not add to them."""
    sink = simulation.sink()
    simulation.run(sink, 0, 4)
    simulation.write(sink)
    before = simulation.shown()
    other = SilverSink(simulation.target, lambda: NOW, 0, 7, Published(), 100)
    other.start()
    with pytest.raises(DefinitionError, match=r"SALESVIEWS_DEDUP_DAYS=30, this process has 7"):
        other.begin(simulation.reached, {})
    assert simulation.shown() == before


def test_a_sink_that_was_replaced_ends_and_spoils_nothing(
    simulation: Simulation, expected: Callable[[int], object]
) -> None:
    """Law: a process that wakes up after another one took over finds another manifest, and ends without a trace."""
    sleeper = simulation.sink()
    simulation.run(sleeper, 0, 3)
    simulation.write(sleeper)
    successor = simulation.sink()
    simulation.run(successor, 4, 6)
    simulation.write(successor)
    simulation.run(sleeper, 4, 9)
    before = {table.name: simulation.target.open(table).version() for table in lake.SILVER}
    with pytest.raises(FencedError, match="Another process writes the figures"):
        simulation.write(sleeper)
    assert {table.name: simulation.target.open(table).version() for table in lake.SILVER} == before
    assert simulation.shown() == expected(6)
