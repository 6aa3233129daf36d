"""Views: typed batches become sales that count, and sums over tumbling windows.

    ventes-typees -> take -> count (dedup, combine) -+-> ventes_clean, ventes_rejetees       (each checkpoint)
                                                     +-> rows of views -> tumbling windows of tables
                                                            -> view tables, vues-<view>      (each snapshot)

One process counts; a second one waits as standby. A checkpoint, in order:

1. The Silver sink appends the sales that count and the rejections (``sinks.silver``).
2. Rows of the last snapshot and changelogs are produced.
3. One Kafka transaction commits changelogs, topics and the group's offset.
4. The local state is written.

A crash before 3 takes the same batches again, from the state of the last transaction; the sink drops what is appended
already. A crash after 3 restores the local state from the changelogs. Between checkpoints, a snapshot is written in
pieces; what it owes after a crash is found again (``Stage``).
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from quixstreams import State

from processors import gains, limits, paged_windows, publications
from processors.columnar import ColumnarApplication, MessageBatch
from processors.counting import NOTHING, Counted, Counter, TypedBatch
from processors.paged_windows import PagedWindow, Windows
from processors.positions import Positions
from processors.spans import DeletedError, SpanReader
from processors.take_budget import TakeBudget
from salesviews import generation, manifest, metrics, seed, topics, typed
from salesviews.errors import FencedError, GapError, LakeError, StateError
from salesviews.lake import Lake
from salesviews.pulse import Pulse
from salesviews.settings import Settings
from salesviews.tables.ranges import Ranges
from salesviews.view_rows import ViewRows
from salesviews.views import VIEWS
from sinks.silver import APPENDED, Reached, SilverSink, Take

_log = logging.getLogger(__name__)

STATE_FORMAT = 2
"""Of what views keeps in Quix Streams' state: 1 had a window a key, 2 has pages."""

STORE = "vues"
"""The store of the windows."""

_TURN_S = 1.0
"""So many seconds of a turn go into a snapshot at most, where batches wait."""
_SHARE = 4
"""Where batches wait, there are so many seconds between two snapshots for each second that one took,"""
_LATEST_S = 60.0
"""but not more than so many,"""
_WAITING_ROWS = 2_000_000
"""and not more rows than so many, as they are in memory."""

_BY_NAME = {view.name: view for view in VIEWS}


@dataclass(frozen=True, eq=False)
class CountedTake:
    """A take after counting, on its way through the windows.

    :param wrote: is told how many pages were written
    """

    take: Take
    gains: Sequence[ViewRows]
    wrote: Callable[[int], None]

    def held(self, changed: Sequence[ViewRows], pages: int) -> Take:
        self.wrote(pages)
        return replace(self.take, changed=changed)


class Kafka(Protocol):
    """What the stage asks of Quix Streams' application, and of the broker behind it."""

    def is_assigned(self) -> bool:
        """The typed batches are this process's."""
        ...

    def state(self) -> State[Any, Any]:
        """What the next checkpoint commits with the offset."""
        ...

    def windows(self) -> Windows: ...

    def committed_offset(self) -> int | None:
        """The next offset of the typed batches; None before the first checkpoint."""
        ...

    def known_end_offset(self) -> int: ...

    def typed_batches(self, start: int, end: int) -> Iterator[Sequence[Any]]:
        """The messages of ``ventes-typees`` from an offset to before another, some at a time."""
        ...

    def publish(self, topic: str, key: bytes, value: bytes) -> None: ...

    def commit(self, offset: int) -> None:
        """Make a checkpoint that has no batches, after those up to an offset."""
        ...

    def beat(self) -> None: ...


class Stage:
    """What views does, without Quix Streams' dataframe: it is begun once Kafka has given it the typed batches.

    A generation that a rebuild made begins with its seeds (``salesviews.seed``), from which it counts on.
    """

    def __init__(
        self,
        settings: Settings,
        kafka: Kafka,
        mine: int,
        clock: Callable[[], datetime],
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._lake = Lake.of(settings)
        self._kafka = kafka
        self._elapsed_s = elapsed_s
        self._folder = settings.state_folder / topics.views_group(settings, mine)
        self.budget = TakeBudget(self._folder / "take.json", settings.snapshot_interval_s)
        self.silver = SilverSink(self._lake, clock, mine, settings.dedup_days, self, limits.PUBLISHED_ROWS)
        self._first_sequence: int | None = None
        self._counter: Counter | None = None
        self._next_offset = 0
        self._has_taken = False
        self._sequence = manifest.EMPTY_SEQUENCE
        self._is_behind = False
        self._owed: Iterator[None] | None = None
        self._snapshot: Iterator[None] | None = None
        self._snapshot_s = 0.0
        self._ended_s = elapsed_s()

    # ---- Takes ----

    def take(self, batch: MessageBatch, state: State[Any, Any]) -> CountedTake:
        """Count the messages of a poll."""
        self._begin_once()
        if self._has_taken and batch.first_offset != self._next_offset:
            raise FencedError(
                f"The typed batches go on at offset {batch.first_offset}, after {self._next_offset - 1} here: another "
                "views process counted in between. This one ends, and starts again from what is committed."
            )
        self.budget.trying(sum(len(message.value()) for message in batch.messages))
        seeds = [each for message in batch.messages if (each := seed.of_message(message))]
        positions = Positions.from_state(seeds[0].positions if seeds else state.get("positions"))
        offsets = batch.poll.offsets()[batch.rows]
        batches = [
            _typed_batch(offset, message)
            for offset, message in list(zip(offsets, batch.messages, strict=True))[len(seeds) :]
        ]
        counted = self._counted_by(positions).count(batches, positions) if batches else NOTHING
        self._sequence = sequence = self._sequence_after(batch.last_offset, state, counted)
        self._next_offset, self._has_taken = batch.last_offset + 1, True
        appended = state.get("appended") or {}
        for table, rows in zip(APPENDED, (counted.clean, counted.rejected), strict=True):
            if rows.num_rows:
                appended[table.name] = sequence
        for name, value in (("format", STATE_FORMAT), ("sequence", sequence), ("appended", appended)):
            state.set(name, value)
        state.set("positions", positions.to_state())
        take = Take(
            clean=counted.clean,
            rejected=counted.rejected,
            sequence=sequence,
            positions=_ends(positions),
            caught_up=positions.is_at_known_end and self._next_offset >= self._kafka.known_end_offset(),
        )
        seeded = [gains.of_table(_BY_NAME[each.view], each.rows) for each in seeds if each.view]
        return CountedTake(take, [*seeded, *counted.gains], self.budget.wrote)

    def _sequence_after(self, last_offset: int, state: State[Any, Any], counted: Counted) -> int:
        """The last place in the total order that is counted after a take."""
        before = state.get("sequence")
        sequence = typed.last_sequence(last_offset)
        if before is None or sequence > before:
            return sequence
        if counted.clean.num_rows or counted.rejected.num_rows:
            raise GapError(
                f"The typed batches bring messages that were not counted up to offset {last_offset}, though all were "
                f"counted up to {typed.offset_of(before)}. Was their topic deleted and created again? `salesviews "
                "rebuild` computes the figures again from Bronze."
            )
        return int(before)

    # ---- Between takes ----

    def turn(self) -> None:
        """A piece of what is to be done beside the takes."""
        if self._first_sequence is None and not self._kafka.is_assigned():
            return
        self._begin_once()
        self._look_back()
        if self._counter is not None:
            self._counter.step()
        if self._snapshot is None and self._is_due():
            self._snapshot, self._snapshot_s = self._pieces(), 0.0
        is_pressed = self._is_behind and not self._is_overdue
        until_s = self._elapsed_s() + (_TURN_S if is_pressed else limits.TURN_S)
        while self._snapshot is not None and self._elapsed_s() < until_s:
            if self._owed is not None and self.silver.has_uncommitted:
                return  # what is owed is read from the state: as a checkpoint has it
            self._piece()

    def end(self) -> None:
        """Write a last snapshot, of all that is committed."""
        if self._first_sequence is None:
            return
        self._look_back()
        while self._snapshot is not None or self._is_owed:
            self._snapshot = self._snapshot or self._pieces()
            self._piece()
        if self._counter is not None:
            self._counter.close()

    def _look_back(self) -> None:
        """See whether there was a checkpoint since the last turn."""
        if self.silver.committed():
            self.budget.committed(self._next_offset)
            if self._counter is not None and self._has_taken:
                self._counter.committed(self._sequence)
        self._is_behind = self._next_offset < self._kafka.known_end_offset()

    @property
    def _is_overdue(self) -> bool:
        return self._elapsed_s() - self._ended_s >= _LATEST_S or self.silver.waiting_rows >= _WAITING_ROWS

    @property
    def _is_owed(self) -> bool:
        return self._owed is not None or self.silver.is_owed

    def _is_due(self) -> bool:
        if not self._is_owed:
            return False
        if not self._is_behind or self._is_overdue:
            return True
        return self._elapsed_s() - self._ended_s >= _SHARE * self._snapshot_s

    def _piece(self) -> None:
        """One piece of the snapshot."""
        assert self._snapshot is not None
        started_s = self._elapsed_s()
        is_last = next(self._snapshot, self) is self
        self._kafka.beat()
        self._snapshot_s += self._elapsed_s() - started_s
        if is_last:
            self._snapshot, self._ended_s = None, self._elapsed_s()

    def _pieces(self) -> Iterator[None]:
        if self._owed is not None:
            yield from self._owed
            self._owed = None
        yield from self.silver.snapshot()
        while self.silver.is_publishing:
            self._kafka.commit(self._next_offset - 1)
            self._look_back()
            yield

    def publish(self, rows: ViewRows) -> None:
        topic = topics.vues(self._settings, rows.view).name
        for key, value in publications.messages(rows):
            self._kafka.publish(topic, key, value)

    def finish(self, sequence: int) -> None:
        self._kafka.state().set("published", sequence)

    # ---- The beginning ----

    def _begin_once(self) -> None:
        if self._first_sequence is None:
            self._begin()

    def _counted_by(self, positions: Positions) -> Counter:
        """The counter; of a generation that counted nothing yet it is made with the positions of its seeds."""
        assert self._first_sequence is not None
        if self._counter is None:
            self._counter = Counter(
                self._lake,
                self._settings.dedup_days,
                self._first_sequence,
                positions,
                self._folder / "memory",
                self._kafka.beat,
            )
        return self._counter

    def _begin(self) -> None:
        """Go on from what Kafka has committed.

        1. Read how far this generation is counted, from the state that goes with the group's offset.
        2. See that Silver has what was counted.
        3. Know the ids and clients that counted (``Counter``).
        4. Note from where on no snapshot may have been written or published. Before the first snapshot, these typed
           batches are read again: the rows of views that they name are owed.

        Nothing is written, so that a crash in between is followed by another beginning.
        """
        state = self._kafka.state()  # 1
        told = state.get("positions")
        if told is not None and state.get("format") != STATE_FORMAT:
            raise StateError(
                f"The state of views in {self._folder}, and its changelogs in Kafka, have format "
                f"{state.get('format') or 1}; this program has {STATE_FORMAT}. `salesviews rebuild` computes the "
                "figures by this program from Bronze, with a state of its own; the old figures are served meanwhile."
            )
        positions = Positions.from_state(told)
        sequence = int(state.get("sequence") or 0) if told is not None else manifest.EMPTY_SEQUENCE
        offset = self._kafka.committed_offset() or 0
        starts = self.budget.begin(offset)
        metrics.set_starts(starts)
        covered = self.silver.begin(Reached(sequence, _ends(positions), False), state.get("appended") or {})  # 2
        self._first_sequence, self._next_offset = sequence + 1, offset
        if told is not None:
            self._counted_by(positions)  # 3
        published = state.get("published")
        after = min(manifest.EMPTY_SEQUENCE if published is None else published, covered)
        if after < sequence:
            self._owed = self._owe(typed.offset_of(after + 1), typed.offset_of(sequence + 1))  # 4

    def _owe(self, start: int, end: int) -> Iterator[None]:
        """Read the rows of views that typed batches name, from an offset to before another, as they are now."""
        _log.info("Typed batches %d to %d are read again: a snapshot of them is owed.", start, end - 1)
        for messages in self._kafka.typed_batches(start, end):
            for message in messages:
                for rows in self._touched(message):
                    held, _ = paged_windows.update(rows, self._kafka.windows())
                    if len(held):
                        self.silver.owe([held])
                yield

    def _touched(self, message: Any) -> list[ViewRows]:
        if (found := seed.of_message(message)) is not None:
            if found.view is None:
                return []
            view = _BY_NAME[found.view]
            return [gains.of_table(view, found.rows.drop_columns(list(view.measure_names)))]
        assert self._counter is not None
        return self._counter.touched(_typed_batch(message.offset(), message))


def _ends(positions: Positions) -> dict[typed.SourcePartition, int]:
    return {mark.source: mark.end for mark in positions.marks}


def _typed_batch(offset: int, message: Any) -> TypedBatch:
    headers = dict(message.headers())
    return TypedBatch(int(offset), typed.Interval.decode(headers[typed.HEADER]), typed.decode(message.value()))


class Broker:
    """``Kafka``, where it is real."""

    def __init__(self, settings: Settings, application: ColumnarApplication, mine: int) -> None:
        self._settings = settings
        self._application = application
        self._topic = topics.typees(settings, mine).name
        self.stream_id = ""

    def is_assigned(self) -> bool:
        return self._application.is_assigned(self._topic, 0)

    def state(self) -> State[Any, Any]:
        return self._application.state(self.stream_id, self._topic, 0)

    def windows(self) -> Windows:
        windows: Windows = self._application.windows(self.stream_id, STORE, 0)
        return windows

    def committed_offset(self) -> int | None:
        return self._application.committed_offset(self._topic, 0)

    def known_end_offset(self) -> int:
        return self._application.known_end_offset(self._topic, 0)

    def typed_batches(self, start: int, end: int) -> Iterator[Sequence[Any]]:
        try:
            for batches in SpanReader(self._settings, self._topic, {0: Ranges.span(start, end)}).polls():
                yield [message for batch in batches for message in batch.messages]
        except DeletedError as error:
            raise GapError(
                f"{error}. They name what the next snapshot owes. `salesviews rebuild` computes the figures again from "
                "Bronze."
            ) from error

    def publish(self, topic: str, key: bytes, value: bytes) -> None:
        self._application.send(topic, key, value)

    def commit(self, offset: int) -> None:
        self._application.commit(self._topic, 0, offset)

    def beat(self) -> None:
        self._application.beat()


def build(
    settings: Settings, mine: int = 0, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> ColumnarApplication:
    """The application, ready to run; the topics exist by then.

    :param mine: the generation of the figures that is counted
    """
    application = ColumnarApplication(
        settings,
        topics.views_group(settings, mine),
        processor="views",
        commit_interval_s=max(limits.CHECKPOINT_S, settings.snapshot_interval_s),
        commit_batches=0,
        exactly_once=True,
        pulse=Pulse(settings, "views"),
    )
    broker = Broker(settings, application, mine)
    stage = Stage(settings, broker, mine, clock)
    application.gather_by(stage.budget)
    application.in_between(stage.turn, stage.end)
    typees = application.topic(
        topics.typees(settings, mine).name,
        key_deserializer="bytes",
        value_deserializer="bytes",
    )
    batches = application.dataframe(typees)
    broker.stream_id = batches.stream_id
    counted = batches.apply(stage.take, stateful=True)
    PagedWindow(STORE, counted).current().apply(lambda result: result["prise"]).sink(stage.silver)
    return application


def run(settings: Settings) -> None:
    """Run the views process until SIGTERM or SIGINT; it writes a last snapshot before it ends."""
    metrics.serve(settings)
    target = Lake.of(settings)
    pulse = Pulse(settings, "views")

    def wait(seconds: float) -> None:
        pulse.beat(is_ready=False)
        time.sleep(seconds)

    mine = generation.begin_counting(target, settings.dedup_days, wait)
    delete_older_state(settings, mine)
    topics.create(settings, mine)
    application = build(settings, mine)
    begin_without_figures(settings, target, mine, application.committed_offset)
    application.run()


def delete_older_state(settings: Settings, mine: int) -> None:
    """Delete the local state of generations before mine: none of them counts again."""
    names = [folder.name for folder in settings.state_folder.glob("*")]
    for name, number in topics.generations(settings, names).items():
        if number < mine:
            _log.info("The state of generation %d is deleted: %s", number, settings.state_folder / name)
            shutil.rmtree(settings.state_folder / name)


def begin_without_figures(
    settings: Settings, target: Lake, mine: int, committed_offset: Callable[[str, int], int | None]
) -> None:
    """Before the sink makes an empty Silver where there is none, and readers see it.

    1. Refuse if messages were counted before, by this generation or a later one: Silver was lost.
    2. Delete the local state: it was counted for an instance that is gone with Silver and its topics. Quix Streams
       would go on from it, as its changelogs are empty.

    :raises LakeError: if there are no figures, though typed batches were counted
    """
    found = generation.served(target)
    if found is not None and not found.is_empty:
        return  # Kafka would not say before the transaction of a process that died has ended
    batches = committed_offset(topics.typees(settings, mine).name, 0)
    changelogs = topics.counted(settings, mine)
    if batches or changelogs:
        if found is not None:
            return  # a checkpoint, and no snapshot yet; whether Silver has what it counted, ``Stage`` sees
        # 1
        what = f"{batches:,} typed batches were counted" if batches else f"messages were counted ({changelogs[0]})"
        raise LakeError(
            f"{target.root} has no figures, though {what}: Silver was deleted, or "
            "SALESVIEWS_LAKE is not the right address. `salesviews rebuild` computes Silver again from Bronze."
        )
    state = settings.state_folder / topics.views_group(settings, mine)
    if state.exists():  # 2
        _log.info("There are no figures yet; state of an instance that is gone is deleted: %s", state)
        shutil.rmtree(state)
