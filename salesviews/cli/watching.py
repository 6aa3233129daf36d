"""How it goes: for a person, and for an orchestrator."""

import json

import click

from salesviews import pulse
from salesviews.cli.command import begin, commands


@commands.command(settings=("HOST", "PORT", "WEB_TOKEN"), examples=("salesviews status --json | jq .data.lag",))
@click.option("--json", "as_json", is_flag=True, help="The web server's answer as it is.")
def status(as_json: bool) -> None:
    """Show how a running instance is: snapshot age, lag, processes, tables."""
    from salesviews import status

    body = status.fetch(begin())
    click.echo(json.dumps(body, indent=2, ensure_ascii=False) if as_json else status.text(body))


@commands.command(
    settings=("HOME", "HOST", "PORT", "INSTANCE"),
    examples=("salesviews probe live ingest", "SALESVIEWS_INSTANCE=views-0 salesviews probe ready views"),
)
@click.argument("asked", metavar="live|ready", type=click.Choice(pulse.PROBES))
@click.argument("process", metavar="ingest|views|web", type=click.Choice(pulse.PROCESSES))
def probe(asked: str, process: str) -> None:
    """Tell whether a process of this machine is live or ready: live|ready ingest|views|web.

    For an orchestrator, with the settings of the process that it asks about. Live is a process that makes progress: one
    that is not should be started again. Ready is one that does its work, or stands by to take over. The exit status is
    0 when it is, and 1 when it is not.
    """
    click.echo(pulse.probe(begin(), process, asked))
