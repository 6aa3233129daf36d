"""Ingest and views without a broker: the real classes of each, between a Kafka of lists and dicts.

Each stage is a process that can be killed before or after any of its commits, started again from what was committed,
or put to sleep while a successor works, to wake up later. ``Kafka`` keeps what a broker would keep.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import deltalake
import numpy as np
import orjson
import pyarrow as pa
from checkpoints import MemoryWindows
from lakes import START, TOPIC

from processors import identity, ingest, paged_windows
from processors.columnar import MessageBatch, Poll
from processors.generation_topics import GenerationTopics
from processors.identity import TopicIdentity
from processors.ingest import Intervals, ParsedBatch, Parser
from processors.views import Stage
from salesviews import generation, lake, seed, topics
from salesviews import settings as settings_module
from salesviews import views as declared
from salesviews.errors import FencedError
from salesviews.settings import Settings
from salesviews.typed import SourcePartition
from sinks import appends, overwrites
from sinks.bronze import BronzeSink


@dataclass(frozen=True)
class Record:
    """A message as a topic holds it; the methods are those of a Kafka client's message that the stages call."""

    number: int
    payload: bytes | None
    sent_at: datetime = START
    header: tuple[tuple[str, bytes], ...] = ()

    def value(self) -> bytes | None:
        return self.payload

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self.header)

    def offset(self) -> int:
        return self.number


@dataclass(frozen=True, eq=False)
class RecordPoll(Poll):
    messages: Sequence[Any]

    def values(self) -> list[bytes | None]:
        return [record.payload for record in self.messages]

    def keys(self) -> list[bytes | None]:
        return [None] * len(self.messages)

    def headers(self) -> list[Any]:
        return [None] * len(self.messages)

    def offsets(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([record.number for record in self.messages], np.int64)

    def timestamps_ms(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([int(record.sent_at.timestamp() * 1000) for record in self.messages], np.int64)


@dataclass(frozen=True, eq=False)
class RecordBatch(MessageBatch):
    @property
    def first_offset(self) -> int:
        return int(self.messages[0].number)

    @property
    def last_offset(self) -> int:
        return int(self.messages[-1].number)


@dataclass
class RawPartition:
    """:param low: the first offset that is not deleted"""

    records: list[Record] = field(default_factory=list)
    end: int = 0
    low: int = 0

    def from_offset(self, start: int, limit: int) -> list[Record]:
        return [record for record in self.records if record.number >= max(start, self.low)][:limit]


@dataclass
class Generation:
    """What the broker keeps for one generation of the figures.

    :param typees: the total order
    :param ingest_offsets: what the ingest group committed
    :param views_offset: what the views group committed, in the transaction that wrote the other three
    :param published: the last value of each key of the ``vues-`` topics, by topic
    :param owners: for each group, the number of the process that Kafka takes commits of
    """

    typees: list[Record] = field(default_factory=list)
    ingest_offsets: dict[int, int] = field(default_factory=dict)
    views_offset: int = 0
    views_state: dict[str, Any] = field(default_factory=dict)
    views_windows: dict[Any, bytes] = field(default_factory=dict)
    published: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)

    def join(self, group: str) -> int:
        self.owners[group] = self.owners.get(group, 0) + 1
        return self.owners[group]

    def check_owner(self, group: str, owner: int) -> None:
        if self.owners[group] != owner:
            raise FencedError(f"the {group} group does not take commits of process {owner} any more")


@dataclass
class Kafka:
    """What the broker keeps.

    :param topics: how often the raw topic was created
    :param generations: by their numbers
    """

    topics: int = 1
    raw: dict[int, RawPartition] = field(default_factory=dict)
    generations: dict[int, Generation] = field(default_factory=lambda: defaultdict(Generation))

    @property
    def topic_id(self) -> str:
        return f"topic-{self.topics}"

    def produce(
        self, partition: int, payloads: Sequence[bytes | None], sent_at: datetime, skipped: int = 0
    ) -> list[Record]:
        """:param skipped: positions before the messages that hold none"""
        into = self.raw.setdefault(partition, RawPartition())
        start = into.end + skipped
        new = [Record(start + place, payload, sent_at) for place, payload in enumerate(payloads)]
        into.records += new
        into.end = start + len(new)
        return new


@dataclass(frozen=True)
class Application:
    """What Intervals ask of the application."""

    kafka: Kafka
    of: Generation

    def committed_offset(self, _topic: str, partition: int) -> int | None:
        return self.of.ingest_offsets.get(partition)

    def low_offset(self, _topic: str, partition: int) -> int:
        return self.kafka.raw[partition].low

    def known_end_offset(self, topic: str, partition: int) -> int:
        return self.kafka.raw[partition].end if topic == TOPIC else len(self.of.typees)


class RecordTopics(GenerationTopics):
    """Kafka's side of the generations that rebuilds make."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    def newest(self) -> int:
        return max(self._kafka.generations, default=0)

    def begin(
        self, generation: int, positions: Any, sums: Iterable[seed.Sums], ends: Mapping[SourcePartition, int]
    ) -> int:
        assert generation not in self._kafka.generations, "a number is given once"
        made = self._kafka.generations[generation] = Generation()
        for value, headers in seed.messages(positions, sums):
            made.typees.append(Record(len(made.typees), value, header=tuple(headers)))
        made.ingest_offsets |= {
            source.partition: end for source, end in ends.items() if source.topic_id == self._kafka.topic_id
        }
        return len(made.typees)

    def retract(self, removed: Mapping[declared.View, pa.Table]) -> int:
        return sum(rows.num_rows for rows in removed.values())

    def forget_older(self, generation: int, kept: int) -> list[str]:
        older = [number for number in self._kafka.generations if number < generation and number != kept]
        for number in older:
            del self._kafka.generations[number]
        return [str(number) for number in older]


# ---- Death ----------------------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """The process is dead."""


class Death(StrEnum):
    """How a commit goes wrong."""

    BEFORE = "the process dies before it"
    AFTER = "the process dies after it"
    REFUSED = "it fails with an I/O error"
    LOST = "it lands, and its answer is an I/O error"


@dataclass
class Fuse:
    """Lets one commit to come go wrong. Every commit of a stage passes through it."""

    left: int = -1
    death: Death = Death.BEFORE

    def set(self, commits: int, death: Death) -> None:
        """:param commits: how many go well before that one"""
        self.left, self.death = commits, death

    def clear(self) -> None:
        self.left = -1

    def commit(self, action: Callable[[], Any]) -> Any:
        death = self.death if self.left == 0 else None
        self.left -= 1
        if death is Death.BEFORE:
            raise KilledError
        if death is Death.REFUSED:
            raise OSError("the disk does not answer")
        result = action()
        if death is Death.AFTER:
            raise KilledError
        if death is Death.LOST:
            raise OSError("the connection was reset")
        return result

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: self.commit(lambda: function(*arguments, **options))


# ---- The stages -----------------------------------------------------------------------------------------------------


class Ingest:
    """An ingest process: ``read``, then ``checkpoint``, as ``processors.ingest`` numbers it."""

    def __init__(self, world: "World") -> None:
        self._kafka = world.kafka
        self._fuse = world.fuse
        mine = generation.begin(world.lake, world.settings.dedup_days)
        self._of = self._kafka.generations[mine]
        self._owner = self._of.join("ingest")
        self._identity = TopicIdentity(world.settings)
        self._parser = world.parser
        self._bronze = BronzeSink(world.lake, self._before_append, mine)
        self._bronze.start()
        asked = Application(self._kafka, self._of)
        self._intervals = Intervals(asked, self._bronze, self._identity)  # type: ignore[arg-type] # what it asks
        self._next = {partition: self._start(partition) for partition in self._kafka.raw}
        self._unsent: list[Record] = []
        self.has_read = False
        """There are messages that it has read since its last checkpoint."""

    def _start(self, partition: int) -> int:
        return self._of.ingest_offsets.get(partition, 0)

    def read(self, limits: dict[int, int], typed_bytes: int, is_sent: bool) -> int:
        """A poll: some messages of each partition. Gives how many.

        :param typed_bytes: how large a typed message may be
        :param is_sent: the producer sends the typed batches now, rather than with the checkpoint
        """
        records, slices = [], []
        for partition, limit in sorted(limits.items()):
            if partition not in self._kafka.raw:
                continue
            found = self._kafka.raw[partition].from_offset(self._next.setdefault(partition, 0), limit)
            if found:
                slices.append((partition, slice(len(records), len(records) + len(found))))
                records += found
                self._next[partition] = found[-1].number + 1
        self.has_read |= bool(records)
        poll = RecordPoll(records)
        with mock.patch.object(ingest, "TYPED_MESSAGE_BYTES", typed_bytes):
            for partition, rows in slices:
                batch = RecordBatch(poll, rows, TOPIC, partition)
                parsed: ParsedBatch = self._parser.parse(self._intervals.of(batch), batch)
                self._bronze.add(parsed.bronze(START))
                self._unsent += [
                    Record(0, outgoing.value, header=tuple(outgoing.headers))
                    for outgoing in ingest.typed_messages(parsed)
                ]
        if is_sent:
            self._send()
        return len(records)

    def _send(self) -> None:
        for record in self._unsent:
            self._of.typees.append(replace(record, number=len(self._of.typees)))
        self._unsent = []

    def _before_append(self) -> None:
        self._identity.check()
        self._fuse.commit(self._send)  # 1

    def checkpoint(self) -> None:
        self._bronze.flush()  # 1, 2
        self._fuse.commit(self._send)  # of batches that brought no row to Bronze
        self._fuse.commit(self._commit_offsets)  # 3
        self.has_read = False

    @property
    def is_at_end(self) -> bool:
        return not any(raw.from_offset(self._next.get(partition, 0), 1) for partition, raw in self._kafka.raw.items())

    def _commit_offsets(self) -> None:
        self._of.check_owner("ingest", self._owner)
        self._of.ingest_offsets |= self._next


class State:
    """Quix Streams' state of one key: JSON values."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def get(self, name: str) -> Any:
        return orjson.loads(self._values[name]) if name in self._values else None

    def set(self, name: str, value: Any) -> None:
        self._values[name] = orjson.dumps(value)


class Views:
    """A views process: ``take``, then ``checkpoint``, as ``processors.views`` numbers it.

    It is the ``processors.views.Kafka`` of its own stage.
    """

    def __init__(self, world: "World") -> None:
        self._fuse = world.fuse
        mine = generation.begin(world.lake, world.settings.dedup_days)
        self._of = world.kafka.generations[mine]
        self._owner = self._of.join("views")
        self._values = deepcopy(self._of.views_state)
        self._windows = MemoryWindows(self._of.views_windows)
        self._produced: dict[tuple[str, bytes], bytes] = {}
        self._next = self._of.views_offset
        self._stage = Stage(world.settings, self, mine, lambda: START)
        self._stage.silver.start()
        self.has_taken = False
        """There are typed batches that it has taken since its last checkpoint."""

    def take(self, limit: int) -> int:
        """A poll of typed batches. Gives how many."""
        records = self._of.typees[self._next : self._next + limit]
        if not records:
            return 0
        batch = RecordBatch(RecordPoll(records), slice(0, len(records)), "ventes-typees", 0)
        counted = self._stage.take(batch, self.state())
        self._next = batch.last_offset + 1
        self.has_taken = True
        changed = [paged_windows.update(gained, self._windows) for gained in counted.gains]
        self._stage.silver.add(counted.held([rows for rows, _ in changed], 0))
        return len(records)

    def checkpoint(self) -> None:
        """And the turns after it, with a snapshot of what is committed."""
        self._checkpoint()
        self._stage.turn()

    def _checkpoint(self) -> None:
        self._stage.silver.flush()  # 1
        self._fuse.commit(self._commit_transaction)  # 2, 3
        self.has_taken = False

    def _commit_transaction(self) -> None:
        self._of.check_owner("views", self._owner)
        self._of.views_state = deepcopy(self._values)
        self._of.views_windows = dict(self._windows.held)
        self._of.published |= self._produced
        self._of.views_offset = self._next
        self._produced = {}

    @property
    def is_at_end(self) -> bool:
        return self._next >= len(self._of.typees)

    # ---- What the stage asks ----

    def is_assigned(self) -> bool:
        return True

    def state(self) -> Any:
        return State(self._values)

    def windows(self) -> MemoryWindows:
        return self._windows

    def committed_offset(self) -> int | None:
        return self._of.views_offset or None

    def known_end_offset(self) -> int:
        return len(self._of.typees)

    def typed_batches(self, start: int, end: int) -> Iterator[Sequence[Any]]:
        yield self._of.typees[start:end]

    def publish(self, topic: str, key: bytes, value: bytes) -> None:
        self._produced[topic, key] = value

    def commit(self, offset: int) -> None:
        assert offset + 1 == self._next
        self._checkpoint()

    def beat(self) -> None:
        pass


@cache
def parser() -> Parser:
    """It keeps nothing from one poll to the next, and takes longer to make than all else of a process."""
    return Parser()


class World:
    """The lake, Kafka, and what makes commits go wrong."""

    def __init__(self, home: Path) -> None:
        self.settings: Settings = settings_module.read({"SALESVIEWS_HOME": str(home)})
        self.lake = lake.Lake(self.settings.lake)
        self.kafka = Kafka()
        self.fuse = Fuse()
        self.parser = parser()

    @property
    def served(self) -> Generation:
        """Of which the figures are served."""
        return self.kafka.generations[generation.current(self.lake)]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Where the stages' questions to Kafka are answered, and their commits go through the fuse."""
        wrapped = self.fuse.wrap(deltalake.write_deltalake)
        with (
            mock.patch.object(identity, "AdminClient"),  # it would look for a Kafka all the time
            mock.patch.object(topics, "topic_id", side_effect=lambda *_, **__: self.kafka.topic_id),
            mock.patch.object(appends, "write_deltalake", wrapped),
            mock.patch.object(overwrites, "write_deltalake", wrapped),
            mock.patch.object(deltalake.DeltaTable, "restore", self.fuse.wrap(deltalake.DeltaTable.restore)),
        ):
            yield
