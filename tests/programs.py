"""Child processes that never outlive who started them: the pipeline's, or anything else."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from salesviews import settings as settings_module
from salesviews.machine import process

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 300.0
"""After which something is taken for hung. Nothing that a test proves depends on it: the machine may be busy."""
STOP_S = 15.0
"""What a program has to end that no test looks at any more."""


def clean_environment() -> dict[str, str]:
    """The environment without settings of the person who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings_module.PREFIX)}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1",  # for a broker that lives a minute: half the CPU time
    }


def run_once(command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> tuple[int, str]:
    """The status of a command that ends by itself, and what it wrote; -9 where it had to be killed."""
    child = process.start(command, folder=ROOT, environment=clean_environment() | dict(environment))
    try:
        output, _ = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        output, _ = child.communicate()
    return child.returncode, output


class Program:
    """A child process of a test, ended by its id when the test is over; ``output`` is all that it has written."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path = ROOT) -> None:
        self.log = log
        with log.open("ab") as output:
            self.popen = process.start(
                command, folder=folder, environment=clean_environment() | dict(environment), output=output
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit status, as soon as it ends by itself."""
        return self.popen.wait(timeout_s)

    def terminate(self, timeout_s: float = PATIENCE_S) -> int:
        """SIGTERM, then its exit status."""
        self.popen.terminate()
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.popen.kill()
        self.popen.wait()

    def close(self) -> None:
        try:
            self.terminate(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
