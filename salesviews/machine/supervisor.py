"""Keeps the processes of an instance running on one machine, and stops them together.

Processes are crash-only: one that dies is started again, later each time it dies at once. What cannot heal (a setting
that cannot be used, a process that fails while the instance is starting) ends everything. If this process itself is
killed, the kernel kills its children (see ``process``).
"""

import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import click

from salesviews.errors import SalesviewsError, SettingError
from salesviews.machine import process

STOP_S = 13.0
"""What all processes together have to end after a signal; stragglers are killed."""

STAGE_RESERVE_S = 2.0
"""Of ``STOP_S``, what every stage that is still to be stopped keeps for itself when the one before it is slow."""

BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Waits before a process is started again: the first the first time, the last from then on."""

HEALTHY_S = 30.0
"""A process that stayed up that long begins with the first wait again."""

NAME = "salesviews"
"""Under which the supervisor's own lines are printed."""

_READY_INTERVAL_S = 0.25
_LONGEST_LINE_BYTES = 1024 * 1024
_TAIL_LINES = 8


@dataclass(frozen=True, eq=False)
class Part:
    """One process of the instance.

    :param stage: parts start by stage, the lowest first, and stop the other way
    :param commands: its command lines, one after the other: the next starts when one ended with status 0
    :param variables: its environment beside that of all
    :param ends: the last command's status 0 is its normal end; otherwise it runs until it is stopped
    :param ready_url: an address that answers 200 once the part is ready, upon which ``ready_line`` is printed
    """

    name: str
    stage: int
    commands: tuple[tuple[str, ...], ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    ends: bool = False
    ready_url: str = ""
    ready_line: str = ""


def run(parts: Sequence[Part], environment: Mapping[str, str]) -> None:
    """Run the parts until SIGINT, SIGTERM or SIGHUP; a second SIGINT kills them at once.

    1. Start stage by stage. The next one starts when the parts of this one that end have ended. Until the last stage
       has been started, a part that fails ends everything.
    2. Keep the parts running until a signal or a failure.
    3. Stop stage by stage.

    :param environment: of all parts
    :raises SalesviewsError: after everything is stopped, if a part cannot run
    """
    asyncio.run(_Supervisor(parts, environment).run())


class _Supervisor:
    def __init__(self, parts: Sequence[Part], environment: Mapping[str, str]) -> None:
        self._stages = {
            stage: [part for part in parts if part.stage == stage] for stage in {part.stage for part in parts}
        }
        self._width = max(len(name) for name in (NAME, *(part.name for part in parts)))
        self._environment = environment
        self._children: dict[Part, asyncio.subprocess.Process] = {}
        self._keepers: dict[Part, asyncio.Task[None]] = {}
        self._is_starting = True
        self._stopping = asyncio.Event()
        self._interrupts = 0
        self._failure: BaseException | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal, number)
        starter = asyncio.create_task(self._start())
        try:
            await self._stopping.wait()
        finally:
            self._stopping.set()
            starter.cancel()
            await self._stop()
        if self._failure:
            raise self._failure

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._stopping.is_set():
            self._say(NAME, f"Stopping ({number.name})")
        self._stopping.set()
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            for child in self._children.values():
                _send(child, signal.SIGKILL)

    def _say(self, name: str, line: str) -> None:
        click.echo(f"{name:<{self._width}} | {line}")

    def _on_end(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (defect := keeper.exception()):
            self._fail(defect)

    def _fail(self, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._stopping.set()

    async def _start(self) -> None:
        for stage in sorted(self._stages):
            for part in self._stages[stage]:
                self._keepers[part] = asyncio.create_task(self._keep(part))
                self._keepers[part].add_done_callback(self._on_end)
            ending = [self._keepers[part] for part in self._stages[stage] if part.ends]
            if ending and stage != max(self._stages):
                await asyncio.wait(ending)
        self._is_starting = False

    async def _stop(self) -> None:
        stop_at = asyncio.get_running_loop().time() + STOP_S
        for later, stage in reversed(list(enumerate(sorted(self._stages)))):
            keepers = {self._keepers[part]: part for part in self._stages[stage] if part in self._keepers}
            if not keepers:
                continue
            for part in keepers.values():
                self._send(part, signal.SIGTERM)
            grace_s = stop_at - later * STAGE_RESERVE_S - asyncio.get_running_loop().time()
            _, stragglers = await asyncio.wait(keepers, timeout=max(0.1, grace_s))
            for straggler in stragglers:
                self._say(NAME, f"{keepers[straggler].name} does not stop: killing it")
                self._send(keepers[straggler], signal.SIGKILL)
            await asyncio.wait(keepers)

    def _send(self, part: Part, number: signal.Signals) -> None:
        if child := self._children.get(part):
            _send(child, number)

    async def _keep(self, part: Part) -> None:
        """Run a part, again and again, until its normal end, a failure, or the end of all."""
        loop = asyncio.get_running_loop()
        announcer = asyncio.create_task(self._announce(part)) if part.ready_url else None
        commands = list(part.commands)
        failures = 0
        while commands and not self._stopping.is_set():
            started_at = loop.time()
            returncode, tail = await self._run_once(part, commands[0])
            if self._stopping.is_set():
                break
            if returncode == 0 and (part.ends or len(commands) > 1):
                del commands[0]
                failures = 0
                continue
            ending = f"{part.name} ended {process.ending(returncode)}"
            if returncode == SettingError.exit_status:
                self._fail(SettingError(f"{ending}, which starting it again would not change: {tail}"))
            elif self._is_starting:
                self._fail(SalesviewsError(f"{ending} before the rest was started: {tail}"))
            else:
                failures = 0 if loop.time() - started_at >= HEALTHY_S else failures
                wait_s = BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)]
                failures += 1
                self._say(NAME, f"{ending}; starting it again in {wait_s:g} s")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), wait_s)
        if announcer:
            announcer.cancel()

    async def _run_once(self, part: Part, command: Sequence[str]) -> tuple[int, str]:
        """Run a command to its end, printing its lines; gives its status and the last thing that it said."""
        child = await asyncio.create_subprocess_exec(
            *command,
            env={**self._environment, **part.variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LONGEST_LINE_BYTES,
            **process.options(),
        )
        self._children[part] = child
        if self._stopping.is_set():  # while the child was being started: whoever stops did not see it
            _send(child, signal.SIGTERM)
        tail = await self._print(part, child)
        returncode = await child.wait()
        del self._children[part]
        return returncode, tail

    async def _print(self, part: Part, child: asyncio.subprocess.Process) -> str:
        assert child.stdout is not None
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        while True:
            try:
                line = await child.stdout.readline()
            except ValueError:
                line = f"(a line of more than {_LONGEST_LINE_BYTES} bytes)\n".encode()
            if not line:
                return "\n".join(tail)
            tail.append(line.decode("utf-8", "replace").rstrip())
            self._say(part.name, tail[-1])

    async def _announce(self, part: Part) -> None:
        while not await _is_ok(part.ready_url):
            await asyncio.sleep(_READY_INTERVAL_S)
        self._say(NAME, part.ready_line)


def _send(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)


async def _is_ok(url: str) -> bool:
    address = urlsplit(url)
    assert address.hostname is not None
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(f"GET {address.path} HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split()[1:2] == [b"200"]
