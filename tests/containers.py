"""What a container is told to run, checked against what salesviews declares: its commands, and its settings."""

from collections.abc import Iterable, Sequence

import click

from salesviews import cli
from salesviews.settings import PREFIX, SETTINGS

VARIABLES = frozenset(setting.variable for setting in SETTINGS)


def command_of(arguments: Sequence[str]) -> click.Command:
    """The command that the arguments of the entry point name; raises click's error if it would not take them."""
    name, *rest = arguments
    command = cli.commands.commands[name]
    command.make_context(name, [*rest])
    return command


def unknown_variables(names: Iterable[str]) -> set[str]:
    """Those that look like settings and are none."""
    return {name for name in names if name.startswith(PREFIX)} - VARIABLES
