"""What each process of a product costs, life by life: seen from outside, in /proc, in the logs and in the lake."""

import itertools
import re
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient
from product import Product

_EVERY_S = 0.2
_READY = re.compile(r"processing incoming messages|Dashboard: ")
_RESTART = re.compile(r"salesviews +\| (.*starting it again in.*)")
_LINE = re.compile(r"([a-z]+)(?:-\d+)? +\| (.*)")
_VIEWS_GROUP = re.compile(r".*-views(-g\d+)?")


@dataclass
class Life:
    """A process, from its start to its end.

    :param zero_s: the CPU time from which it is counted: until it was ready where it is the first of its role
    :param first_commit_s: the CPU time at its first commit
    """

    role: str
    pid: int
    cpu_s: float = 0.0
    zero_s: float | None = None
    peak_mib: float = 0.0
    first_commit_s: float | None = None
    begins_at: int = 0
    reaches: int = 0
    is_ready: bool = False
    is_over: bool = False

    @property
    def counted_s(self) -> float:
        return self.cpu_s - (self.zero_s or 0.0)


@dataclass
class Cost:
    """Of all lives of a role, while it was watched."""

    cpu_s: float = 0.0
    start_up_s: float = 0.0
    peak_mib: float = 0.0
    starts: int = 0


@dataclass
class Seen:
    """
    :param changelog_bytes: that changelogs grew by
    :param snapshots_s: when each snapshot was there
    """

    costs: dict[str, Cost] = field(default_factory=lambda: defaultdict(Cost))
    changelog_bytes: int = 0
    snapshots_s: list[float] = field(default_factory=list)

    def longest_gap_s(self, start_s: float) -> float:
        """The longest time between two snapshots, or before the first, since a moment."""
        moments = [start_s, *(moment for moment in self.snapshots_s if moment > start_s)]
        return max((after - before for before, after in itertools.pairwise(moments)), default=0.0)


class Watch(threading.Thread):
    """Watches a product until it is ended.

    :param sees_commits: ask Kafka what views has committed, which costs Kafka a little
    """

    def __init__(self, product: Product, sees_commits: bool = False) -> None:
        super().__init__(daemon=True)
        self._product = product
        self._admin = AdminClient(product.bootstrap | {"log_level": "0"}) if sees_commits else None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._read: dict[Path, int] = {}
        self._last_words: dict[str, str] = {}
        self._changelog_size = 0
        self._snapshot = 0
        self._committed = 0
        self._seen = Seen()
        self.lives: list[Life] = []

    def run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self.look()

    def end(self) -> Seen:
        self._ended.set()
        self.join()
        return self.seen()

    def current(self, role: str) -> Life | None:
        """The newest life of a role that is not over."""
        return next((life for life in reversed(self.lives) if life.role == role and not life.is_over), None)

    def is_ready(self, role: str) -> bool:
        life = self.current(role)
        return life is not None and life.is_ready

    def views_pid(self) -> int | None:
        life = self.current("views")
        return life.pid if life else None

    def count_from_now(self) -> None:
        """Forget what it took to come here."""
        self.look()
        with self._lock:
            self._seen = Seen()
            for life in self.lives:
                life.zero_s = life.cpu_s

    def seen(self) -> Seen:
        self.look()
        with self._lock:
            for cost in self._seen.costs.values():
                cost.cpu_s = cost.start_up_s = cost.peak_mib = 0.0
                cost.starts = 0
            for life in self.lives:
                if life.is_over and not life.counted_s:
                    continue
                cost = self._seen.costs[life.role]
                cost.cpu_s += life.counted_s
                cost.start_up_s = cost.start_up_s or life.zero_s or 0.0
                cost.peak_mib = max(cost.peak_mib, life.peak_mib)
                cost.starts += 1
            return self._seen

    def look(self) -> None:
        with self._lock:
            self._look_at_processes()
            self._look_at_logs()
            self._look_at_changelogs()
            self._look_for_snapshots()
            if self._admin:
                self._look_for_commits(self._admin)

    def _look_at_processes(self) -> None:
        found: dict[int, psutil.Process] = {}
        for process in [*self._product.running.values()]:
            try:
                root = psutil.Process(process.pid)
                found |= {each.pid: each for each in (root, *root.children(recursive=True))}
            except psutil.NoSuchProcess:
                continue
        known = {life.pid: life for life in self.lives if not life.is_over}
        for pid, life in known.items():
            life.is_over = pid not in found
        for pid, process in found.items():
            try:
                if (role := _role(process.cmdline())) is None:
                    continue
                if pid not in known or known[pid].role != role:  # a child begins as what its parent is
                    self._add(Life(role, pid, begins_at=self._committed, reaches=self._committed))
                    known[pid] = self.lives[-1]
                times = process.cpu_times()
                known[pid].cpu_s = times.user + times.system
                known[pid].peak_mib = max(known[pid].peak_mib, _peak_mib(pid))  # one that has ended tells none
            except (psutil.NoSuchProcess, OSError, IndexError):
                continue

    def _add(self, life: Life) -> None:
        self.lives = [other for other in self.lives if other.pid != life.pid or other.is_over]
        if any(other.role == life.role for other in self.lives):
            life.zero_s = 0.0  # its start is a cost of the restart
        self.lives.append(life)

    def _look_at_logs(self) -> None:
        for command in [*self._product.running]:
            log = self._product.log(command)
            with log.open("rb") as file:
                file.seek(self._read.get(log, 0))
                lines = file.read().rpartition(b"\n")[0]
                self._read[log] = self._read.get(log, 0) + len(lines) + bool(lines)
            for line in lines.decode(errors="replace").splitlines():
                self._hear(command, line)

    def _hear(self, command: str, line: str) -> None:
        if restart := _RESTART.search(line):
            role = restart[1].split()[0].partition("-")[0]
            print(f"    {restart[1]}; it said: {self._last_words.get(role, '')[:400]}", flush=True)
        named = _LINE.match(line)
        role, said = (named[1], named[2]) if named else (command, line)
        self._last_words[role] = said
        if _READY.search(said):
            role = "web" if "Dashboard: " in said else role
            for life in self.lives:
                life.is_ready = life.is_ready or (life.role == role and not life.is_over)
                if life.role in (role, "kafka") and life.zero_s is None:
                    life.zero_s = life.cpu_s

    def _look_at_changelogs(self) -> None:
        size = 0
        for file in self._product.folder.glob("kafka/logs/changelog__*/*.log"):
            try:
                size += file.stat().st_size
            except OSError:
                continue
        self._seen.changelog_bytes += max(size - self._changelog_size, 0)  # compaction takes some away
        self._changelog_size = size

    def _look_for_snapshots(self) -> None:
        log = self._product.lake / "silver" / "snapshots" / "_delta_log"
        while (log / f"{self._snapshot:020}.json").exists():
            self._snapshot += 1
            if self._snapshot > 2:  # the table, and the first manifest, which covers nothing
                self._seen.snapshots_s.append(time.monotonic())

    def _look_for_commits(self, admin: AdminClient) -> None:
        try:
            groups = [each.group_id for each in admin.list_consumer_groups(request_timeout=2).result().valid]
            asked = [ConsumerGroupTopicPartitions(group) for group in groups if _VIEWS_GROUP.fullmatch(group)]
            offsets = [
                place.offset
                for each in asked
                for place in admin.list_consumer_group_offsets([each])[each.group_id].result(2).topic_partitions
            ]
        except (KafkaException, TimeoutError):
            return
        self._committed = max([self._committed, *offsets])
        if life := self.current("views"):
            life.reaches = self._committed
            if life.first_commit_s is None and self._committed > life.begins_at:
                life.first_commit_s = life.cpu_s


def _role(command: list[str]) -> str | None:
    """The subcommand of ``salesviews`` that a process runs, or ``kafka``."""
    if "java" in Path(command[0]).name:
        return "kafka"
    for place, word in enumerate(command[:-1]):
        if Path(word).name == "salesviews":
            return command[place + 1]
    return None


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    return int(peak[1]) / 1024 if peak else 0.0


def shown(costs: Mapping[str, Cost]) -> list[str]:
    """The roles that matter, the processors first."""
    order = ("ingest", "views", "web", "kafka", "maintain", "rebuild", "audit")
    return [role for role in order if role in costs]
