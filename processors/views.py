"""Views: typed batches become sales that count, and sums over tumbling windows.

    ventes-typees -> take -> count (dedup, combine) -+-> ventes_clean, ventes_rejetees   (Silver sink)
                                                     +-> rows a view, key and window -> tumbling windows
                                                            -> view tables (Silver sink), vues-<view> topics

One process counts; a second one waits as standby. A checkpoint, in order:

1. The Silver sink writes a snapshot (``sinks.silver``).
2. Changelogs and the ``vues-`` topics are flushed.
3. One Kafka transaction commits changelogs, topics and the group's offset.
4. The local state is written.

A crash before 3 takes the same batches again, from the state of the last transaction; the sink drops what a snapshot
has already. A crash after 3 restores the local state from the changelogs.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from quixstreams import State
from quixstreams.dataframe.windows.aggregations import BaseAggregator
from quixstreams.models import SerializationContext, Serializer

from processors.columnar import ColumnarApplication, MessageBatch, Shared
from processors.counting import NOTHING, Counter, Row, TypedBatch
from processors.positions import Positions
from salesviews import generation, metrics, money, seed, topics, typed
from salesviews.errors import FencedError, LakeError
from salesviews.lake import Lake
from salesviews.pulse import Pulse
from salesviews.settings import Settings
from salesviews.views import DAY, Kept, Measure, Unit, Window, kept
from sinks.contents import Change
from sinks.silver import SilverSink, Take, ViewChange

_log = logging.getLogger(__name__)

TAKE_MESSAGES = 32
TAKE_TIMEOUT_S = 0.25
COMMIT_TAKES = 8

_NEVER_MS = 10**15
"""Grace of the windows: longer than any data, as late sales always count."""

_KEPT_HERE = kept(Kept.IN_WINDOWS)
_BY_NAME = {view.name: view for view in _KEPT_HERE}


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LARGEST = 2**63 - 1
"""The largest integer that the state's JSON takes."""


class Sums(BaseAggregator[list[int | str]]):
    """Combines the measures of rows, place by place. A sum beyond 64 bits is kept as text."""

    @property
    def state_suffix(self) -> str:
        return "sommes"

    def initialize(self) -> list[int | str]:
        return []

    def agg(self, old: list[int | str], new: dict[str, Any], timestamp: int) -> list[int | str]:  # noqa: ARG002 - of BaseAggregator
        gained: list[int] = new["sommes"]
        totals = _BY_NAME[new["vue"]].combined(list(map(int, old)), gained) if old else gained
        return [total if abs(total) <= _LARGEST else str(total) for total in totals]

    def result(self, value: list[int | str]) -> list[int]:
        return list(map(int, value))


@dataclass(frozen=True, eq=False)
class CountedTake(Shared):
    """A take after counting: for the Silver sink, and the rows for the windows of each duration."""

    take: Take
    rows: list[Row]

    def of_window(self, window: Window) -> Iterator[dict[str, Any]]:
        for view, key, start_ms, sums in self.rows:
            if view.window == window:
                cle = orjson.dumps([view.name, *key])
                yield {"cle": cle, "vue": view.name, "debut_ms": start_ms, "sommes": sums}


class Taking:
    """Turns the batches of a poll into one counted take.

    A generation that a rebuild made begins with its seeds (``salesviews.seed``), from which it counts on.
    """

    def __init__(self, settings: Settings, application: ColumnarApplication) -> None:
        self._lake = Lake.of(settings)
        self._dedup_days = settings.dedup_days
        self._application = application
        self._counter: Counter | None = None
        self._next_offset = -1

    def take(self, batch: MessageBatch, state: State[Any, Any]) -> CountedTake:
        seeds = [each for message in batch.messages if (each := seed.of_message(message))]
        positions = Positions.from_state(seeds[0].positions if seeds else state.get("positions"))
        batches = [
            _typed_batch(offset, message)
            for offset, message in list(zip(batch.poll.offsets(), batch.messages, strict=True))[len(seeds) :]
        ]
        counter = self._counter_for(batch.first_offset, positions)
        counted = counter.count(batches, positions) if batches else NOTHING
        self._next_offset = batch.last_offset + 1
        state.set("positions", positions.to_state())
        known_end = self._application.known_end_offset(batch.topic, batch.partition)
        take = Take(
            clean=counted.clean,
            rejected=counted.rejected,
            first_sequence=typed.first_sequence(batch.first_offset),
            sequence=typed.last_sequence(batch.last_offset),
            positions={mark.source: mark.end for mark in positions.marks},
            caught_up=positions.is_at_known_end and self._next_offset >= known_end,
        )
        seeded: list[Row] = [
            (_BY_NAME[name], key, start_ms, sums) for each in seeds for name, key, start_ms, sums in each.rows
        ]
        return CountedTake(take, seeded + counted.rows)

    def _counter_for(self, first_offset: int, positions: Positions) -> Counter:
        """The counter; made from Silver at the first batch, as only then it is known from where this process counts."""
        if self._counter is None:
            self._counter = Counter(self._lake, self._dedup_days, typed.first_sequence(first_offset), positions)
        elif first_offset != self._next_offset:
            raise FencedError(
                f"The typed batches go on at offset {first_offset}, after {self._next_offset - 1} here: another "
                "views process counted in between. This one ends, and starts again from what is committed."
            )
        return self._counter


def _typed_batch(offset: int, message: Any) -> TypedBatch:
    headers = dict(message.headers())
    return TypedBatch(int(offset), typed.Interval.decode(headers[typed.HEADER]), typed.decode(message.value()))


def _view_change(result: dict[str, Any], key: bytes) -> ViewChange:
    name, *values = orjson.loads(key)
    return ViewChange(_BY_NAME[name], Change(tuple(values), result["start"], result["sommes"]))


def publication_key(changed: ViewChange) -> bytes:
    """The key of a ``vues-<view>`` message: a JSON object of the key columns and the window's start."""
    view, change = changed.view, changed.change
    start = datetime.fromtimestamp(change.start_ms / 1000, UTC)
    window = start.date().isoformat() if view.window == DAY else start.strftime("%Y-%m-%dT%H:%M:%SZ")
    return orjson.dumps({**dict(zip(view.key_names, change.key, strict=True)), view.window.column: window})


class PublicationSerializer(Serializer):
    """Writes the value of a ``vues-<view>`` message: its key's object with the measures, amounts with two decimals."""

    def __call__(self, value: ViewChange, ctx: SerializationContext) -> bytes:  # noqa: ARG002 - the signature of Serializer
        measures = {
            measure.name: orjson.Fragment(_text_of(measure, total))
            for measure, total in zip(value.view.measures, value.change.measures, strict=True)
        }
        return publication_key(value)[:-1] + b"," + orjson.dumps(measures)[1:]


def _text_of(measure: Measure, total: int) -> str:
    """A measure in JSON."""
    match measure.unit:
        case Unit.CENTS:
            return money.text_of(total)
        case Unit.MOMENT_US:
            moment = _EPOCH + timedelta(microseconds=total)
            return f'"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"'
        case _:
            return str(total)


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
        batch_messages=TAKE_MESSAGES,
        batch_timeout_s=TAKE_TIMEOUT_S,
        commit_interval_s=settings.snapshot_interval_s,
        commit_batches=COMMIT_TAKES,
        exactly_once=True,
        pulse=Pulse(settings, "views"),
    )
    silver = SilverSink(Lake.of(settings), clock, mine, settings.dedup_days)
    typees = application.topic(
        topics.typees(settings, mine).name,
        key_deserializer="bytes",
        value_deserializer="bytes",
        key_serializer="bytes",
    )
    outputs = {
        view.name: application.topic(
            topics.vues(settings, view).name, key_serializer="bytes", value_serializer=PublicationSerializer()
        )
        for view in _KEPT_HERE
    }

    counted = application.dataframe(typees).apply(Taking(settings, application).take, stateful=True)
    counted.apply(lambda taken: taken.take).sink(silver)
    for window in dict.fromkeys(view.window for view in _KEPT_HERE):
        changes = (
            counted.apply(lambda taken, window=window: taken.of_window(window), expand=True)
            .group_by(lambda row: row["cle"], name=window.column)
            .set_timestamp(lambda row, *_: row["debut_ms"])
            .tumbling_window(window.duration, grace_ms=_NEVER_MS, name=f"vues-{window.column}")
            .agg(sommes=Sums())
            .current()
            .apply(lambda result, key, *_: _view_change(result, key), metadata=True)
        )
        changes.update(silver.add)  # not sink(): a branch of its own would copy each change
        changes.to_topic(lambda changed, *_: outputs[changed.view.name], key=publication_key)
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
    if batches or changelogs:  # 1
        what = f"{batches:,} typed batches were counted" if batches else f"messages were counted ({changelogs[0]})"
        raise LakeError(
            f"{target.root} has no figures, though {what}: Silver was deleted, or "
            "SALESVIEWS_LAKE is not the right address. `salesviews rebuild` computes Silver again from Bronze."
        )
    state = settings.state_folder / topics.views_group(settings, mine)
    if state.exists():  # 2
        _log.info("There are no figures yet; state of an instance that is gone is deleted: %s", state)
        shutil.rmtree(state)
