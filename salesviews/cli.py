"""The command line: one command a process of the pipeline, and those that operate all of them.

It alone knows every package; what a command runs is imported when it runs, after logging is set up.
"""

import contextlib
import json
import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import click

from salesviews import __version__, pulse
from salesviews import settings as settings_module
from salesviews.errors import (
    ExpiredError,
    LakeError,
    LineageError,
    ParameterError,
    SalesviewsError,
    UnknownSnapshotError,
)
from salesviews.settings import Setting, Settings
from salesviews.simulation import generate

if TYPE_CHECKING:
    from salesviews.lake import Lake
    from salesviews.manifest import Manifest


def _settings() -> Settings:
    """The settings, with logging set up by them: each command begins with this."""
    settings = settings_module.read()
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if settings.log_level != "debug":  # Python's warnings are for who develops this, or a package that it uses
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)
    return settings


class _Command(click.Command):
    """A command whose help names the settings that matter to it, and examples.

    :param settings: names of rows of ``SETTINGS``
    """

    def __init__(self, *args: Any, settings: Sequence[str] = (), examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = settings
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        _write_settings(formatter, [row for row in settings_module.SETTINGS if row.name in self.settings])
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class _Group(click.Group):
    command_class = _Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        _write_settings(formatter, settings_module.SETTINGS)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


def _write_settings(formatter: click.HelpFormatter, rows: Sequence[Setting]) -> None:
    with formatter.section("Settings (environment variables)"):
        formatter.write_dl([(row.variable, f"{row.help}{f' [{row.default}]' if row.default else ''}") for row in rows])


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


_LAKE = ("LAKE", "S3_ENDPOINT", "S3_REGION", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
_CLIENT = (
    *("BROKER", "KAFKA_OPTIONS", "KAFKA_SECURITY_PROTOCOL", "KAFKA_CA_FILE", "KAFKA_CERTIFICATE_FILE"),
    *("KAFKA_KEY_FILE", "KAFKA_SASL_MECHANISM", "KAFKA_USERNAME", "KAFKA_PASSWORD", "KAFKA_PORT", "TOPIC"),
)
_INSTANCE = (
    "HOME",
    "BROKER",
    "KAFKA_PORT",
    "TOPIC",
    "PARTITIONS",
    "HOST",
    "PORT",
    "WEB_TOKEN",
    "METRICS_PORT",
    "INGEST_PROCESSES",
)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
)
@click.version_option(__version__, prog_name="salesviews")
def commands() -> None:
    """Sales in a Kafka topic become materialized views, a Delta lake and a dashboard, each sale counted once.

    `salesviews demo` shows all of it with simulated sales; `salesviews up` runs it for your own. The other commands are
    its single processes, and `status`.
    """


@commands.command(settings=_INSTANCE, examples=("salesviews demo --rate 200", "SALESVIEWS_PORT=8080 salesviews demo"))
@click.option("--rate", default=1.0, metavar="R", help="Live sales a second, after a history of a week.")
@_sales_options
def demo(rate: float, seed: int, dirty: float, late: float) -> None:
    """Run everything on simulated sales, until Ctrl-C.

    Starts on a fresh folder (./data/demo, deleted at the next demo), or on the one that SALESVIEWS_HOME names, which is
    kept.
    """
    from salesviews.machine import instance

    _settings()
    instance.demo(os.environ, rate, ("--seed", f"{seed}", "--dirty", f"{dirty:g}", "--late", f"{late:g}"))


@commands.command(settings=_INSTANCE, examples=("salesviews up", "SALESVIEWS_BROKER=kafka.example:9092 salesviews up"))
def up() -> None:
    """Run everything but the generator, until Ctrl-C.

    Starts the embedded Kafka (unless SALESVIEWS_BROKER names another), the ingest processes, the views and the web
    server; starts again what dies.
    """
    from salesviews.machine import instance

    instance.up(_settings())


@commands.command(settings=("HOME", "KAFKA_PORT"), examples=("SALESVIEWS_KAFKA_PORT=19092 salesviews broker",))
@click.option("--download", is_flag=True, help="Only download it, for a first start without a network.")
def broker(download: bool) -> None:
    """Run the embedded Kafka.

    A real Apache Kafka on the loopback, with its data in the home folder. The first start downloads it (45 MB).
    """
    from salesviews.machine import broker

    settings = _settings()
    if download:
        broker.download()
    else:
        broker.run(settings)


@commands.command(settings=(*_CLIENT, "PARTITIONS"))
@click.option("--wait", "timeout_s", default=60.0, metavar="SECONDS", help="How long Kafka may take to answer.")
def topics(timeout_s: float) -> None:
    """Create the Kafka topics that do not exist, as soon as Kafka answers."""
    from salesviews import generation, topics
    from salesviews.lake import Lake
    from salesviews.machine import broker

    settings = _settings()
    broker.wait_until_ready(settings, timeout_s)
    topics.create(settings, generation.current(Lake(settings.lake, settings.lake_options)))


@commands.command(
    settings=("HOME", *_LAKE, *_CLIENT, "PARTITIONS", "BRONZE_INTERVAL_S", "INSTANCE", "HOST", "METRICS_PORT")
)
def ingest() -> None:
    """Run an ingest process: raw sales to Bronze, typed batches, dead letters.

    Several share the partitions of the topic. It stops on SIGTERM, with what it read committed.
    """
    settings = _settings()
    from processors import ingest

    ingest.run(settings)


@commands.command(
    settings=("HOME", *_LAKE, *_CLIENT, "SNAPSHOT_INTERVAL_S", "DEDUP_DAYS", "INSTANCE", "HOST", "METRICS_PORT")
)
def views() -> None:
    """Run the views process: typed batches to clean sales, views, snapshots.

    One works; a second one stands by. It stops on SIGTERM, with a last snapshot.
    """
    settings = _settings()
    from processors import views

    views.run(settings)


@commands.command(settings=("HOME", *_LAKE, "HOST", "PORT", "WEB_TOKEN", *_CLIENT))
def web() -> None:
    """Run the web server: dashboard and JSON API, from the snapshots."""
    from web import server

    server.run(_settings())


@commands.command(
    "generate",
    settings=(*_CLIENT, "PARTITIONS"),
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
        _settings(), sales=sales, rate=rate, seed=seed, dirty_pct=dirty, late_pct=late, days=days, first_id=first_id
    )


@commands.command(settings=("HOST", "PORT", "WEB_TOKEN"), examples=("salesviews status --json | jq .data.lag",))
@click.option("--json", "as_json", is_flag=True, help="The web server's answer as it is.")
def status(as_json: bool) -> None:
    """Show how a running instance is: snapshot age, lag, processes, tables."""
    from salesviews import status

    body = status.fetch(_settings())
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
    click.echo(pulse.probe(_settings(), process, asked))


@commands.command(
    settings=("HOME", *_LAKE, "DEDUP_DAYS"),
    examples=(
        "salesviews audit                  everything; exit status 0 if it holds, 1 if not",
        "salesviews audit --sample 1       a hundredth of the messages, in a few seconds",
        "salesviews audit --json | jq .differences",
    ),
)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
@click.option(
    "--sample",
    "sample_pct",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="PCT",
    help="Check a random share of the messages, and no view. Default: everything.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31), metavar="S", help="Which messages a sample has. Default: random."
)
@click.option(
    "--shown", default=20, type=click.IntRange(1), metavar="N", help="How many differences of a table are named."
)
@click.option(
    "--wait", "wait_s", default=60.0, metavar="SECONDS", help="How long Bronze may take to reach the snapshot."
)
@click.option(
    "--memory", "memory_mb", default=1024, type=click.IntRange(256), metavar="MB", help="Memory that DuckDB may take."
)
def audit(as_json: bool, sample_pct: float | None, seed: int | None, shown: int, wait_s: float, memory_mb: int) -> None:
    """Prove that the figures are what Bronze's messages give.

    Use it before figures are signed, after an incident or a restored backup, and now and then from a timer. It computes
    every table of the newest snapshot again from the raw messages, and names each difference with both values and a
    message to look at.

    It only reads the tables, so it can run beside a live pipeline, on a stopped one, and on a copy of the lake without
    Kafka. It needs as much temporary space as Bronze takes (TMPDIR). The exit status is 0 only when all holds, 1 when
    there are differences, 2 when it could not run. The last result is kept beside the tables, and `/api/status` shows
    it.
    """
    from salesviews import audit
    from salesviews.audit import audit_result
    from salesviews.lake import Lake
    from sinks.bronze import stream_name

    settings = _settings()
    options = audit.Options(
        dedup_days=settings.dedup_days,
        sample_pct=sample_pct,
        seed=secrets.randbelow(2**31) if seed is None else seed,
        shown=shown,
        wait_s=wait_s,
        memory_mb=memory_mb,
    )
    source = Lake(settings.lake, settings.lake_options)
    result = audit.run(source, options, stream_name)
    if as_json:
        click.echo(json.dumps(audit_result.as_json(result), indent=2, ensure_ascii=False))
    else:
        click.echo(audit_result.text(result))
    audit_result.write(result, source.place)
    sys.exit(0 if result.holds else 1)


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
    settings=("HOME", *_LAKE, *_CLIENT),
    examples=(
        "salesviews replay                              everything that Kafka holds and Bronze lacks",
        "salesviews replay --from 2026-01-31            what Kafka received since then, in less time",
        "salesviews replay --drop-unreadable            after `audit` named a damaged file of Bronze",
        "salesviews replay --json | jq '.partitions[] | select(.gone > 0)'",
    ),
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

    The exit status is 0 when Bronze has all that it, Kafka or Silver knows of, 1 when messages are gone for good, 2
    when it could not run, or not to its end.
    """
    settings = _settings()
    from processors import replay
    from salesviews import replay_result

    result = replay.run(settings, replay.Options(since, drop_unreadable, memory_mb))
    if as_json:
        click.echo(json.dumps(replay_result.as_json(result), indent=2, ensure_ascii=False))
    else:
        click.echo(replay_result.text(result))
    sys.exit(0 if result.complete else 1)


@commands.command(
    settings=("HOME", *_LAKE, *_CLIENT, "DEDUP_DAYS"),
    examples=(
        "salesviews rebuild --dry-run      what it would change, and nothing else",
        "salesviews rebuild                the same, and the new figures replace the old ones",
    ),
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
    printed. It needs as much temporary space as Bronze takes (TMPDIR). Interrupted anywhere, it can be run again.

    If Bronze lacks messages that the figures know, it refuses: run `salesviews replay` first, which fills Bronze.
    """
    from processors import rebuild, rebuild_result
    from salesviews.lake import Lake
    from salesviews.machine import broker

    settings = _settings()
    if is_abandoned:
        kept = rebuild.abandon(Lake(settings.lake, settings.lake_options))
        click.echo(f"Generation {kept.generation} goes on, from snapshot {kept.id}.")
        return
    options = rebuild.Options(memory_mb, wait_s, shown, is_dry, accepts_loss)
    with contextlib.nullcontext() if is_dry else broker.running(settings):
        result = rebuild.run(settings, options)
    if as_json:
        click.echo(json.dumps(rebuild_result.as_json(result), indent=2, ensure_ascii=False))
    else:
        click.echo(rebuild_result.text(result))


@commands.command(
    settings=("HOME", *_LAKE, "RETENTION_DAYS", "RETENTION_STEP_S"),
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

    settings = _settings()
    source = Lake(settings.lake, settings.lake_options)
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
    if as_json:
        click.echo(json.dumps(maintenance_result.as_json(result), indent=2, ensure_ascii=False))
    else:
        click.echo(maintenance_result.text(result))
    sys.exit(0 if result.is_done else 1)


@commands.command(
    settings=("HOME", *_LAKE, "RETENTION_DAYS", "RETENTION_STEP_S"),
    examples=(
        "salesviews lineage ventes_par_pays --key pays=France --window 2025-12-22T10:00",
        "salesviews lineage top_produits --key produit_nom=Laptop --key categorie=Electronique",
        "salesviews lineage hourly_sales --window 2025-12-22T10:00 --json | jq -r .behind.messages[].raw.payload.data",
        "salesviews lineage --vente 42",
        "salesviews lineage --position ventes/0/8472",
    ),
)
@click.argument("view", required=False)
@click.option(
    "--key", "keys", multiple=True, metavar="NAME=VALUE", help="A key column and its value, exactly; repeatable."
)
@click.option("--window", metavar="START", help="Start of the window in UTC: 2025-12-22T10:00, or a day.")
@click.option(
    "--limit", default=20, type=click.IntRange(1, 100_000), metavar="N", help="How many messages of each list."
)
@click.option("--after", metavar="CURSOR", help="The next page of what is behind the figure.")
@click.option("--left-out-after", metavar="CURSOR", help="The next page of what was left out.")
@click.option("--vente", "vente_id", metavar="ID", help="The story of a sale instead, by its vente_id.")
@click.option("--position", metavar="TOPIC/PARTITION/OFFSET", help="The story of one message instead.")
@click.option("--as-of", metavar="ID|TIME", help="At an earlier snapshot: its id, or a time. Default: the newest.")
@click.option("--json", "as_json", is_flag=True, help="The answer as one JSON object.")
@click.option(
    "--memory", "memory_mb", default=1024, type=click.IntRange(256), metavar="MB", help="Memory that DuckDB may take."
)
def lineage(
    view: str | None,
    keys: Sequence[str],
    window: str | None,
    limit: int,
    after: str | None,
    left_out_after: str | None,
    vente_id: str | None,
    position: str | None,
    as_of: str | None,
    as_json: bool,
    memory_mb: int,
) -> None:
    """Show the sales behind a figure of VIEW, and their raw messages; or the story of one sale.

    Use it when somebody asks where a number comes from, or whether a sale happened exactly this way. VIEW is a view or
    a roll-up; the figure is chosen by all of its key columns, and by its window where it has one. Every sale behind it
    is listed with its position in Kafka, its times, and its payload byte for byte; then the duplicates and rejected
    messages that one would look for in it, and why they do not count. What is listed, on all pages, adds up to the
    figure.

    --vente and --position tell what became of a sale or a message: each payload is parsed again, and the figures that
    it is part of are named.

    It only reads the lake, at its newest snapshot or at the one that --as-of names. The exit status is 0 when all is
    proved, 1 when a figure is not what is behind it, 2 when there is no such figure or it could not be told.
    """
    from salesviews import lineage
    from salesviews.lake import Lake
    from salesviews.lineage import lineage_answer, lineage_text, story
    from salesviews.lineage.queries import Bounds

    settings = _settings()
    if sum(each is not None for each in (view, vente_id, position)) != 1:
        raise click.UsageError("Give one of VIEW, --vente and --position.")
    if view is None and (keys or window or after or left_out_after):
        raise click.UsageError("--key, --window, --after and --left-out-after are for the lineage of a VIEW.")
    key = _key(keys)
    source = Lake(settings.lake, settings.lake_options)
    told: lineage.Lineage | story.Story
    with tempfile.TemporaryDirectory(prefix="salesviews-lineage-") as folder:
        bounds = Bounds(memory_mb=memory_mb, spill_folder=folder)
        try:
            snapshot = _snapshot(settings, source, as_of)
            if vente_id is not None:
                told = story.of_sale(source, snapshot, vente_id, bounds)
            elif position is not None:
                told = story.of_position(source, snapshot, position, bounds)
            else:
                page = lineage.Page(limit, after, left_out_after)
                told = lineage.of_figure(source, snapshot, view, key, window, page, bounds)
        except (LakeError, ExpiredError, UnknownSnapshotError) as error:
            raise LineageError(f"The lineage cannot be told: {error}") from error
    if as_json:
        click.echo(
            lineage_answer.json_text({"snapshot": lineage_answer.of_snapshot(snapshot)} | lineage_answer.of(told))
        )
    else:
        click.echo(lineage_text.of(told))
    sys.exit(0 if told.holds else 1)


def _snapshot(settings: Settings, source: "Lake", as_of: str | None) -> "Manifest":
    """The manifest of the snapshot that an option names; without one, the newest."""
    from salesviews import manifest
    from salesviews.maintenance import history
    from salesviews.maintenance.retention import Retention

    if as_of is None:
        newest = manifest.read(source)
        if newest is None:
            raise LineageError(f"{source.root} has no snapshot yet. `salesviews views` writes one.")
        return newest
    try:
        asked = history.parse(as_of)
    except ValueError as error:
        raise ParameterError(history.PARAMETER, f"--as-of {as_of!r} cannot be used: it takes {error}.") from None
    retention = Retention(settings.retention_days, settings.retention_step_s)
    return history.History(source, retention, lambda: datetime.now(UTC)).resolve(asked)


def _key(texts: Sequence[str]) -> dict[str, str]:
    """The texts ``NAME=VALUE`` of an option."""
    key: dict[str, str] = {}
    for text in texts:
        name, is_pair, value = text.partition("=")
        if not is_pair or name in key:
            raise ParameterError(
                "key", f"--key {text!r} cannot be used: it takes NAME=VALUE, such as pays=France, once for each name."
            )
        key[name] = value
    return key


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
