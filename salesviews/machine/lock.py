"""A lock on a folder, held by a process: gone when the process is, however it ended."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HANDOVER_S = 5.0
"""How long a process that was killed a moment ago may still hold it."""


class HeldError(Exception):
    """Another process holds the lock.

    :param holder: its process id, as far as it is known
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def held(path: Path, patience_s: float = HANDOVER_S) -> Iterator[int]:
    """Hold the lock file at ``path`` (made if need be); gives its descriptor, which a child may inherit to hold it too.

    :raises HeldError: if another process still holds it after ``patience_s``
    """
    import fcntl

    deadline = time.monotonic() + patience_s
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    raise HeldError(file.read().strip() or "unknown") from None
                time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()
