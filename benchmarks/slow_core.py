"""Holds a process to a share of a core, as a cgroup's quota does: stopped and let go on in turns, by signals."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

_PERIOD_S = 0.005
_CREDIT_S = 0.02
"""What a process that waited may use at once."""


def used_s(pid: int) -> float:
    """CPU time of all threads of a process, in nanoseconds' precision.

    :raises OSError: if it has ended
    """
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


class SlowCore(threading.Thread):
    """Holds whichever process is named, until it is released, or for a time at most.

    :param share: of a core, such as 0.1
    :param pid: the process now; None where there is none
    :param longest_s: after which it is let go
    """

    def __init__(self, share: float, pid: Callable[[], int | None], longest_s: float) -> None:
        super().__init__(daemon=True)
        self._share = share
        self._pid = pid
        self._until_s = time.monotonic() + longest_s
        self._released = threading.Event()

    def run(self) -> None:
        while not self._released.is_set() and time.monotonic() < self._until_s:
            if (pid := self._pid()) is None:
                time.sleep(_PERIOD_S)
                continue
            with contextlib.suppress(OSError):
                self._hold(pid)

    def release(self) -> None:
        self._released.set()
        self.join()

    def _hold(self, pid: int) -> None:
        credit_s, before_s, at_s = _CREDIT_S, used_s(pid), time.monotonic()
        is_stopped = False
        try:
            while not self._released.is_set() and time.monotonic() < self._until_s and self._pid() == pid:
                time.sleep(_PERIOD_S)
                spent_s, now_s = used_s(pid), time.monotonic()
                spent_since_s = max(spent_s - before_s, 0.0)  # threads that ended are no longer told
                credit_s = min(credit_s + self._share * (now_s - at_s) - spent_since_s, _CREDIT_S)
                before_s, at_s = spent_s, now_s
                if is_stopped != (credit_s < 0):
                    is_stopped = credit_s < 0
                    os.kill(pid, signal.SIGSTOP if is_stopped else signal.SIGCONT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
