from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from salesviews import lake, manifest
from salesviews.errors import DefinitionError, FencedError, StateError
from salesviews.lake import Lake, Table
from salesviews.tables import files
from salesviews.typed import SourcePartition
from salesviews.views import HOURLY_SALES, QUALITE, VENTES_PAR_PRODUIT
from sinks.contents import Change
from sinks.silver import SilverSink, Take, ViewChange

SOURCE = SourcePartition("id-a", 0, "ventes")
HOUR_MS = 3_600_000
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Simulation:
    """The stream before the sink: one sale of 1.00 an offset, in hour ``offset % 3`` and month ``offset % 2``.

    ``run(first, last)`` adds the take of those sales, and the sums as Quix Streams' state would have them after it.
    """

    def __init__(self, target: Lake) -> None:
        self.target = target

    def sink(self) -> SilverSink:
        made = SilverSink(self.target, lambda: NOW, 0, 30)
        made.start()
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
        sink.add(Take(clean, lake.REJECTED.schema.empty_table(), first, last, {SOURCE: last + 1}, True))
        for start_ms in {self.start_ms(offset) for offset in range(first, last + 1)}:
            count = sum(self.start_ms(offset) == start_ms for offset in range(last + 1))
            sink.add(ViewChange(HOURLY_SALES, Change((), start_ms, [count, count * 100, count])))
            messages = [count] + [0] * (len(QUALITE.measures) - 1)
            sink.add(ViewChange(QUALITE, Change(("valide",), start_ms, messages)))
        day_ms = {self.start_ms(offset) // (24 * HOUR_MS) * 24 * HOUR_MS for offset in range(first, last + 1)}
        for start_ms in day_ms:
            count = sum(
                self.start_ms(offset) // (24 * HOUR_MS) * 24 * HOUR_MS == start_ms for offset in range(last + 1)
            )
            sink.add(
                ViewChange(VENTES_PAR_PRODUIT, Change(("Café", "Épicerie"), start_ms, [count, count * 100, count]))
            )

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
        sink.flush()
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
        sink.flush()
    assert simulation.shown() == expected(9)


def test_only_tables_that_changed_are_written(simulation: Simulation) -> None:
    """Law: a view without changes keeps its version, in the table and in the manifest."""
    sink = simulation.sink()
    simulation.run(sink, 0, 4)
    sink.flush()
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

    The successor starts from the state of the last Kafka transaction and takes the same sales, cut as it pleases; each
    snapshot that it shows is that of an undisturbed sink, and snapshots never go back.
    """
    sink = simulation.sink()
    simulation.run(sink, 0, 3)
    sink.flush()

    def crash_at(table: Table) -> None:
        if table.name == step:
            raise CrashError

    commit, append, write_manifest = SilverSink._commit, SilverSink._append, SilverSink._write_manifest

    def committing(self: SilverSink, handle: object, table: Table, *rest: object) -> None:
        if is_before:
            crash_at(table)
        commit(self, handle, table, *rest)
        crash_at(table)

    def appending(self: SilverSink, table: Table, *rest: object) -> int:
        if is_before:
            crash_at(table)
        append(self, table, *rest)
        crash_at(table)
        return self._lake.open(table).version()

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
            sink.flush()

    shown_before, _ = simulation.shown()
    successor = simulation.sink()
    simulation.run(successor, 4, next_cut)
    successor.flush()
    shown, _ = after = simulation.shown()
    assert shown >= shown_before
    assert after == expected(shown)
    simulation.run(successor, next_cut + 1, 11)
    successor.flush()
    assert simulation.shown() == expected(11)


@pytest.mark.parametrize("count", [3, 1], ids=["counted twice", "began at nothing"])
def test_sums_that_are_not_what_came_are_never_served(simulation: Simulation, count: int) -> None:
    """Law: where a view gains more or less than the takes have, whatever became of its state, no snapshot is made."""
    sink = simulation.sink()
    simulation.run(sink, 0, 5)
    sink.flush()
    before = simulation.shown()
    simulation.run(sink, 6, 6)
    of_hour = Change((), simulation.start_ms(6), [count, 100 * count, count])  # it has one sale, and gains one
    sink.add(ViewChange(HOURLY_SALES, of_hour))
    with pytest.raises(
        StateError, match=rf"hourly_sales {count - 1} ventes more than snapshot 2 has, but 1 came since"
    ):
        sink.flush()
    assert simulation.shown() == before


def test_what_counts_otherwise_adds_nothing(simulation: Simulation) -> None:
    """Law: a process that remembers ids for another time than the figures were counted with does not add to them."""
    sink = simulation.sink()
    simulation.run(sink, 0, 4)
    sink.flush()
    before = simulation.shown()
    other = SilverSink(simulation.target, lambda: NOW, 0, 7)
    other.start()
    simulation.run(other, 5, 5)
    with pytest.raises(DefinitionError, match=r"SALESVIEWS_DEDUP_DAYS=30, this process has 7"):
        other.flush()
    assert simulation.shown() == before


def test_a_sink_that_was_replaced_ends_and_spoils_nothing(
    simulation: Simulation, expected: Callable[[int], object]
) -> None:
    """Law: a process that wakes up after another one took over finds another manifest, and ends without a trace."""
    sleeper = simulation.sink()
    simulation.run(sleeper, 0, 3)
    sleeper.flush()
    successor = simulation.sink()
    simulation.run(successor, 4, 6)
    successor.flush()
    simulation.run(sleeper, 4, 9)
    before = {table.name: simulation.target.open(table).version() for table in lake.SILVER}
    with pytest.raises(FencedError, match="Another process writes the figures"):
        sleeper.flush()
    assert {table.name: simulation.target.open(table).version() for table in lake.SILVER} == before
    assert simulation.shown() == expected(6)
