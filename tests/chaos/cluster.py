"""The processes of an instance, kept running as `up` keeps them: what ends is started again.

``views-2``, the standby, has a home of its own, as on a second machine: a process keeps its state locked while it is
stopped.
"""

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from programs import Program

from salesviews import settings as settings_module
from salesviews.machine import process
from salesviews.machine.supervisor import BACK_OFF_S, HEALTHY_S
from salesviews.settings import Settings

POLL_S = 0.05
END_S = 300.0
NAMES = ("ingest-1", "ingest-2", "views-1", "views-2", "web-1")


class ChaosError(Exception):
    """The run could not go on, or something did not become as it must."""


@dataclass(eq=False)
class Member:
    """A process that is kept running.

    :param due_at: when it is started again, once it has ended
    """

    name: str
    settings: Settings
    program: Program | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    failures: int = 0
    is_stopped: bool = False

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]

    @property
    def runs(self) -> bool:
        return self.program is not None and self.program.popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """To the process; what is no request but an act goes to the broker's Java too."""
        assert self.program is not None
        with suppress(psutil.NoSuchProcess):
            here = psutil.Process(self.program.pid)
            others = [] if number == signal.SIGTERM else here.children(recursive=True)
            for each in (here, *others):
                each.send_signal(number)
        self.is_stopped = number == signal.SIGSTOP


class Cluster:
    """
    :param folder: for what the processes write
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.members: dict[str, Member] = {}
        self.endings: Counter[str] = Counter()
        """How processes ended by themselves."""
        self._folder = folder
        self._logs = 0
        self._excuses: list[tuple[float, float]] = []
        self._excused_since: float | None = time.monotonic()

    def add(self, name: str) -> None:
        home = self.settings.home.with_name("elsewhere") if name == "views-2" else self.settings.home
        self.members[name] = Member(name, replace(self.settings, instance=name, home=home))
        self.keep_running()

    def remove(self, name: str) -> None:
        """SIGTERM, and no new start."""
        member = self.members.pop(name)
        if member.runs:
            assert member.program is not None
            member.send(signal.SIGCONT)
            member.program.close()

    def running(self, kind: str) -> list[Member]:
        return [member for member in self.members.values() if member.kind == kind and member.runs]

    def keep_running(self) -> None:
        """Start what is not there, later each time it ends at once."""
        now = time.monotonic()
        for member in self.members.values():
            if member.runs or now < member.due_at:
                continue
            if member.program is not None and member.due_at < member.started_at:
                self._note_end(member, now)
                continue
            member.program = self.program(member.kind, settings=member.settings)
            member.started_at, member.is_stopped = now, False

    def _note_end(self, member: Member, now: float) -> None:
        assert member.program is not None
        returncode = member.program.popen.returncode
        if returncode >= 0:
            lines = member.program.output.strip().splitlines() or [""]
            self.endings[f"{member.kind} {process.ending(returncode)}: {lines[-1][:200]}"] += 1
        if member.kind == "web":
            self.excuse_web()
        member.failures = 0 if now - member.started_at >= HEALTHY_S else member.failures
        member.due_at = now + BACK_OFF_S[min(member.failures, len(BACK_OFF_S) - 1)]
        member.failures += 1

    def program(self, *arguments: str, settings: Settings | None = None, **_options: Any) -> Program:
        """A command of the pipeline."""
        self._logs += 1
        return Program(
            [sys.executable, "-m", "salesviews", *arguments],
            self._folder / f"{self._logs:03}-{arguments[0]}.log",
            settings_module.environment(settings or self.settings),
        )

    def wait_for(self, condition: Callable[[], object], timeout_s: float, what: str) -> None:
        """Keep everything running until something is so.

        :raises ChaosError: if it is not in time
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise ChaosError(f"Not within {timeout_s:g} s: {what}. {self.describe()}")
            self.keep_running()
            time.sleep(POLL_S)

    def describe(self) -> str:
        return ", ".join(
            f"{member.name} {'stopped' if member.is_stopped else 'runs' if member.runs else 'is down'}"
            for member in self.members.values()
        )

    def end(self, *kinds: str) -> None:
        """SIGTERM to the processes of these kinds.

        One that ended by itself at that moment, as any may at any time, says why (``salesviews: …``): views does where
        another views process counted in between.

        :raises ChaosError: if one ends otherwise, and not with status 0 or at once where it was only about to begin
        """
        for name in [name for name, member in self.members.items() if member.kind in kinds]:
            program = self.members.pop(name).program
            if program is None or (status := program.terminate(END_S)) in (0, -signal.SIGTERM):
                continue
            last = (program.output.strip().splitlines() or [""])[-1]
            if status == 1 and last.startswith("salesviews: "):
                self.endings[f"{name.partition('-')[0]} {process.ending(status)}: {last[:200]}"] += 1
            else:
                raise ChaosError(f"{name} ended {process.ending(status)}:\n{program.output[-2000:]}")

    def kill(self) -> None:
        """Everything, at once."""
        for member in self.members.values():
            if member.runs:
                member.send(signal.SIGKILL)
                assert member.program is not None
                member.program.popen.wait()
        self.members.clear()

    # What the web process cannot be expected to answer

    def excuse_web(self) -> None:
        """From now on until it answers again."""
        self._excused_since = self._excused_since or time.monotonic()

    def note_answer(self, asked_at: float) -> None:
        """The web process answered well what was asked then."""
        since = self._excused_since
        if since is None or asked_at < since:
            return
        [web] = [member for member in self.members.values() if member.kind == "web"]
        if web.runs and not web.is_stopped and asked_at > web.started_at:
            self._excuses.append((since, time.monotonic()))
            self._excused_since = None

    def is_web_excused(self, asked_at: float, failed_at: float) -> bool:
        """Whether it was disturbed at some time between."""
        since = self._excused_since
        return (since is not None and since <= failed_at) or any(
            start <= failed_at and asked_at <= end for start, end in self._excuses
        )
