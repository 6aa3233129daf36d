"""Rebuilds of small lakes that the real parser, counter and sinks write; Kafka's side is kept in memory."""

import random
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import witnessed
from aging import contents
from deltalake import write_deltalake
from lakes import DEDUP_DAYS, START, TOPIC_ID
from pipelines import comparable
from witnessed import WitnessedLake

from processors import announcement, gains, rebuild, rebuild_result
from processors.generation_topics import GenerationTopics
from processors.rebuild_result import Result
from salesviews import audit, lake, maintenance, manifest, seed, views
from salesviews import settings as settings_module
from salesviews.audit import audit_result
from salesviews.errors import BrokerError, FencedError, LakeError, RebuildError
from salesviews.maintenance.history import History
from salesviews.maintenance.retention import Retention
from salesviews.manifest import Manifest
from salesviews.settings import Settings
from salesviews.tables import files
from salesviews.typed import SourcePartition
from sinks.appends import writer_properties
from sinks.bronze import stream_name
from sinks.overwrites import named_files, write_manifest

OPTIONS = rebuild.Options(memory_mb=256, wait_s=0)


class CrashError(BaseException):
    pass


class Kafka(GenerationTopics):
    """What a generation's topics hold. ``at_begin`` is called when they are made."""

    def __init__(self) -> None:
        self.seeds = 0
        self.positions: Any = None
        self.sums: list[seed.Sums] = []
        self.ends: Mapping[SourcePartition, int] = {}
        self.at_begin: Callable[[], None] = lambda: None
        self.at_forgetting: BrokerError | None = None
        self.kept: int | None = None
        self.has_retracted = False
        self.known = 0

    def __call__(self, _settings: Settings) -> GenerationTopics:
        return self

    def newest(self) -> int:
        return self.known

    def begin(
        self, generation: int, positions: Any, sums: Iterable[seed.Sums], ends: Mapping[SourcePartition, int]
    ) -> int:
        self.known = generation
        self.positions, self.sums, self.ends = positions, list(sums), dict(ends)
        self.seeds = sum(1 for _ in seed.messages(positions, self.sums))
        self.at_begin()
        return self.seeds

    def retract(self, removed: Mapping[Any, Any]) -> int:
        self.has_retracted = True
        return sum(rows.num_rows for rows in removed.values())

    def forget_older(self, generation: int, kept: int) -> list[str]:
        if self.at_forgetting:
            raise self.at_forgetting
        assert kept < generation
        self.kept = kept
        return []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WitnessedLake:
    return witnessed.make(tmp_path_factory.mktemp("made") / "lake", 5)


@pytest.fixture
def own(made: WitnessedLake, tmp_path: Path) -> WitnessedLake:
    return made.copy(tmp_path / "annee=1 été" / "lake")


def run(of: WitnessedLake, kafka: Kafka | None = None, options: rebuild.Options = OPTIONS) -> Result:
    settings = settings_module.read({"SALESVIEWS_LAKE": of.lake.root, "SALESVIEWS_DEDUP_DAYS": str(DEDUP_DAYS)})
    return rebuild.run(settings, options, lambda: START, kafka or Kafka())


def newest(of: WitnessedLake) -> Manifest:
    found = manifest.read(of.lake)
    assert found is not None
    return found


def shown(of: WitnessedLake) -> dict[str, Any]:
    """What a reader of the newest manifest sees, by table."""
    found = newest(of)
    tables = {}
    for table in lake.SILVER:
        rows = files.dataset(of.lake, found.listing(of.lake, table)).to_table().to_pylist()
        kept = [row for row in rows if row.get("sequence", found.sequence) <= found.sequence]
        tables[table.name.removeprefix("silver/")] = comparable(kept)
    return tables


def assert_audit_holds(of: WitnessedLake) -> None:
    result = audit.run(of.lake, audit.Options(dedup_days=DEDUP_DAYS, wait_s=0), stream_name)
    assert result.holds, audit_result.text(result)


def assert_is_oracle(of: WitnessedLake) -> None:
    tables = shown(of)
    for name, rows in of.oracle().tables.items():
        expected = comparable(rows)
        if name == "qualite":  # the witness knows of no position that Kafka deleted
            tables[name] = type(expected)({row: n for row, n in tables[name].items() if "'perdu'" not in row})
        assert tables[name] == expected, name


def test_a_rebuild_of_sound_figures_changes_none(own: WitnessedLake) -> None:
    """Law: where no rule changed, every table stays as it is, what Kafka lost included; the order is kept."""
    before = shown(own)
    result = run(own)
    assert (result.generation, result.order) == (1, "as they were counted before")
    assert not any(each.is_change for each in (*result.views, *result.roll_ups))
    assert result.valid_before == result.valid
    assert "No figure changes." in rebuild_result.text(result).splitlines()
    assert "ventes_clean" not in rebuild_result.text(result)
    assert result.lost == 2 * (1 + 2)
    assert shown(own) == before
    assert newest(own).successor is None
    assert_audit_holds(own)


@pytest.mark.parametrize("roll_up", views.ROLL_UPS, ids=lambda roll_up: roll_up.name)
def test_a_roll_up_that_changes_is_told(own: WitnessedLake, roll_up: views.RollUp) -> None:
    """Law: where nothing but a roll-up differs, as after a change of its declaration, the rebuild says so, with both
    values of a row; and replaces it.
    """
    table, column = lake.of_roll_up(roll_up), roll_up.columns[-1].name
    found = newest(own)
    rows = files.rows(own.lake, found.listing(own.lake, table), found.listing(own.lake, table).files)
    place = rows.column_names.index(column)
    other = pc.multiply(rows.column(place), 2)
    write_deltalake(own.lake.open(table), rows.set_column(place, rows.schema.field(column), other), mode="overwrite")
    handle = own.lake.open(table)
    tables = {**found.tables, table.name: handle.version()}
    named = {**found.files, table.name: named_files(own.lake, handle, table, ())}
    write_manifest(own.lake, replace(found, id=found.id + 1, tables=tables, files=named))
    told = run(own, options=replace(OPTIONS, is_dry=True))
    changed = [each for each in (*told.views, *told.roll_ups) if each.is_change]
    assert [(each.view, each.changed, each.added, each.removed) for each in changed] == [
        (roll_up.name, rows.num_rows, 0, 0)
    ]
    assert changed[0].examples[0].key.keys() == set(roll_up.group)
    text = rebuild_result.text(told)
    assert "No figure changes." not in text
    assert f"{roll_up.name}: {rows.num_rows:,} -> {rows.num_rows:,} rows: 0 added, 0 removed" in text
    run(own)
    assert_is_oracle(own)


def test_sales_that_count_again_are_told(own: WitnessedLake) -> None:
    """Law: that ``ventes_clean`` has other rows is told, though every figure stays."""
    table, found = lake.CLEAN, newest(own)
    own.lake.open(table).delete("client_id = 3")
    write_manifest(
        own.lake, replace(found, id=found.id + 1, tables={**found.tables, table.name: own.lake.open(table).version()})
    )
    result = run(own)
    assert result.valid_before is not None
    assert result.valid_before < result.valid
    lines = rebuild_result.text(result).splitlines()
    assert f"ventes_clean: {result.valid_before:,} -> {result.valid:,} rows" in lines


def test_a_dry_run_writes_nothing(own: WitnessedLake) -> None:
    """Law: it says the same, and leaves every file as it is."""
    files_before = {path: path.stat().st_mtime_ns for path in Path(own.lake.root).rglob("*")}
    result = run(own, options=rebuild.Options(memory_mb=256, wait_s=0, is_dry=True))
    assert result.snapshot is None
    assert result.messages == len(own.sent)
    assert {path: path.stat().st_mtime_ns for path in Path(own.lake.root).rglob("*")} == files_before


def test_topics_of_older_generations_are_no_part_of_success(own: WitnessedLake) -> None:
    """Law: those of the generation that was replaced stay; where others cannot be deleted, it is said, and all else is
    done.
    """
    kafka = Kafka()
    run(own, kafka)
    assert kafka.kept == 0
    kafka.at_forgetting = BrokerError("They are left.")
    result = run(own, kafka)
    assert "The new figures are served. They are left." in result.notes
    assert newest(own).generation == result.generation == 2
    assert_audit_holds(own)


def test_what_comes_after_is_counted_on_top(tmp_path: Path) -> None:
    """Law: processors that begin with the seeds count as those would have that never stopped: duplicates, new clients
    and the horizon of what came before included. And a rebuild of a rebuild changes nothing.
    """
    rng = random.Random(3)
    own = WitnessedLake(tmp_path / "lake")
    known: list[bytes] = []
    for generation in range(3):
        for place in range(4):
            now = START + timedelta(hours=9 * (4 * generation + place))
            own.send(place % 2, witnessed.payloads(rng, 25, 1_000 * generation + 100 * place, now, known), now)
        own.checkpoint()
        assert_is_oracle(own)
        kafka = Kafka()
        result = run(own, kafka)
        assert result.generation == generation + 1
        assert not any(view.is_change for view in result.views), list(result.views)
        assert kafka.ends == newest(own).positions
        own.go_over(kafka.positions, kafka.sums, kafka.seeds)
        assert_audit_holds(own)


def test_the_horizon_goes_on(tmp_path: Path) -> None:
    """Law: a sale that is sent again after a rebuild is a duplicate within the horizon, and counts again beyond it."""
    own = WitnessedLake(tmp_path / "lake")
    rng = random.Random(4)
    days = [0, 10, 25]
    again: list[list[bytes]] = []
    for day in days:
        again.append([])
        now = START + timedelta(days=day)
        own.send(day % 2, witnessed.payloads(rng, 12, 100 * day, now, again[-1]), now)
    own.checkpoint()
    kafka = Kafka()
    run(own, kafka)
    own.go_over(kafka.positions, kafka.sums, kafka.seeds)
    now = START + timedelta(days=DEDUP_DAYS + 5)
    for sales in again:
        own.send(0, list(sales), now)
    own.checkpoint()
    assert_audit_holds(own)
    clean = shown(own)["ventes_clean"]
    first = own.oracle().ventes_clean
    assert clean.total() - len(first) == len(again[0])


def test_silver_that_is_lost_is_computed_from_bronze_alone(own: WitnessedLake) -> None:
    """Law: without Silver, messages are ordered by Kafka's time; every table follows from that, and the audit holds."""
    shutil.rmtree(Path(own.lake.root) / "silver")
    kafka = Kafka()
    result = run(own, kafka)
    assert result.order.endswith("there were no figures before.")
    assert result.messages == len(own.sent)
    assert_audit_holds(own)
    own.go_over(kafka.positions, kafka.sums, kafka.seeds)
    own.send(1, [b"{}", b"[]"], START + timedelta(days=9))
    own.checkpoint()
    assert_audit_holds(own)


@pytest.mark.parametrize("table", [lake.CLEAN, lake.REJECTED, lake.OVERWRITTEN[0]], ids=lambda table: table.name)
def test_damaged_silver_is_replaced(own: WitnessedLake, table: lake.Table) -> None:
    """Law: a file of Silver that cannot be read stops no rebuild: it is named, and the new figures are sound."""
    victim = next(path for path in Path(own.lake.uri(table)).rglob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-7])
    result = run(own)
    assert victim.name in " ".join((result.order, *result.notes))
    assert_audit_holds(own)


def damage_newest_manifest(of: WitnessedLake) -> None:
    [uri] = of.lake.open(lake.SNAPSHOTS).file_uris()
    file = Path(of.lake.uri(lake.SNAPSHOTS), Path(uri).name)
    file.write_bytes(file.read_bytes()[:-9])


@pytest.mark.parametrize("is_maintained", [False, True], ids=["recent", "retained"])
def test_where_the_newest_manifest_is_damaged_the_one_before_it_is_what_is_replaced(
    own: WitnessedLake, is_maintained: bool
) -> None:
    """Law: every other snapshot answers as before, sales too; the order is kept, and nothing is lost."""
    now = datetime.now(UTC)
    every = Retention(days=36_500, step_s=0, recent_s=0)
    if is_maintained:
        options = maintenance.Options(every, grace_s=0, small_files=2)
        assert maintenance.run(own.lake, options, writer_properties, lambda: now).is_done
    before = {each: contents(own.lake, History(own.lake, every, lambda: now).resolve(each)) for each in range(1, 5)}
    damage_newest_manifest(own)
    result = run(own)
    assert any("those of snapshot 3, the newest that can be read" in note for note in result.notes)
    assert result.order == "as they were counted before"
    history = History(own.lake, every, lambda: now)
    for intact in (1, 2, 3):
        assert contents(own.lake, history.resolve(intact)) == before[intact]
    with pytest.raises(LakeError, match="Restore the file"):
        history.resolve(4)
    assert_audit_holds(own)


def test_bronze_that_is_behind_figures_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Law: figures never go back behind what was served, also where its manifest is damaged: its commit says where."""
    own = WitnessedLake(tmp_path / "lake")
    bronze, earlier = Path(own.lake.uri(lake.BRONZE)), tmp_path / "earlier"
    for first_id in (1, 1_000):
        own.send(0, witnessed.payloads(random.Random(first_id), 9, first_id, START, []))
        own.checkpoint()
        if first_id == 1:
            shutil.copytree(bronze, earlier)
    shutil.rmtree(bronze)
    earlier.rename(bronze)
    damage_newest_manifest(own)
    with pytest.raises(RebuildError, match=r"Bronze covers ventes\[0\].* up to 9, the figures cover it up to 18"):
        run(own)


STEPS = ("announce", "topics", "silver/hourly_sales", "silver/top_produits", "silver/ventes_clean", "swap")


def crash_at(step: str, is_before: bool, kafka: Kafka, patched: pytest.MonkeyPatch) -> None:
    """Make the next rebuild die before or after a step."""
    writes: list[Manifest] = []
    write_manifest, overwrite = rebuild.write_manifest, rebuild.overwrite

    def crashing(real: Callable[..., None], is_it: bool, *arguments: Any, **options: Any) -> None:
        if is_it and is_before:
            raise CrashError
        real(*arguments, **options)
        if is_it:
            raise CrashError

    def writing_manifest(target: Any, new: Manifest) -> None:
        writes.append(new)
        crashing(write_manifest, step == ("announce", "swap")[len(writes) - 1], target, new)

    def overwriting(handle: Any, table: lake.Table, *rest: Any, **options: Any) -> None:
        crashing(overwrite, step == table.name, handle, table, *rest, **options)

    def beginning() -> None:
        if step == "topics":
            raise CrashError

    kafka.at_begin = beginning
    for module in (announcement, rebuild):
        patched.setattr(module, "write_manifest", writing_manifest)
    patched.setattr(rebuild, "overwrite", overwriting)


@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_leaves_old_or_new_figures(
    own: WitnessedLake, monkeypatch: pytest.MonkeyPatch, step: str, is_before: bool
) -> None:
    """Law: whatever a rebuild that died left, readers see whole figures, and the next rebuild comes to its end; until
    ``ventes_clean`` is replaced it can be given up instead, and the old generation goes on.
    """
    before = shown(own)
    with monkeypatch.context() as patched:
        kafka = Kafka()
        crash_at(step, is_before, kafka, patched)
        with pytest.raises(CrashError):
            run(own, kafka)
    assert shown(own) == before
    is_done = (step, is_before) == ("swap", False)
    assert newest(own).generation == int(is_done)
    if newest(own).successor is None:
        with pytest.raises(RebuildError, match="nothing to abandon"):
            announcement.abandon(own.lake, lambda: START)
    elif step == "swap" or (step, is_before) == ("silver/ventes_clean", False):
        with pytest.raises(RebuildError, match="Run `salesviews rebuild` again"):
            announcement.abandon(own.lake, lambda: START)
    else:
        assert not kafka.has_retracted, "what is given up has told nobody that keys are gone"
        given_up = own.copy(Path(own.lake.root).parent / "given up")
        announcement.abandon(given_up.lake, lambda: START)
        assert_audit_holds(given_up)
    result = run(own)
    assert result.generation == (1 if (step, is_before) == ("announce", True) else 2), "each has a number of its own"
    assert not any(view.is_change for view in result.views)
    assert shown(own) == before
    assert_audit_holds(own)


def test_a_generation_that_was_given_up_leaves_the_old_one_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: after ``--abandon``, a new views process of the old generation goes on where it was."""
    own = WitnessedLake(tmp_path / "lake")
    rng = random.Random(6)
    own.send(0, witnessed.payloads(rng, 30, 1, START, []))
    own.checkpoint()
    with monkeypatch.context() as patched:
        kafka = Kafka()
        crash_at("silver/top_produits", False, kafka, patched)
        with pytest.raises(CrashError):
            run(own, kafka)
    more = witnessed.payloads(rng, 30, 1_000, START, [])
    own.send(0, more)
    with pytest.raises(FencedError):
        own.checkpoint()
    announcement.abandon(own.lake, lambda: START)
    own.restart()
    own.send(0, more)
    own.checkpoint()
    assert_is_oracle(own)
    assert_audit_holds(own)


def test_a_process_of_the_old_generation_adds_nothing(tmp_path: Path) -> None:
    """Law: a views process that slept through a rebuild ends when it wakes up, and spoils nothing."""
    own = WitnessedLake(tmp_path / "lake")
    rng = random.Random(7)
    own.send(0, witnessed.payloads(rng, 30, 1, START, []))
    own.checkpoint()
    run(own)
    before = shown(own)
    own.send(0, witnessed.payloads(rng, 30, 1_000, START, []))
    with pytest.raises(FencedError):
        own.checkpoint()
    assert shown(own) == before
    assert_audit_holds(own)


def test_a_process_that_started_before_a_rebuild_ended_adds_nothing(tmp_path: Path) -> None:
    """Law: a views process that asked for its generation before the new one was served, and opens Silver after it,
    ends: the typed batches that it counts are not those of the figures that it would add to.
    """
    own = WitnessedLake(tmp_path / "lake")
    rng = random.Random(7)
    own.send(0, witnessed.payloads(rng, 30, 1, START, []))
    own.checkpoint()
    own.restart()
    run(own)
    before = shown(own)
    own.send(0, witnessed.payloads(rng, 30, 1_000, START, []))
    with pytest.raises(FencedError, match=r"Generation 1 .* has replaced 0"):
        own._silver.flush()
    assert shown(own) == before


def test_of_two_rebuilds_the_later_one_wins(own: WitnessedLake) -> None:
    """Law: a rebuild that finds that another was announced after it ends, and replaces nothing."""
    first = Kafka()
    first.at_begin = lambda: str(run(own))
    with pytest.raises(FencedError):
        run(own, first)
    assert newest(own).generation == 2
    assert_audit_holds(own)


def test_bronze_that_is_behind_the_figures_is_refused(own: WitnessedLake) -> None:
    """Law: figures never go back: the partition, both positions and what to run are named."""
    shutil.rmtree(Path(own.lake.uri(lake.BRONZE)))
    with pytest.raises(RebuildError, match=r"Bronze covers ventes\[0\].* up to 0.*salesviews replay"):
        run(own)
    assert newest(own).generation == 0


@pytest.mark.parametrize("is_dry", [False, True])
def test_bronze_that_lacks_what_was_counted_is_refused(own: WitnessedLake, is_dry: bool) -> None:
    """Law: no message stops counting unseen: how many Bronze lacks, the first, and what to run are named; the figures
    stay. Told to go on, the rebuild counts what Bronze has, and says what is gone.
    """
    before = shown(own)
    own.lake.open(lake.BRONZE).delete('partition = 1 AND "offset" BETWEEN 3 AND 7')
    with pytest.raises(RebuildError, match=r"lacks 5 messages .* the first at .*'offset': 3.*salesviews replay"):
        run(own, options=replace(OPTIONS, is_dry=is_dry))
    assert shown(own) == before
    result = run(own, options=replace(OPTIONS, is_dry=is_dry, accepts_loss=True))
    assert result.messages == len(own.sent) - 5
    assert any("lacks 5 messages" in note for note in result.notes)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, partial(BrokerError, "It is gone."), partial(OSError, "It is full.")]
)
def test_what_does_not_come_to_its_end_lets_the_old_generation_go_on(
    own: WitnessedLake, error: Callable[[], BaseException]
) -> None:
    """Law: a rebuild that is refused, fails or is interrupted before it replaces sales withdraws its announcement."""

    def fail() -> None:
        raise error()

    kafka = Kafka()
    kafka.at_begin = fail
    with pytest.raises((KeyboardInterrupt, BrokerError, RebuildError)):
        run(own, kafka)
    assert newest(own).successor is None
    own.lake.open(lake.BRONZE).delete('partition = 1 AND "offset" BETWEEN 3 AND 7')
    with pytest.raises(RebuildError, match="lacks 5 messages"):
        run(own)
    assert (newest(own).generation, newest(own).successor) == (0, None)
    assert_is_oracle(own)


def test_a_bronze_that_never_covers_the_figures_again_is_a_loss(own: WitnessedLake) -> None:
    """Law: where Bronze is gone and Kafka cannot fill it, a rebuild is refused; told to go on, it comes to its end."""
    shutil.rmtree(Path(own.lake.uri(lake.BRONZE)))
    with pytest.raises(RebuildError, match="--accept-loss"):
        run(own)
    result = run(own, options=replace(OPTIONS, accepts_loss=True))
    assert result.messages == 0
    assert any("up to 0, the figures cover it up to" in note for note in result.notes)
    assert not any(shown(own).values())
    assert_audit_holds(own)


def test_no_generation_has_a_number_that_another_had(own: WitnessedLake) -> None:
    """Law: whatever becomes of Silver, a number is new: of the same number, views has state that counted before."""
    kafka = Kafka()
    run(own, kafka)
    assert newest(own).generation == 1
    shutil.rmtree(Path(own.lake.root) / "silver")
    assert run(own, kafka).generation == newest(own).generation == 2


def test_nothing_is_given_up_for_no_figures(own: WitnessedLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: where there were no figures before, no generation can go on: an interrupted rebuild is run again."""
    shutil.rmtree(Path(own.lake.root) / "silver")
    with monkeypatch.context() as patched:
        kafka = Kafka()
        crash_at("topics", True, kafka, patched)
        with pytest.raises(CrashError):
            run(own, kafka)
    with pytest.raises(RebuildError, match="no figures"):
        announcement.abandon(own.lake, lambda: START)
    assert run(own).messages == len(own.sent)


def test_a_bronze_with_holes_is_told_where_silver_is_lost(own: WitnessedLake) -> None:
    """Law: where nothing tells which positions were messages, the result says how many Bronze has no row of."""
    own.lake.open(lake.BRONZE).delete('partition = 1 AND "offset" BETWEEN 3 AND 7')
    for table in (*lake.SILVER, lake.SNAPSHOTS):
        shutil.rmtree(Path(own.lake.uri(table)))
    result = run(own)
    assert any("no message at" in note and "salesviews replay" in note for note in result.notes)


def test_seeds_are_the_figures(own: WitnessedLake) -> None:
    """Law: what views begins with is each figure of each view, and the marks and horizon of the counting so far."""
    kafka = Kafka()
    run(own, kafka)
    hourly = {
        start_ms: sums
        for view, rows in kafka.sums
        for _, start_ms, sums in gains.of_table(view, rows).rows()
        if view is views.HOURLY_SALES
    }
    expected = {
        int(row["heure"].timestamp() * 1000): [
            row["ventes_count"],
            int(row["revenue_total"] * 100),
            int(row["quantite_totale"]),
        ]
        for row in own.oracle().hourly_sales
    }
    assert hourly == expected
    marks = {partition: end for _, topic_id, partition, end, _ in kafka.positions["marks"] if topic_id == TOPIC_ID}
    assert marks == {source.partition: end for source, end in newest(own).positions.items()}
    days = [day for day, _ in kafka.positions["boundaries"]]
    assert days == sorted({_day(sent.message.kafka_timestamp) for sent in own.sent})


def _day(moment: datetime) -> int:
    return int(moment.timestamp()) // 86_400
