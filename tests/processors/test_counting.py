import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lakes import DEDUP_DAYS, START, TOPIC_ID, LakeMaker, MadePoll
from oracle import Message, Oracle
from pipelines import comparable

from processors.columnar import MessageBatch
from processors.counting import Counter, TypedBatch
from processors.ingest import Parser
from processors.positions import Positions
from salesviews import lake, manifest
from salesviews.lake import Lake
from salesviews.tables import files
from salesviews.typed import Interval, SourcePartition
from salesviews.views import QUALITE


def sale(vente_id: int, **fields: Any) -> bytes:
    ordinary = {"client_id": 1, "timestamp": "2026-02-27T11:30:00", "quantite": 2, "montant": 10.5, "pays": "France"}
    return json.dumps({"vente_id": vente_id} | ordinary | fields).encode()


PAYLOADS = st.one_of(
    st.sampled_from([None, b"", b"{", b"[]", sale(1, client_id=None), sale(2, montant=-1), sale(3, quantite=0)]),
    st.builds(
        sale,
        st.integers(1, 12),
        client_id=st.integers(1, 3),
        produit_nom=st.sampled_from([None, "inconnu", "Café"]),
        pays=st.sampled_from([None, "France", "UK"]),
        timestamp=st.sampled_from(["2026-01-31T23:59:59.999999", "2026-02-01T00:30:00+01:00", "2026-02-01T00:00:00Z"]),
        montant=st.sampled_from([0, 1.005, "2.50", 9999999999999999]),
    ),
)
BATCHES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 1), st.lists(PAYLOADS, max_size=8)),
    min_size=1,
    max_size=6,
)
"""Partition, positions without a message before the batch, days that passed, and its messages, which may be none."""


class Restarting(LakeMaker):
    """A lake maker that can end in good order and start again, as a new process does."""

    def restart(self) -> None:
        self.checkpoint()
        self._counter.close()
        self._counter = Counter(self.lake, DEDUP_DAYS, self._batches << 20, self._positions, self._memory)


def shown(target: Lake) -> dict[str, list[dict[str, Any]]]:
    found = manifest.read(target)
    assert found is not None
    return {
        table.name.partition("/")[2]: files.dataset(target, files.listing(target, table, found.tables[table.name]))
        .to_table()
        .to_pylist()
        for table in lake.SILVER
    }


@settings(max_examples=12, deadline=None)
@given(BATCHES, st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)))
def test_counting_is_what_the_witness_says_in_any_cut_and_after_any_restart(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[tuple[int, int, int, list[bytes | None]]],
    restarts: set[int],
    checkpoints: set[int],
) -> None:
    """Law: every Silver table is the witness's, however the total order is cut and wherever counting starts again."""
    maker = Restarting(Lake(str(tmp_path_factory.mktemp("lake"))), memory=tmp_path_factory.mktemp("memory"))
    messages: list[Message] = []
    ends = {0: 0, 1: 0}
    now = START
    for number, (partition, skipped, days, payloads) in enumerate(batches):
        now += timedelta(days=days)
        maker.send(partition, payloads, now, skipped=skipped)
        ends[partition] += skipped
        for payload in payloads:
            messages.append(Message(partition, ends[partition], now, payload, TOPIC_ID))
            ends[partition] += 1
        if number in checkpoints:
            maker.checkpoint()
        if number in restarts:
            maker.restart()
    maker.checkpoint()
    tables = shown(maker.lake)
    for name, expected in Oracle(messages).tables.items():
        assert comparable(tables[name]) == comparable(expected), name
    found = manifest.read(maker.lake)
    assert found is not None
    assert {source.partition: end for source, end in found.positions.items()} == {
        partition: ends[partition] for partition, _, _, _ in batches
    }


def test_what_an_interrupted_checkpoint_appended_is_counted_again(tmp_path: Path) -> None:
    """Law: sales that no manifest covers are no sales yet: neither they nor their clients are known to a restart."""
    maker = LakeMaker(Lake(str(tmp_path / "lake")), memory=tmp_path / "memory")
    payloads = [[sale(1), sale(1)], [sale(2, client_id=2), sale(1), sale(3, client_id=2)]]
    maker.send(0, payloads[0])
    maker.checkpoint()
    maker.send(0, payloads[1])
    maker.interrupted_checkpoint()
    maker.send(0, payloads[1])
    maker.checkpoint()
    messages = [Message(0, offset, START, payload, TOPIC_ID) for offset, payload in enumerate(chain(*payloads))]
    tables = shown(maker.lake)
    for name, expected in Oracle(messages).tables.items():
        assert comparable(tables[name]) == comparable(expected), name


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize(("days", "counts"), [(DEDUP_DAYS, 1), (DEDUP_DAYS + 1, 2)])
def test_the_horizon_is_counted_in_kafka_days(tmp_path: Path, days: int, counts: int, is_restarted: bool) -> None:
    """Law: a sale sent again within the horizon is a duplicate, beyond it counts; event time has no part in it."""
    maker = Restarting(Lake(str(tmp_path / "lake")), memory=tmp_path / "memory")

    def send(payloads: Sequence[bytes], sent_at: datetime) -> None:
        maker.send(0, payloads, sent_at)

    send([sale(1)], START)
    if is_restarted:
        maker.restart()
    send([sale(2)], START + timedelta(days=1))
    send([sale(1), sale(3)], START + timedelta(days=days))
    maker.checkpoint()
    clean = shown(maker.lake)["ventes_clean"]
    assert [row["vente_id"] for row in clean].count(1) == counts


def test_a_repeated_or_overlapping_batch_adds_only_what_is_new(tmp_path: Path) -> None:
    """Law: typed batches that ingest sent again, cut as it pleased, count no position twice."""
    source = SourcePartition(TOPIC_ID, 0, "ventes")
    target = Lake(str(tmp_path))
    target.create(lake.CLEAN)
    poll = MadePoll((), [sale(number) for number in range(6)], 0, START)
    batch = MessageBatch(poll, slice(0, 6), "ventes", 0)
    rows = Parser().parse(Interval(source, 0, 6, 0, 6), batch).typed

    def typed_batch(offset: int, start: int, end: int) -> TypedBatch:
        return TypedBatch(offset, Interval(source, start, end, 0, 6), rows.slice(start, end - start))

    positions = Positions()
    counter = Counter(target, DEDUP_DAYS, 0, positions)
    counted = counter.count([typed_batch(0, 0, 4), typed_batch(1, 0, 4), typed_batch(2, 2, 6)], positions)
    assert counted.clean.column("offset").to_pylist() == [0, 1, 2, 3, 4, 5]
    assert counted.rejected.num_rows == 0
    assert counter.count([typed_batch(3, 0, 6)], positions).gains == []


@pytest.mark.parametrize(("counted", "lost"), [(0, 6), (2, 4), (6, 0), (8, 0)])
def test_lost_positions_are_counted_once(tmp_path: Path, counted: int, lost: int) -> None:
    """Law: of positions that an interval says Kafka deleted, those that were counted before are not lost."""
    source = SourcePartition(TOPIC_ID, 0, "ventes")
    target = Lake(str(tmp_path))
    target.create(lake.CLEAN)
    poll = MadePoll((), [sale(number) for number in range(10)], 0, START)
    rows = Parser().parse(Interval(source, 0, 10, 0, 10), MessageBatch(poll, slice(0, 10), "ventes", 0)).typed
    positions = Positions()
    counter = Counter(target, DEDUP_DAYS, 0, positions)
    if counted:
        counter.count([TypedBatch(0, Interval(source, 0, counted, 0, 10), rows.slice(0, counted))], positions)
    added = counter.count([TypedBatch(1, Interval(source, 0, 10, 6, 10), rows.slice(6))], positions)
    [gained] = [rows for rows in added.gains if rows.view is QUALITE]
    quality = {key: sums[0] for key, _, sums in gained.rows()}
    assert quality.get(("perdu",), 0) == lost
    assert quality[("valide",)] == 10 - max(counted, 6)
