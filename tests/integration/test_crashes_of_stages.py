"""Crashes at every commit of a checkpoint, and of the way back from one, without a broker: between a Kafka of lists.

That the steps of real processes are these, and what Kafka, Quix Streams and RocksDB do in such a moment, is in
``test_crash_points``; in what orders all of it may happen, in ``test_state_machine``.
"""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from operator import itemgetter
from pathlib import Path

import pytest
from lakes import DEDUP_DAYS, START
from oracle import Message, Oracle
from pipelines import comparable
from stages import Death, Ingest, KilledError, Record, Views, World
from witnessed import payloads

from salesviews import audit, lake, manifest
from salesviews.audit import audit_result
from salesviews.lake import Table
from salesviews.tables import files
from sinks.bronze import stream_name

SEED = 7
PARTITIONS = 2
MESSAGES = 8
"""Of each partition, before each checkpoint."""

DEATHS = (Death.BEFORE, Death.LOST)
"""A death after a commit is one before the next. Errors of commits that do not land are in ``test_state_machine``."""

INGEST_COMMITS = 4
"""Typed batches, Bronze, typed batches of what brought Bronze nothing, offsets."""
VIEWS_COMMITS = 2 + 1 + len(lake.OVERWRITTEN) + 1 + 1
"""Sales, rejections, the transaction; the tables that are overwritten, the manifest; the transaction that publishes."""
RETURNS = len(lake.OVERWRITTEN)
"""So many tables go back where the manifest was not reached."""


class Shop:
    """A pipeline whose processes each do one checkpoint, of more dirty sales than the one before."""

    def __init__(self, home: Path) -> None:
        self.world = World(home)
        self._rng = random.Random(SEED)
        self._known: list[bytes] = []
        self._hours = itertools.count()
        self._produced: dict[tuple[int, int], Record] = {}

    def sell(self) -> None:
        hours = next(self._hours)
        now = START + timedelta(hours=hours)
        for partition in range(PARTITIONS):
            first_id = 1 + (PARTITIONS * hours + partition) * MESSAGES
            made = payloads(self._rng, MESSAGES, first_id, now, self._known)
            made[0] = payloads(random.Random(first_id), 1, first_id, now, [])[0] or b"{"
            for record in self.world.kafka.produce(partition, made, now, skipped=hours % 2):
                self._produced[partition, record.number] = record

    def ingest(self) -> None:
        process = Ingest(self.world)
        process.read(dict.fromkeys(range(PARTITIONS), 10_000), 1_000_000, is_sent=False)
        process.checkpoint()

    def views(self) -> None:
        process = Views(self.world)
        while process.take(100):
            pass
        process.checkpoint()

    def is_struck(self, run: Callable[[], None], commits: int, death: Death) -> bool:
        """Run a process in which a commit goes wrong, after so many that go well. Whether it came to that one."""
        self.world.fuse.set(commits, death)
        try:
            run()
        except (KilledError, OSError):
            assert self.world.fuse.left < 0
        is_struck = self.world.fuse.left < 0
        self.world.fuse.clear()
        return is_struck

    def rows(self, table: Table) -> list[dict[str, object]]:
        found = manifest.read(self.world.lake)
        assert found is not None
        if table is lake.BRONZE:
            listing = files.listing(self.world.lake, table)
        else:
            listing = found.listing(self.world.lake, table)
        rows = files.rows(self.world.lake, listing, listing.files).to_pylist()
        return [row for row in rows if row.get("sequence", 0) <= found.sequence]

    def check(self) -> None:
        """Bronze has each message once, byte for byte; Silver is the witness's; the audit agrees."""
        held = [(row["partition"], row["offset"], row["payload"]) for row in self.rows(lake.BRONZE)]
        produced = {(*place, record.payload) for place, record in self._produced.items()}
        assert Counter(held) == Counter(produced)
        judged = sorted([*self.rows(lake.CLEAN), *self.rows(lake.REJECTED)], key=itemgetter("sequence"))
        order = [(row["partition"], row["offset"]) for row in judged]
        assert Counter(order) == Counter(self._produced.keys())
        for partition in range(PARTITIONS):
            offsets = [offset for at, offset in order if at == partition]
            assert offsets == sorted(offsets)
        witness = Oracle(
            Message(*place, record.sent_at, record.payload, self.world.kafka.topic_id)
            for place in order
            for record in [self._produced[place]]
        )
        for table in lake.SILVER:
            shown, wanted = comparable(self.rows(table)), comparable(witness.tables[table.name.rpartition("/")[2]])
            assert shown == wanted, f"{table.name}: too many {shown - wanted}, missing {wanted - shown}"
        result = audit.run(self.world.lake, audit.Options(DEDUP_DAYS, wait_s=0), stream_name)
        assert result.holds, audit_result.text(result)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """With figures already: the first checkpoint has nothing to go back to."""
    made = Shop(tmp_path)
    with made.world.entered():
        made.sell()
        made.ingest()
        made.views()
        yield made


@pytest.mark.parametrize("death", DEATHS)
def test_ingest_may_die_at_any_commit(shop: Shop, death: Death) -> None:
    """Law: whatever commit of ingest fails, and however: the next process makes it good, and nothing is there twice."""
    for commits in range(INGEST_COMMITS + 1):
        shop.sell()
        assert shop.is_struck(shop.ingest, commits, death) == (commits < INGEST_COMMITS)
        shop.views()  # it may be told of what Bronze does not have yet
        shop.ingest()
        shop.views()
    shop.check()


@pytest.mark.parametrize("death", DEATHS)
def test_views_may_die_at_any_commit(shop: Shop, death: Death) -> None:
    """Law: whatever commit of views fails, and however: the next process makes it good, and nothing counts twice."""
    for commits in range(VIEWS_COMMITS + 1):
        shop.sell()
        shop.ingest()
        assert shop.is_struck(shop.views, commits, death) == (commits < VIEWS_COMMITS)
        shop.views()
    shop.check()


@pytest.mark.parametrize("death", DEATHS)
def test_views_may_die_at_any_commit_of_its_way_back(shop: Shop, death: Death, pytestconfig: pytest.Config) -> None:
    """Law: so it is where the process dies again before it has made good what the one before it left.

    Each third commit; with ``--sweep`` each.
    """
    total = RETURNS + VIEWS_COMMITS - 2  # the sales are counted: nothing is appended
    for commits in {*range(0, total, 1 if pytestconfig.getoption("sweep") else 3), total - 1, total}:
        shop.sell()
        shop.ingest()
        assert shop.is_struck(shop.views, VIEWS_COMMITS - 2, Death.BEFORE), "the manifest is not reached"
        assert shop.is_struck(shop.views, commits, death) == (commits < total)
        shop.views()
    shop.check()
