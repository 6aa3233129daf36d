"""How fast `salesviews audit` and `salesviews rebuild` go through Bronze, and how much memory they take.

    python benchmarks/recount.py HOME [--runs 1]

HOME is the folder of an instance (`SALESVIEWS_HOME`) that has counted sales. Both read the same messages, so that the
last column is their ratio: what finding the total order, and writing nothing (`--dry-run`), costs beside comparing.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

COMMANDS: dict[str, Sequence[str]] = {
    "audit": ("audit", "--json"),
    "rebuild --dry-run": ("rebuild", "--dry-run", "--json"),
}


@dataclass(frozen=True)
class Run:
    messages: int
    wall_s: float
    cpu_s: float
    peak_mb: float


def run(command: Sequence[str], home: str) -> Run:
    started = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "salesviews", *command],
        env={**os.environ, "SALESVIEWS_HOME": home},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    result = json.loads(child.stdout.read())
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"salesviews {' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}: {result}")
    return Run(result["messages"], time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("home")
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    runs: dict[str, list[Run]] = {name: [] for name in COMMANDS}
    for _ in range(given.runs):
        for name, command in COMMANDS.items():
            runs[name].append(run(command, given.home))
    print(f"{'':<18} {'messages':>12} {'wall s':>8} {'cpu s':>8} {'a second':>10} {'peak MB':>8} {'ratio':>6}")
    first = median(each.wall_s for each in runs["audit"])
    for name, made in runs.items():
        wall_s, cpu_s = median(each.wall_s for each in made), median(each.cpu_s for each in made)
        print(
            f"{name:<18} {made[0].messages:>12,} {wall_s:>8.1f} {cpu_s:>8.1f} {made[0].messages / wall_s:>10,.0f} "
            f"{max(each.peak_mb for each in made):>8.0f} {wall_s / first:>6.2f}"
        )


if __name__ == "__main__":
    main()
