"""The processes of the pipeline, each a command; and those that run all of them on one machine."""

import os
from collections.abc import Callable

import click

from salesviews.cli.command import CLIENT, INSTANCE, LAKE, begin, commands
from salesviews.simulation import generate


def _sales_options(command: Callable[..., None]) -> Callable[..., None]:
    """What the simulated sales are like: the options that ``demo`` and ``generate`` share."""
    options = (
        click.option("--seed", default=generate.DEFAULT_SEED, metavar="S", help="The same seed makes the same sales."),
        click.option(
            "--dirty",
            default=generate.DEFAULT_DIRTY_PCT,
            metavar="PCT",
            help="Share of messages that do not count: duplicates, and defects of every kind.",
        ),
        click.option("--late", default=generate.DEFAULT_LATE_PCT, metavar="PCT", help="Share of sales that are late."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@commands.command(settings=INSTANCE, examples=("salesviews demo --rate 200", "SALESVIEWS_PORT=8080 salesviews demo"))
@click.option("--rate", default=1.0, metavar="R", help="Live sales a second, after a history of a week.")
@_sales_options
def demo(rate: float, seed: int, dirty: float, late: float) -> None:
    """Run everything on simulated sales, until Ctrl-C.

    Starts on a fresh folder (./data/demo, deleted at the next demo), or on the one that SALESVIEWS_HOME names, which is
    kept.
    """
    from salesviews.machine import instance

    begin()
    instance.demo(os.environ, rate, ("--seed", f"{seed}", "--dirty", f"{dirty:g}", "--late", f"{late:g}"))


@commands.command(settings=INSTANCE, examples=("salesviews up", "SALESVIEWS_BROKER=kafka.example:9092 salesviews up"))
def up() -> None:
    """Run everything but the generator, until Ctrl-C.

    Starts the embedded Kafka (unless SALESVIEWS_BROKER names another), the ingest processes, the views and the web
    server; starts again what dies.
    """
    from salesviews.machine import instance

    instance.up(begin())


@commands.command(settings=("HOME", "KAFKA_PORT"), examples=("SALESVIEWS_KAFKA_PORT=19092 salesviews broker",))
@click.option("--download", is_flag=True, help="Only download it, for a first start without a network.")
def broker(download: bool) -> None:
    """Run the embedded Kafka.

    A real Apache Kafka on the loopback, with its data in the home folder. The first start downloads it (45 MB).
    """
    from salesviews.machine import broker

    settings = begin()
    if download:
        broker.download()
    else:
        broker.run(settings)


@commands.command(settings=("HOME", *LAKE, *CLIENT, "PARTITIONS"))
@click.option("--wait", "timeout_s", default=60.0, metavar="SECONDS", help="How long Kafka may take to answer.")
def topics(timeout_s: float) -> None:
    """Create the Kafka topics that do not exist, as soon as Kafka answers."""
    from salesviews import generation, topics
    from salesviews.lake import Lake
    from salesviews.machine import broker

    settings = begin()
    broker.wait_until_ready(settings, timeout_s)
    topics.create(settings, generation.current(Lake.of(settings)))


@commands.command(
    settings=(
        "HOME",
        *LAKE,
        *CLIENT,
        "PARTITIONS",
        "BRONZE_INTERVAL_S",
        "DEDUP_DAYS",
        "INSTANCE",
        "HOST",
        "METRICS_PORT",
    )
)
def ingest() -> None:
    """Run an ingest process: raw sales to Bronze, typed batches, dead letters.

    Several share the partitions of the topic. It stops on SIGTERM, with what it read committed.
    """
    settings = begin()
    from processors import ingest

    ingest.run(settings)


@commands.command(
    settings=(
        *("HOME", *LAKE, *CLIENT, "PARTITIONS", "SNAPSHOT_INTERVAL_S", "DEDUP_DAYS"),
        *("INSTANCE", "HOST", "METRICS_PORT"),
    )
)
def views() -> None:
    """Run the views process: typed batches to clean sales, views, snapshots.

    One works; a second one stands by. It stops on SIGTERM, with a last snapshot.
    """
    settings = begin()
    from processors import views

    views.run(settings)


@commands.command(settings=("HOME", *LAKE, "HOST", "PORT", "WEB_TOKEN", *CLIENT, "RETENTION_DAYS", "RETENTION_STEP_S"))
def web() -> None:
    """Run the web server: dashboard and JSON API, from the snapshots."""
    from web import server

    server.run(begin())


@commands.command(
    "generate",
    settings=(*CLIENT, "PARTITIONS"),
    examples=(
        "salesviews generate --sales 1000000 --days 30    a month of sales, as fast as possible",
        "salesviews generate --rate 500                   live sales, until Ctrl-C",
    ),
)
@click.option("--sales", type=int, metavar="N", help="Messages to send, dirty ones included; default: until stopped.")
@click.option("--rate", default=0.0, metavar="R", help="Messages a second; 0 is as fast as possible.")
@click.option(
    "--days",
    type=float,
    metavar="D",
    help="Spread the sales over the last D days; 0 is live. "
    f"Default: {generate.DEFAULT_HISTORY_DAYS:g} with --sales, otherwise live.",
)
@_sales_options
@click.option("--first-id", type=int, metavar="ID", help="vente_id of the first sale; default: one never used.")
def generate_command(
    sales: int | None,
    rate: float,
    days: float | None,
    seed: int,
    dirty: float,
    late: float,
    first_id: int | None,
) -> None:
    """Send simulated sales to the topic: a history, or live.

    They are believable (hours, weekdays, popular products, returning customers), and dirty in every way that the
    pipeline knows.
    """
    generate.run(
        begin(), sales=sales, rate=rate, seed=seed, dirty_pct=dirty, late_pct=late, days=days, first_id=first_id
    )
