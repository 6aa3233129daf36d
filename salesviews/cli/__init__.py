"""The command line: one command a process of the pipeline, and those that operate all of them.

It alone knows every package; what a command runs is imported when it runs, after logging is set up.
"""

import os
import signal
import sys
from typing import NoReturn

import click

from salesviews.cli import processes, proof, recovery, watching  # noqa: F401 - each adds its commands
from salesviews.cli.command import commands
from salesviews.errors import SalesviewsError


def main() -> NoReturn:
    """Run a command; an error that an operator can act on ends with its message and status."""
    if os.getpid() == 1:  # in a container, where the kernel keeps from the first process what it does not handle
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        commands()
    except SalesviewsError as error:
        click.echo(f"salesviews: {error}", err=True)
        sys.exit(error.exit_status)
    sys.exit(0)
