"""``python -m chaos --seconds 600 --seed 1``: see ``chaos.driver``."""

import argparse
import os
import secrets
import shutil
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

from chaos import driver
from chaos.lake_volume import rights


def main() -> None:
    parser = argparse.ArgumentParser(description=driver.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="how long the storm blows")
    parser.add_argument("--seed", type=int, help="of faults, sales and questions; default: a random one")
    given = parser.parse_args()
    with suppress(OSError):  # the report says what is impossible without
        if prefix := rights():
            os.execvp(prefix[0], [*prefix, sys.executable, "-m", "chaos", *sys.argv[1:]])
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="salesviews-chaos-"))
    report = driver.run(given.seconds, seed, folder, partial(print, flush=True))
    print(report.text())
    if report.failures:
        print(f"What the processes wrote is in {folder}.")
        sys.exit(1)
    shutil.rmtree(folder)


main()
