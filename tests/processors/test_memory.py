import json
import random
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lakes import DEDUP_DAYS, START, TOPIC, TOPIC_ID, LakeMaker, MadePoll

from processors import history, memory, sorted_runs
from processors.columnar import MessageBatch
from processors.counting import Counter, TypedBatch
from processors.history import History
from processors.ingest import Parser
from processors.positions import Positions
from salesviews import lake, typed
from salesviews.errors import UnreadableError
from salesviews.lake import Lake
from salesviews.tables import files
from salesviews.typed import Interval, SourcePartition


def sale(vente_id: int, client_id: int = 1, month: int = 2, produit: str = "Café") -> bytes:
    fields = {"vente_id": vente_id, "client_id": client_id, "timestamp": f"2026-{month:02}-03T11:30:00"}
    return json.dumps(fields | {"quantite": 2, "montant": 10.5, "pays": "France", "produit_nom": produit}).encode()


SALES = st.lists(
    st.builds(sale, st.integers(-3, 12), st.integers(-1, 2), st.integers(1, 2), st.sampled_from(["Café", "Thé"])),
    max_size=8,
)
BATCHES = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0, 1, DEDUP_DAYS]), SALES, st.sampled_from(["", "", "checkpoint"])),
    min_size=1,
    max_size=8,
)


def small(patches: pytest.MonkeyPatch) -> None:
    """Seal, merge and read in pieces of a few sales."""
    patches.setattr(memory, "_SEAL_ENTRIES", 3)
    patches.setattr(sorted_runs, "_STEP_ENTRIES", 2)
    patches.setattr(history, "_PIECE_ROWS", 3)
    patches.setattr(history, "_BATCH_ROWS", 2)


def counter_of(maker: LakeMaker, folder: Path | None, beat: Any = lambda: None) -> tuple[Counter, Positions]:
    """A counter of a new life, which goes on after the last checkpoint."""
    positions = Positions.from_state(maker._committed[0])
    return Counter(
        maker.lake, DEDUP_DAYS, typed.first_sequence(maker._committed[3]), positions, folder, beat
    ), positions


def next_batch(maker: LakeMaker, payloads: list[bytes], days: int = 0) -> TypedBatch:
    end = maker._committed[4].get(0, 0)
    interval = Interval(SourcePartition(TOPIC_ID, 0, TOPIC), end, end + len(payloads), 0, end + len(payloads))
    poll = MadePoll((), payloads, end, START + timedelta(days=days))
    parsed = Parser().parse(interval, MessageBatch(poll, slice(0, len(payloads)), TOPIC, 0))
    return TypedBatch(maker._committed[3], interval, parsed.typed)


@settings(max_examples=8, deadline=None)
@given(BATCHES, SALES, st.sampled_from([0, DEDUP_DAYS + 1]), st.booleans(), st.randoms(use_true_random=False))
def test_files_say_what_the_sales_say(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[tuple[int, int, list[bytes], str]],
    last: list[bytes],
    later: int,
    is_compacted: bool,
    chance: random.Random,
) -> None:
    """Law: a life that starts from files, from ``ventes_clean`` alone, or from a part of the files gives the same
    verdicts and the same new clients, whatever was sealed, merged, torn or appended by a checkpoint that did not end.
    """
    folder = tmp_path_factory.mktemp("memory")
    with pytest.MonkeyPatch.context() as patches:
        small(patches)
        maker = LakeMaker(Lake(str(tmp_path_factory.mktemp("lake"))), memory=folder)
        now = START
        for partition, days, payloads, then in batches:
            now += timedelta(days=days)
            maker.send(partition, payloads, now)
            if then:
                maker.checkpoint()
                maker._counter.step()
        maker.checkpoint()
        while chance.random() < 0.5 and maker._counter.step():
            pass
        if is_compacted:
            maker.lake.open(lake.CLEAN).optimize.compact()
        committed = maker._committed
        maker.send(0, [sale(100), *last], now)
        maker.interrupted_checkpoint()
        maker._committed = committed
        torn = folder.parent / "torn"
        shutil.rmtree(torn, ignore_errors=True)
        shutil.copytree(folder, torn)
        for path in sorted(torn.rglob("*.run")):
            if chance.random() < 0.5:
                path.unlink()

        batch = next_batch(maker, [sale(each, 1) for each in range(-3, 13)] + last, (now - START).days + later)
        results = []
        for each in (folder, torn, None):
            counter, positions = counter_of(maker, each)
            counted = counter.count([batch], positions)
            gains = [(rows.view.name, row) for rows in counted.gains for row in rows.rows()]
            results.append((counted.clean, counted.rejected, sorted(gains, key=repr)))
        assert results[0] == results[1] == results[2]


def test_a_life_reads_only_what_no_file_covers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: of ``ventes_clean``, a life opens the files of sales since the last seal, and no other."""
    monkeypatch.setattr(memory, "_SEAL_ENTRIES", 3)
    maker = LakeMaker(Lake(str(tmp_path / "lake")), memory=tmp_path / "memory")
    for number in range(6):
        maker.send(0, [sale(number * 2), sale(number * 2 + 1)])
        maker.checkpoint()
    opened: list[str] = []
    original = files.batches_within
    monkeypatch.setattr(files, "batches_within", lambda *given: opened.append(given[2].path) or original(*given))
    maker.send(0, [sale(100)])
    maker.checkpoint()
    counter_of(maker, tmp_path / "memory")
    assert len(opened) == 1
    counter_of(maker, None)
    assert len(opened) == 1 + 7


def test_an_interrupted_reading_goes_on_where_it_was_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: where the files are lost they are made again in pieces, with beats; each life that is killed meanwhile has
    made some, so that there is a last one.
    """
    small(monkeypatch)
    maker = LakeMaker(Lake(str(tmp_path / "lake")))
    for number in range(20):
        maker.send(0, [sale(number * 2), sale(number * 2 + 1)])
        if number % 2:
            maker.checkpoint()
    folder = tmp_path / "memory"

    class Killed(BaseException):
        pass

    lives, covered = 0, -1
    while True:
        beats = 0

        def beat() -> None:
            nonlocal beats
            beats += 1
            if beats > 6:
                raise Killed

        lives += 1
        try:
            counter, positions = counter_of(maker, folder, beat)
            break
        except Killed:
            found = sorted_runs.SortedRuns(folder / "ids", History(maker.lake).origin, 2**62, has_pairs=False).covered
            assert found > covered
            covered = found
    assert lives > 2
    counted = counter.count([next_batch(maker, [sale(each) for each in range(41)])], positions)
    assert counted.clean.column("vente_id").to_pylist() == [40]


def test_what_is_not_committed_is_not_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: no file covers what was counted after the last checkpoint, also at an orderly end."""
    small(monkeypatch)
    maker = LakeMaker(Lake(str(tmp_path / "lake")))
    maker.send(0, [sale(1)])
    maker.checkpoint()
    folder = tmp_path / "memory"
    counter, positions = counter_of(maker, folder)
    batch = next_batch(maker, [sale(number) for number in range(1, 9)])
    counter.count([batch], positions)
    counter.committed(batch.first_sequence - 1)
    counter.close()
    assert not list(folder.rglob("*.run"))
    counter.committed(batch.last_sequence)
    assert len(list(folder.rglob("*.run"))) == 2


def test_an_orderly_end_leaves_nothing_to_read(tmp_path: Path) -> None:
    """Law: after an end that committed everything, the next life opens no file of ``ventes_clean``."""
    maker = LakeMaker(Lake(str(tmp_path / "lake")), memory=tmp_path / "memory")
    maker.send(0, [sale(1), sale(2)])
    maker.checkpoint()
    maker._counter.close()
    with pytest.MonkeyPatch.context() as patches:
        patches.delattr(files, "batches_within")
        counter, positions = counter_of(maker, tmp_path / "memory")
    assert counter.count([next_batch(maker, [sale(1), sale(2)])], positions).clean.num_rows == 0


def test_a_lost_file_of_ventes_clean_is_named(tmp_path: Path) -> None:
    """Law: a life that cannot read what counted does not begin: it would count sales again."""
    maker = LakeMaker(Lake(str(tmp_path / "lake")))
    maker.send(0, [sale(1)])
    maker.checkpoint()
    [file] = (tmp_path / "lake" / lake.CLEAN.name).rglob("*.parquet")
    file.unlink()
    with pytest.raises(UnreadableError, match=file.name):
        counter_of(maker, tmp_path / "memory")


def test_what_a_life_left_out_is_there_for_one_that_begins_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: files that were made again without what has expired are of no use to a life for which it has not."""
    small(monkeypatch)
    maker = LakeMaker(Lake(str(tmp_path / "lake")))
    maker.send(0, [sale(number) for number in range(4)])
    maker.checkpoint()
    before = maker._committed
    maker.send(0, [sale(number) for number in range(10, 14)], START + timedelta(days=DEDUP_DAYS + 1))
    maker.checkpoint()
    counter_of(maker, tmp_path / "memory")
    assert list((tmp_path / "memory").rglob("*.run"))
    maker._committed = before
    counter, positions = counter_of(maker, tmp_path / "memory")
    assert counter.count([next_batch(maker, [sale(0), sale(5)])], positions).rejected.num_rows == 1
