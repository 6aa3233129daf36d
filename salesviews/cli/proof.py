"""Whether the figures are right, and where one of them comes from."""

import secrets
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from salesviews.cli.command import LAKE, begin, commands, tell
from salesviews.errors import (
    AuditError,
    ExpiredError,
    LakeError,
    LineageError,
    ParameterError,
    UnknownSnapshotError,
)
from salesviews.settings import Settings

if TYPE_CHECKING:
    from salesviews.lake import Lake
    from salesviews.manifest import Manifest


@commands.command(
    settings=("HOME", *LAKE, "DEDUP_DAYS"),
    examples=(
        "salesviews audit                  everything; exit status 0 if it holds, 1 if not",
        "salesviews audit --sample 1       a hundredth of the messages, in a few seconds",
        "salesviews audit --json | jq .differences",
    ),
    stopped=lambda: "The audit says nothing about the figures; the last result is as it was.",
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
    Kafka. It needs as much temporary space as Bronze takes (TMPDIR). The last result is kept beside the tables (of a
    sample only where it found differences), and `/api/status` shows it.

    The exit status is of the figures alone: 0 only when all holds, 1 when there are differences, 2 when that could not
    be told (as where a sample had no message in it). A result that cannot be kept, as on a copy that is only read, is
    an error that is named, and changes no status.
    """
    from salesviews import audit
    from salesviews.audit import audit_result
    from salesviews.lake import Lake
    from sinks.bronze import stream_name

    settings = begin()
    options = audit.Options(
        dedup_days=settings.dedup_days,
        sample_pct=sample_pct,
        seed=secrets.randbelow(2**31) if seed is None else seed,
        shown=shown,
        wait_s=wait_s,
        memory_mb=memory_mb,
    )
    source = Lake.of(settings)
    result = audit.run(source, options, stream_name)
    tell(result, audit_result, as_json)
    try:
        audit_result.write(result, source.place)
    except AuditError as error:
        click.echo(f"salesviews: {error}", err=True)
    sys.exit(0 if result.holds else 1)


@commands.command(
    settings=("HOME", *LAKE, "RETENTION_DAYS", "RETENTION_STEP_S"),
    examples=(
        "salesviews lineage ventes_par_pays --key pays=France --window 2025-12-22T10:00",
        "salesviews lineage top_produits --key produit_nom=Laptop --key categorie=Electronique",
        "salesviews lineage hourly_sales --window 2025-12-22T10:00 --json | jq -r .behind.messages[].raw.payload.data",
        "salesviews lineage --vente 42",
        "salesviews lineage --position ventes/0/8472",
    ),
    stopped=lambda: "Nothing was found out about the figure.",
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
    proved; 1 when a figure is not what is behind it, a payload does not give what Silver says, or Bronze lacks a
    message of it (which may be a moment behind); 2 when there is no such figure or it could not be told. What no
    snapshot covers yet, and positions that Kafka deleted before they were read, are named and change no status.
    """
    from salesviews import lineage
    from salesviews.lake import Lake
    from salesviews.lineage import lineage_answer, lineage_text, story
    from salesviews.lineage.queries import Bounds

    settings = begin()
    if sum(each is not None for each in (view, vente_id, position)) != 1:
        raise click.UsageError("Give one of VIEW, --vente and --position.")
    if view is None and (keys or window or after or left_out_after):
        raise click.UsageError("--key, --window, --after and --left-out-after are for the lineage of a VIEW.")
    key = _key(keys)
    source = Lake.of(settings)
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
    sys.exit(0 if told.is_proved else 1)


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
