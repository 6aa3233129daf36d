"""What goes wrong, as values: ``FAULTS``.

A fault strikes, and goes away later. ``strike`` is a generator: it does its damage, and yields what was hit and what to
wait for (a number of seconds, or a condition); then it makes good, and may go on with more. A fault that finds nothing
to hit raises ``NothingToHit``.
"""

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from chaos.cluster import Cluster, Member
from chaos.lake_volume import LakeVolume
from chaos.ledger import Seller
from programs import Program

from salesviews.machine import process

SESSION_S = 10.0
"""After which Kafka gives a silent process's partitions to others."""
AUDIT_WAIT_S = 600
"""For Bronze, while nothing may be there that writes it."""


class NothingToHit(Exception):  # noqa: N818 - nothing went wrong
    pass


@dataclass(frozen=True)
class Scene:
    """What can be hit.

    :param failures: where a fault says what must not be
    """

    cluster: Cluster
    volume: LakeVolume
    sellers: Sequence[Seller]
    rng: random.Random
    failures: list[str]


Pause: TypeAlias = float | Callable[[], bool]
Strike: TypeAlias = Iterator[tuple[str, Pause]]


@dataclass(frozen=True)
class Fault:
    """
    :param weight: how often it is drawn, among the others
    :param kind: no two faults of a kind at once
    :param obstacle: why it cannot be here; empty where it can
    """

    name: str
    strike: Callable[[Scene], Strike]
    weight: int = 2
    kind: str = ""
    obstacle: Callable[[Scene], str] = lambda _: ""


def _one(scene: Scene, kind: str) -> Member:
    members = [member for member in scene.cluster.running(kind) if not member.is_stopped]
    if not members:
        raise NothingToHit
    return scene.rng.choice(members)


def _send(kind: str, number: signal.Signals, last_s: tuple[float, float] = (0.0, 0.0)) -> Callable[[Scene], Strike]:
    """A signal to one process of a kind; after SIGSTOP it goes on when a time within ``last_s`` is over."""

    def strike(scene: Scene) -> Strike:
        member = _one(scene, kind)
        hit = member.program
        if kind == "web":
            scene.cluster.excuse_web()  # before: an answer may break at once
        member.send(number)
        if kind == "web":
            scene.cluster.excuse_web()  # one that was asked in between ended the excuse
        yield member.name, scene.rng.uniform(*last_s)
        if number == signal.SIGSTOP and member.program is hit and member.runs:
            member.send(signal.SIGCONT)

    return strike


def _ingest_comes_and_goes(scene: Scene) -> Strike:
    """One more, then one less: two rebalances."""
    scene.cluster.add("ingest-3")
    yield "ingest-3", scene.rng.uniform(2, 12)
    scene.cluster.remove("ingest-3")


def _lake_full(scene: Scene) -> Strike:
    try:
        scene.volume.fill()
    except OSError as error:  # something was written meanwhile
        raise NothingToHit from error
    yield f"at {scene.volume.used_bytes:,} bytes", scene.rng.uniform(2, 8)
    scene.volume.empty()


def _seller_gives_up(scene: Scene) -> Strike:
    seller = scene.rng.choice(scene.sellers)
    seller.give_up()
    yield seller.name, 0.0


def _ends(program: Program) -> Callable[[], bool]:
    return lambda: program.popen.poll() is not None


def _is_well(*arguments: str, may_end_with: Sequence[int] = (0,)) -> Callable[[Scene], Strike]:
    """A command beside everything else; another status than those is a failure of the run."""

    def strike(scene: Scene) -> Strike:
        program = scene.cluster.program(*arguments)
        yield "begins", _ends(program)
        status = program.popen.returncode
        if status not in may_end_with:
            scene.failures.append(f"{arguments[0]} ended {process.ending(status)}:\n{program.output[-4000:]}")
        yield process.ending(status), 0.0

    return strike


def _again_until_done(scene: Scene, *arguments: str) -> Strike:
    """As an operator would, until it ends with status 0."""
    while True:
        program = scene.cluster.program(*arguments)
        yield "begins", _ends(program)
        yield process.ending(program.popen.returncode), 1.0
        if program.popen.returncode == 0:
            return


def _killed_and_done_again(*arguments: str) -> Callable[[Scene], Strike]:
    """A command is killed on its way, and run again."""

    def strike(scene: Scene) -> Strike:
        program = scene.cluster.program(*arguments)
        yield "begins", scene.rng.uniform(1, 8)
        program.kill()
        yield from _again_until_done(scene, *arguments)

    return strike


def _zombie_rebuild(scene: Scene) -> Strike:
    """A rebuild that is stopped on its way wakes up when another one has been made."""
    zombie = scene.cluster.program("rebuild")
    yield "one begins", scene.rng.uniform(1, 6)
    zombie.popen.send_signal(signal.SIGSTOP)
    yield from _again_until_done(scene, "rebuild")
    zombie.popen.send_signal(signal.SIGCONT)
    yield "the first one wakes up", _ends(zombie)


FAULTS = (
    Fault("ingest killed", _send("ingest", signal.SIGKILL), weight=4),
    Fault("views killed", _send("views", signal.SIGKILL), weight=4),
    Fault("web killed", _send("web", signal.SIGKILL)),
    Fault("ingest stopped", _send("ingest", signal.SIGSTOP, (0.5, 6))),
    Fault("views stopped", _send("views", signal.SIGSTOP, (0.5, 6))),
    Fault("web stopped", _send("web", signal.SIGSTOP, (0.5, 6))),
    Fault("ingest stopped beyond its session", _send("ingest", signal.SIGSTOP, (SESSION_S + 2, SESSION_S + 8))),
    Fault("views stopped beyond its session", _send("views", signal.SIGSTOP, (SESSION_S + 2, SESSION_S + 8))),
    Fault("broker killed", _send("broker", signal.SIGKILL), weight=1),
    Fault("broker ended", _send("broker", signal.SIGTERM), weight=1),
    Fault("broker stopped", _send("broker", signal.SIGSTOP, (1, 8)), weight=1),
    Fault("ingest comes and goes", _ingest_comes_and_goes),
    Fault("lake full", _lake_full, obstacle=lambda scene: scene.volume.obstacle),
    Fault("seller gives up", _seller_gives_up),
    Fault("audit", _is_well("audit", "--json", "--wait", str(AUDIT_WAIT_S))),
    Fault("maintenance", _is_well("maintain", "--json", may_end_with=(0, 1))),
    Fault("maintenance killed", _killed_and_done_again("maintain"), weight=1),
    Fault("replay", lambda scene: _again_until_done(scene, "replay"), weight=1, kind="replay"),
    Fault("replay killed", _killed_and_done_again("replay"), weight=1, kind="replay"),
    Fault("rebuild", lambda scene: _again_until_done(scene, "rebuild"), weight=1, kind="rebuild"),
    Fault("rebuild killed", _killed_and_done_again("rebuild"), weight=1, kind="rebuild"),
    Fault("rebuild as a zombie", _zombie_rebuild, weight=1, kind="rebuild"),
)
