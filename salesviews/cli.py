"""The command line."""

import logging
import sys

import click

from salesviews import settings
from salesviews.errors import SalesviewsError


@click.group()
def commands() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


@commands.command()
def broker() -> None:
    """Run the embedded Kafka in the foreground."""
    from salesviews import broker

    broker.run(settings.read())


def main() -> None:
    try:
        commands()
    except SalesviewsError as error:
        click.echo(f"salesviews: {error}", err=True)
        sys.exit(error.exit_status)
