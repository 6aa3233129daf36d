"""What brings back what was lost, and keeps what is there in order."""

import contextlib
import json
import logging
import sys
from datetime import UTC, datetime

import click

from salesviews.cli.command import CLIENT, LAKE, begin, commands, tell
from salesviews.errors import SalesviewsError


class _Since(click.ParamType[datetime | None]):
    """``beginning`` (None), or a time in ISO 8601, which is UTC where it does not say otherwise."""

    name = "since"

    def convert(
        self, value: str | datetime | None, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | None:
        if not isinstance(value, str):
            return value
        if value == "beginning":
            return None
        try:
            since = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither 'beginning' nor a time such as 2026-01-31T12:00", param, ctx)
        return since if since.tzinfo else since.replace(tzinfo=UTC)


@commands.command(
    settings=("HOME", *LAKE, *CLIENT, "PARTITIONS"),
    examples=(
        "salesviews replay                              everything that Kafka holds and Bronze lacks",
        "salesviews replay --from 2026-01-31            what Kafka received since then, in less time",
        "salesviews replay --drop-unreadable            after `audit` named a damaged file of Bronze",
        "salesviews replay --json | jq '.partitions[] | select(.gone > 0)'",
    ),
    stopped=lambda: "What was added is right; run it again for the rest.",
)
@click.option(
    "--from",
    "since",
    type=_Since(),
    default="beginning",
    metavar="TIME",
    help="Look at what Kafka received from then on: `beginning`, or ISO 8601 (UTC).",
)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
@click.option(
    "--drop-unreadable",
    is_flag=True,
    help="Read every file of Bronze whole, and take those that cannot be read out of it (to `_unreadable`).",
)
@click.option(
    "--memory", "memory_mb", default=1024, type=click.IntRange(256), metavar="MB", help="Memory that DuckDB may take."
)
def replay(since: datetime | None, as_json: bool, drop_unreadable: bool, memory_mb: int) -> None:
    """Fill Bronze again from Kafka.

    Use it when Bronze was deleted, wholly or partly, was restored from a backup, or has files that are gone or damaged;
    when ingest ends with a GapError, as after the offsets of its consumer group were reset; and when in doubt: where
    nothing is missing, it changes nothing. It compares the rows of Bronze with Kafka's positions, and reads again only
    what Bronze lacks. Nothing is counted twice.

    It can run beside a live pipeline, beside an ingest process that keeps ending (which then goes on by itself), and
    without any. It can be stopped at any time and run again.

    The exit status is 0 when Bronze has all that it, Kafka or Silver knows of; 1 when messages are gone for good; 2
    when it could not run, or not to its end. Gone are those that Bronze lacks and Kafka has deleted, which a backup of
    Bronze may have; and those that Kafka deleted before they were read, which nothing has: they are told apart as soon
    as views has counted past them (`perdu` in `qualite`), and have status 1 before and after. With --from, what was
    lost before that time is not asked for.
    """
    settings = begin()
    from processors import replay
    from salesviews import replay_result

    result = replay.run(settings, replay.Options(since, drop_unreadable, memory_mb))
    tell(result, replay_result, as_json)
    sys.exit(0 if result.complete else 1)


def _left_by_rebuild() -> str:
    """What an interrupted rebuild leaves, as the newest manifest says."""
    from salesviews import manifest
    from salesviews import settings as settings_module
    from salesviews.lake import Lake

    on = (
        "Run `salesviews rebuild` again; or, where no sales are replaced yet, `salesviews rebuild --abandon`: then the "
        "old generation goes on."
    )
    try:
        newest = manifest.read(Lake.of(settings_module.read()))
    except SalesviewsError as error:
        return f"What is left cannot be told: {error} {on}"
    if newest is None or newest.successor is None:
        served = "no figures are" if newest is None else f"generation {newest.generation} is"
        return f"No rebuild is under way: {served} served, and no process waits."
    return (
        f"Generation {newest.successor} is announced, and not complete: generation {newest.generation} is served, and "
        f"views waits. {on}"
    )


@commands.command(
    settings=("HOME", *LAKE, *CLIENT, "PARTITIONS", "DEDUP_DAYS"),
    examples=(
        "salesviews rebuild --dry-run      what it would change, and nothing else",
        "salesviews rebuild                the same, and the new figures replace the old ones",
    ),
    stopped=_left_by_rebuild,
)
@click.option("--dry-run", "is_dry", is_flag=True, help="Compute and compare, and replace nothing. Needs no Kafka.")
@click.option(
    "--abandon", "is_abandoned", is_flag=True, help="Give up a rebuild that was interrupted: the old figures go on."
)
@click.option(
    "--accept-loss", "accepts_loss", is_flag=True, help="Go on though Bronze lacks messages that were counted."
)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
@click.option("--shown", default=5, type=click.IntRange(0), metavar="N", help="How many changes of a view are named.")
@click.option(
    "--wait", "wait_s", default=60.0, metavar="SECONDS", help="How long Bronze may take to reach the figures."
)
@click.option(
    "--memory", "memory_mb", default=1024, type=click.IntRange(256), metavar="MB", help="Memory that DuckDB may take."
)
def rebuild(
    is_dry: bool, is_abandoned: bool, accepts_loss: bool, as_json: bool, shown: int, wait_s: float, memory_mb: int
) -> None:
    """Compute all figures again from Bronze, and replace the old ones at once.

    Use it when the rules or the views have changed, and when Silver, the state or the internal topics are lost or
    damaged. Start it with the program whose rules should count, beside a running pipeline or on a stopped one.

    The dashboard shows the old figures until the new ones are complete. Meanwhile sales are archived, and no figure
    moves: the views process waits, and goes over by itself, as ingest does. What changes against the old figures is
    printed. It needs as much temporary space as Bronze takes (TMPDIR). Interrupted anywhere, it can be run again; with
    Ctrl-C its exit status is 2, and what is left is said.

    If Bronze lacks messages that the figures know, it refuses: run `salesviews replay` first, which fills Bronze.
    """
    from processors import announcement, rebuild, rebuild_result
    from salesviews.lake import Lake
    from salesviews.machine import broker

    settings = begin()
    if is_abandoned:
        kept = announcement.abandon(Lake.of(settings))
        click.echo(f"Generation {kept.generation} goes on, from snapshot {kept.id}.")
        return
    options = rebuild.Options(memory_mb, wait_s, shown, is_dry, accepts_loss)
    with contextlib.nullcontext() if is_dry else broker.running(settings):
        result = rebuild.run(settings, options)
    tell(result, rebuild_result, as_json)


@commands.command(
    settings=("HOME", *LAKE, "RETENTION_DAYS", "RETENTION_STEP_S"),
    examples=(
        "salesviews maintain --dry-run         what it would delete",
        "salesviews maintain                   once; exit status 0 if there was no problem",
        "salesviews maintain --every 600       as `up` runs it",
    ),
)
@click.option(
    "--every",
    "interval_s",
    type=click.FloatRange(1),
    metavar="SECONDS",
    help="Again and again, with so long a pause. Default: once.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would be done.")
@click.option("--json", "as_json", is_flag=True, help="The result as a JSON object; with --every one a line.")
def maintain(interval_s: float | None, dry_run: bool, as_json: bool) -> None:
    """Keep the lake small and its commits fast; delete history beyond retention.

    `up` runs it every ten minutes. Where the processes run elsewhere, run it from a timer (a cron job, a Kubernetes
    CronJob), at least once an hour: without it, each commit is a little slower than the one before, and nothing is ever
    deleted. Run it by hand when the disk fills.

    It makes checkpoints, cleans up the tables' logs, compacts small files of Bronze and of the clean and rejected
    sales, and deletes data files that no snapshot inside retention needs: every snapshot of the last hour can be asked
    for, and before that the newest of each SALESVIEWS_RETENTION_STEP_S, for SALESVIEWS_RETENTION_DAYS. It runs beside
    live processes, readers, and another of its kind; killed at any point, it goes on the next time. Do not use another
    program's vacuum on these tables: it does not know what earlier snapshots need.

    The exit status is 0 when there was nothing to look at, and 1 when a table was left alone because of a problem,
    which is named.
    """
    from salesviews import maintenance
    from salesviews.lake import Lake
    from salesviews.maintenance import maintenance_result
    from salesviews.maintenance.retention import Retention
    from sinks.appends import writer_properties

    settings = begin()
    source = Lake.of(settings)
    options = maintenance.Options(Retention(settings.retention_days, settings.retention_step_s), is_dry_run=dry_run)

    def show(result: maintenance_result.Result) -> None:
        if as_json:
            click.echo(json.dumps(maintenance_result.as_json(result), ensure_ascii=False))
            return
        logger = logging.getLogger(maintenance.__name__)
        logger.info("%s", maintenance_result.line(result))
        for problem in maintenance_result.problems(result):
            logger.error("%s", problem)

    if interval_s is not None:
        maintenance.run_every(source, options, writer_properties, interval_s, show)
    result = maintenance.run(source, options, writer_properties)
    tell(result, maintenance_result, as_json)
    sys.exit(0 if result.is_done else 1)
