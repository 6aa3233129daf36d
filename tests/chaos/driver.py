"""One chaos run: the storm, the calm after it, and the judgement.

1. The cluster starts; sellers sell and askers ask, until the end of the storm.
2. Storm: faults strike at random moments, often several at once. First each of them once, in the order that is drawn,
   then any. What ends is started again.
3. Calm: what was struck is made good, and everything is counted.
4. Judgement: the ledger against Kafka, Kafka against every table and topic by the witness, Bronze against Silver by the
   audit; and what the askers have seen.
"""

import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from chaos.cluster import NAMES, POLL_S, Cluster
from chaos.faults import FAULTS, Fault, NothingToHit, Pause, Scene, Strike
from chaos.invariants import Watch
from chaos.judgement import judge
from chaos.lake_volume import LakeVolume
from chaos.ledger import Ledger, Seller
from pipelines import Pipeline

from salesviews import settings as settings_module
from salesviews import topics
from salesviews.machine import ports
from salesviews.settings import Settings

GAP_S = (0.3, 3.0)
"""Between two strikes."""
START_S = 180.0
CALM_S = 600.0
SELLERS = 3
RATE = 60.0
"""Messages a second of each seller."""


_LOGGED_ERROR = re.compile(r"^\S+ \S+ ERROR +(.*)", re.MULTILINE)


@dataclass
class Report:
    """What happened. The run holds if nothing is in ``failures``."""

    seed: int
    impossible: dict[str, str] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    snapshots: int = 0
    messages: dict[str, int] = field(default_factory=dict)
    endings: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    calm_s: float = 0.0
    failures: list[str] = field(default_factory=list)

    def text(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for title, counts in (
            ("faults", self.faults),
            ("answers checked", self.answers),
            ("messages", self.messages),
            ("processes that ended by themselves", self.endings),
            ("lines of level ERROR", self.errors),
        ):
            yield f"{title}: {sum(counts.values()) if isinstance(counts, Counter) else ''}"
            yield from (f"  {count:>8,}  {name}" for name, count in counts.items())
        for name, reason in self.impossible.items():
            yield f"IMPOSSIBLE HERE: {name}: {reason}"
        yield f"{self.snapshots:,} snapshots were seen; everything was counted {self.calm_s:.1f} s after the storm"
        yield from (f"FAILED: {failure}" for failure in self.failures)
        yield f"seed {self.seed}: {'FAILED' if self.failures else 'nothing lost, nothing twice'}"


def run(seconds: float, seed: int, folder: Path, say: Callable[[str], None] = print) -> Report:
    """
    :param folder: for everything that the run leaves; empty
    :param say: prints a line
    :raises ChaosError: if the run could not go on
    """
    report = Report(seed)
    begun_at = time.monotonic()

    def tell(line: str) -> None:
        say(f"{time.monotonic() - begun_at:7.1f} s  {line}")

    with ExitStack() as stack:
        volume = LakeVolume(folder / "lake")
        stack.callback(volume.close)
        settings = _settings(folder)
        logs = folder / "logs"
        logs.mkdir()
        cluster = Cluster(settings, logs)
        stack.callback(cluster.kill)
        tell(f"seed {seed}; the lake is on {'an ordinary folder' if volume.obstacle else 'a file system of its own'}")

        ledger = Ledger()
        sellers = [Seller(settings, ledger, seed, number, RATE, logs) for number in range(1, SELLERS + 1)]
        watch = Watch(cluster, seed)
        scene = Scene(cluster, volume, sellers, random.Random(seed), report.failures)
        _start(cluster)
        for thread in (*sellers, watch):
            thread.start()
        try:
            cluster.wait_for(lambda: watch.totals(watch.newest)[0] > 0, START_S, "the first sales in an answer")
            storm = Storm(scene, tell, report)
            storm.blow(seconds)
            calm_at = time.monotonic()
            tell("calm")
            storm.abate()
            for seller in sellers:
                seller.end()
            _settle(cluster, watch)
            report.calm_s = time.monotonic() - calm_at
        finally:
            for thread in (*sellers, watch):
                thread.end()
        tell("judgement")
        cluster.end("ingest", "views", "web")
        pipeline = Pipeline(cluster.settings, cluster.program)
        report.failures += judge(pipeline, ledger, watch.totals(watch.newest))
        cluster.end("broker")
        if report.failures and not volume.obstacle:
            shutil.copytree(folder / "lake", folder / "lake-at-the-end")
    report.messages, report.endings = ledger.counts(), cluster.endings
    report.answers, report.snapshots = watch.answers, len(watch.figures)
    for log in sorted(logs.iterdir()):
        for line in _LOGGED_ERROR.findall(log.read_text(encoding="utf-8", errors="replace")):
            report.errors[f"{log.stem.partition('-')[2]}: {re.sub('[0-9]+', '#', line)[:160]}"] += 1
    report.failures += watch.violations
    _check_disruption(report, seconds)
    return report


def _settings(folder: Path) -> Settings:
    given = {
        "HOME": folder / "home",
        "LAKE": folder / "lake",
        "KAFKA_PORT": ports.free(),
        "PORT": ports.free(),
        "PARTITIONS": 3,
        "BRONZE_INTERVAL_S": 1,
        "SNAPSHOT_INTERVAL_S": 1,
    }
    return settings_module.read({settings_module.PREFIX + name: str(value) for name, value in given.items()})


def _start(cluster: Cluster) -> None:
    cluster.add("broker")
    broker = cluster.members["broker"].program
    assert broker is not None
    cluster.wait_for(lambda: "Kafka is ready" in broker.output, START_S, "broker")
    topics.create(cluster.settings)
    for name in NAMES:
        cluster.add(name)


class Storm:
    """Faults, one after the other and several at once."""

    def __init__(self, scene: Scene, tell: Callable[[str], None], report: Report) -> None:
        self._scene = scene
        self._rng = scene.rng
        self._tell = tell
        self._report = report
        report.impossible = {fault.name: reason for fault in FAULTS if (reason := fault.obstacle(scene))}
        self._possible = [fault for fault in FAULTS if fault.name not in report.impossible]
        self._first = self._rng.sample(self._possible, len(self._possible))
        self._active: dict[Fault, tuple[Strike, Pause]] = {}

    def blow(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        next_at = time.monotonic()
        while (now := time.monotonic()) < end:
            if now >= next_at:
                self._strike()
                next_at = now + self._rng.uniform(*GAP_S)
            self._go_on(now)

    def abate(self) -> None:
        """Until everything that was struck is made good."""
        self._scene.cluster.wait_for(lambda: not self._go_on(time.monotonic()), CALM_S, f"calm: {self._active}")

    def _strike(self) -> None:
        drawn = self._first or self._rng.choices(self._possible, [fault.weight for fault in self._possible])
        kinds = {fault.kind or fault.name for fault in self._active}
        for fault in [fault for fault in drawn if (fault.kind or fault.name) not in kinds][:1]:
            strike = fault.strike(self._scene)
            try:
                self._note(fault, strike, next(strike))
            except NothingToHit:
                return
            self._report.faults[fault.name] += 1
            if self._first:
                self._first.remove(fault)

    def _note(self, fault: Fault, strike: Strike, hit: tuple[str, Pause]) -> None:
        what, pause = hit
        is_timed = not callable(pause)
        self._tell(f"{fault.name}: {what}" + (f" for {pause:.1f} s" if is_timed and pause else ""))
        self._active[fault] = strike, time.monotonic() + pause if is_timed else pause

    def _go_on(self, now: float) -> int:
        """Go on with what has waited long enough; gives how many strikes are not over."""
        self._scene.cluster.keep_running()
        for fault, (strike, pause) in list(self._active.items()):
            if pause() if callable(pause) else now >= pause:
                del self._active[fault]
                if (hit := next(strike, None)) is not None:
                    self._note(fault, strike, hit)
        time.sleep(POLL_S)
        return len(self._active)


def _settle(cluster: Cluster, watch: Watch) -> None:
    """Until everything in Kafka is in the figures that are served."""
    pipeline = Pipeline(cluster.settings, cluster.program)
    produced = pipeline.produced()
    cluster.wait_for(lambda: pipeline.has_counted(produced), CALM_S, f"{produced} messages counted")
    newest = pipeline.manifest()
    assert newest is not None
    cluster.wait_for(lambda: watch.is_known(newest.id), CALM_S, f"every answer of snapshot {newest.id}")


def _check_disruption(report: Report, seconds: float) -> None:
    struck = sum(report.faults.values())
    if struck < seconds / GAP_S[1] / 2:
        report.failures.append(f"nothing was proved: {struck} faults in {seconds:g} s")
    missing = {fault.name for fault in FAULTS} - report.faults.keys() - report.impossible.keys()
    if not struck or (missing and struck >= len(FAULTS)):
        report.failures.append(f"nothing was proved: of {struck} faults none was one of {sorted(missing)}")
