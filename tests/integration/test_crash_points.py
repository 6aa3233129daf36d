import itertools
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer
from crash_points import (
    CHANGELOG,
    HISTORY,
    INGEST_STEPS,
    MANIFEST,
    OVERWRITES,
    PUBLICATION,
    REJECTED,
    RETURNS,
    STORES,
    TRANSACTION,
    VIEWS_STEPS,
    Moment,
    Point,
    Step,
)
from crashing import Nursery
from fork_server import Copy
from pipelines import Pipeline, assert_everything_is_exact
from programs import PATIENCE_S

from salesviews import lake, topics
from salesviews.settings import Settings
from salesviews.simulation import market

SEED = 4
DAYS = 3
INTERVAL_S = 0.4
"""Between checkpoints: short, as each case waits for one."""

STEPS = {"ingest-1": INGEST_STEPS, "views-1": VIEWS_STEPS}
COMMITTED_LAST = {"ingest-1": lake.BRONZE, "views-1": lake.SNAPSHOTS}
"""The last table that a checkpoint commits to."""


@pytest.fixture(scope="module")
def instance(
    tmp_path_factory: pytest.TempPathFactory,
    instance_in: Callable[..., Settings],
    free_port: Callable[[], int],
) -> Settings:
    """One lake for all tests here: each goes on where the one before it ended."""
    intervals = {"BRONZE_INTERVAL_S": INTERVAL_S, "SNAPSHOT_INTERVAL_S": INTERVAL_S}
    made = instance_in(tmp_path_factory.mktemp("instance"), PORT=free_port(), PARTITIONS=3, **intervals)
    topics.create(made)
    return made


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    made = Nursery(tmp_path_factory.mktemp("nursery"))
    yield made
    made.close()


@pytest.fixture
def pipeline(instance: Settings, start_process: Callable[..., Any]) -> Pipeline:
    return Pipeline(instance, start_process)


@contextmanager
def trickle(settings: Settings) -> Iterator[None]:
    """A few dirty sales of the last days, several times a second."""
    stop = threading.Event()

    def run() -> None:
        rng = np.random.default_rng(SEED)
        producer = Producer(settings.kafka_config)
        shop = market.Market(SEED, market.microseconds(datetime.now(UTC)), dirty_pct=20, late_pct=5)
        while not stop.wait(0.2):
            times_us = market.microseconds(datetime.now(UTC)) - rng.integers(0, DAYS * 86_400_000_000, 12)
            for key, payload in shop.batch(np.sort(times_us)):
                producer.produce(settings.topic, payload, key=key)
            producer.poll(0)
        assert producer.flush(PATIENCE_S) == 0

    sending = threading.Thread(target=run)
    sending.start()
    try:
        yield
    finally:
        stop.set()
        sending.join()


def start(nursery: Nursery, pipeline: Pipeline, name: str, point: Point | None, **how: Any) -> Copy:
    return nursery.start(name.partition("-")[0], replace(pipeline.settings, instance=name), point, **how)


def wait_until_it_comes_to(point: Point, victim: Copy, eventually: Callable[..., Any]) -> None:
    def is_there() -> bool:
        has_ended = victim.poll() is not None  # before: a mark may come between a look at it and one at the process
        if point.mark in victim.output:
            return True
        assert not has_ended, f"ended before {point}:\n{victim.output[-4000:]}"
        return False

    eventually(is_there, 120, f"process {victim.pid} {point}")


def crash(
    pipeline: Pipeline,
    nursery: Nursery,
    eventually: Callable[..., Any],
    name: str,
    points: Sequence[Point],
) -> None:
    """A process crashes at a point, is started again at once and crashes at the next; fails where it does not."""

    def committed() -> int:
        return int(pipeline.lake.open(COMMITTED_LAST[name]).version())

    for point in points:
        victim = start(nursery, pipeline, name, point)
        wait_until_it_comes_to(point, victim, eventually)
        if point.moment is not Moment.LOST:
            assert victim.wait() == -signal.SIGKILL, victim.output
        elif not point.step.finds_out:
            assert victim.wait() == 1, victim.output
        else:
            before = committed()
            eventually(lambda before=before: committed() > before, 60, f"{name} goes on after {point}")
            victim.send_signal(signal.SIGKILL)
            victim.wait()


def go_on(pipeline: Pipeline, eventually: Callable[..., Any]) -> None:
    """The processes, undisturbed now, count what is there, and end."""
    produced = pipeline.produced()
    eventually(lambda: pipeline.has_counted(produced), 120, "everything counted")
    for program in pipeline.programs.values():
        assert program.terminate() == 0


def test_the_steps_are_those_of_a_checkpoint(
    pipeline: Pipeline, nursery: Nursery, eventually: Callable[..., Any]
) -> None:
    """Law: a checkpoint does each declared step once, in that order, and no other one; so does a snapshot after it."""
    victims = {name: start(nursery, pipeline, name, None) for name in STEPS}

    def checkpoints(name: str) -> list[list[str]]:
        done = [line.removeprefix("STEP ") for line in victims[name].output.splitlines() if line.startswith("STEP ")]
        starts = [place for place, step in enumerate(done) if step == STEPS[name][0].name]
        return [done[start:end] for start, end in itertools.pairwise(starts)]

    with trickle(pipeline.settings):
        for name, steps in STEPS.items():
            declared = [step.name for step in (*steps, *(PUBLICATION if steps is VIEWS_STEPS else ()))]
            eventually(lambda name=name, declared=declared: declared in checkpoints(name), 120, f"{declared}")
    for victim in victims.values():
        victim.send_signal(signal.SIGTERM)
        assert victim.wait() == 0, victim.output


def test_a_crash_at_any_step_changes_nothing(
    pipeline: Pipeline,
    nursery: Nursery,
    eventually: Callable[..., Any],
    request: pytest.FixtureRequest,
) -> None:
    """Law: a process that is killed between any two steps, or does not hear of what it committed, loses and repeats
    nothing; also where it had not made up yet for the crash before that one.
    """
    seed, rounds = request.config.getoption("--sweep-seed"), request.config.getoption("--sweep")
    print(f"crashes in the order of --sweep-seed {seed}")
    rng = random.Random(seed)
    points = {name: [*kills(steps), *lost_answers(steps)] for name, steps in STEPS.items()}
    points["views-1"] += [Point(moment, TRANSACTION, 2) for moment in Moment]  # mostly that of a publication
    drawn = {name: shuffled(rng, each) for name, each in points.items()}
    for _ in range(rounds):
        for name, steps in STEPS.items():
            drawn[name] += shuffled(rng, every_point(steps))
    with trickle(pipeline.settings), ThreadPoolExecutor() as executor:
        crashing = {
            executor.submit(crash, pipeline, nursery, eventually, name, points): name for name, points in drawn.items()
        }
        for future in as_completed(crashing):
            future.result()
            pipeline.start(crashing[future])  # the other one needs it
    go_on(pipeline, eventually)
    assert_everything_is_exact(pipeline)


IN_SILVER = (REJECTED, *OVERWRITES[1:], MANIFEST)
"""Each commit of Silver's tables is in ``test_crashes_of_stages``; here are those that have Kafka beside them."""


def kills(steps: Sequence[Step]) -> list[Point]:
    """Before the first step, between each two, and after the last; among Silver's tables once."""
    return [*(Point(Moment.BEFORE, step) for step in steps if step not in IN_SILVER), Point(Moment.AFTER, steps[-1])]


def lost_answers(steps: Sequence[Step]) -> list[Point]:
    """Of each step; of Silver's tables, of the first one that is appended, which goes on, and of the manifest."""
    left_out = {REJECTED, *OVERWRITES}
    return [Point(Moment.LOST, step) for step in steps if step.lost and step not in left_out]


def every_point(steps: Sequence[Step]) -> list[Point]:
    return [
        Point(moment, step, nth)
        for moment in Moment
        for step in steps
        for nth in (1, 2)
        if step.lost or moment is not Moment.LOST
    ]


def shuffled(rng: random.Random, points: Sequence[Point]) -> list[Point]:
    return rng.sample(points, len(points))


RECOVERIES = (
    # The tables that an interrupted checkpoint overwrote go back.
    Point(Moment.BEFORE, MANIFEST),
    Point(Moment.AFTER, RETURNS[len(RETURNS) // 2]),
    # The local state comes from the changelogs, then the ids from ventes_clean.
    Point(Moment.BEFORE, STORES[0]),
    Point(Moment.AFTER, CHANGELOG, 3),
    Point(Moment.BEFORE, HISTORY),
    Point(Moment.BEFORE, STORES[1]),
    Point(Moment.AFTER, CHANGELOG),
)


def test_a_crash_while_it_recovers_changes_nothing(
    pipeline: Pipeline, nursery: Nursery, eventually: Callable[..., Any]
) -> None:
    """Law: a process that is killed on its way back from a crash, again and again, loses and repeats nothing."""
    pipeline.start("ingest-1")
    with trickle(pipeline.settings):
        crash(pipeline, nursery, eventually, "views-1", RECOVERIES)
    pipeline.start("views-1")
    go_on(pipeline, eventually)
    assert_everything_is_exact(pipeline)


def test_a_zombie_ends_and_spoils_nothing(
    pipeline: Pipeline,
    nursery: Nursery,
    eventually: Callable[..., Any],
    tmp_path: Path,
    zombies_at: Mapping[str, Step],
) -> None:
    """Law: a process that stops in the middle of a checkpoint, and wakes up when another one has its partitions, ends,
    and what the other one has written stays as it is.
    """
    with trickle(pipeline.settings):
        zombies = {}
        for name, step in zombies_at.items():
            point = Point(Moment.BEFORE, step)
            zombies[name] = start(nursery, pipeline, name, point, stops=True)
            wait_until_it_comes_to(point, zombies[name], eventually)
        elsewhere = replace(pipeline.settings, home=tmp_path / "elsewhere")  # a stopped process keeps its state locked
        for name in ("ingest-2", "views-2"):
            pipeline.start(name, elsewhere)
        produced = pipeline.produced()
        eventually(lambda: pipeline.has_counted(produced), 120, "counted by the others")
        for zombie in zombies.values():
            zombie.send_signal(signal.SIGCONT)
        for zombie in zombies.values():
            assert zombie.wait() == 1, zombie.output
    go_on(pipeline, eventually)
    assert_everything_is_exact(pipeline)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Both processes are zombies at once; where there is time, at each step up to the last that others see."""
    if "zombies_at" in metafunc.fixturenames:
        seen = (
            VIEWS_STEPS[: VIEWS_STEPS.index(TRANSACTION) + 1]
            if metafunc.config.getoption("--sweep")
            else [OVERWRITES[3]]
        )
        pairs = list(zip(itertools.cycle(INGEST_STEPS), seen, strict=False))
        metafunc.parametrize(
            "zombies_at",
            [{"ingest-1": ingest, "views-1": views} for ingest, views in pairs],
            ids=[f"{ingest.name} {views.name}" for ingest, views in pairs],
        )
