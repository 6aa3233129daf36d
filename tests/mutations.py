"""Planted defects: each one must be caught by a test.

    make mutations                      all of them
    python tests/mutations.py WORD …    those whose name contains a word

A mutation is a value: a text of a file, what replaces it, and the tests that must fail then. It is applied to a copy of
the tree, never to this one. First the named tests run on the copy as it is, and must pass. A text that is not there
exactly once is an error: the code has moved on, and the mutation must follow. Exits with 1 if a defect survives.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("salesviews", "sinks", "processors", "web", "tests", "pyproject.toml")
FAILED = 1
"""Pytest's exit status where tests failed; another one means that they could not run."""


@dataclass(frozen=True)
class Mutation:
    """A defect.

    :param caught_by: arguments of pytest: the fastest tests that must fail
    """

    name: str
    file: str
    text: str
    replacement: str
    caught_by: tuple[str, ...]


STATE_MACHINE = "tests/integration/test_state_machine.py"

MUTATIONS = (
    Mutation(
        "views adds the sales of one generation to the figures of another",
        "sinks/silver.py",
        "if found.generation != self._generation:",
        "if False:",
        ("tests/processors/test_rebuild.py", "-k", "started_before"),
    ),
    Mutation(
        "a rebuild drops sales that Bronze lacks",
        "processors/rebuild.py",
        "if not self._options.accepts_loss:",
        "if False:",
        ("tests/processors/test_rebuild.py", "-k", "lacks_what_was_counted"),
    ),
    Mutation(
        "a rebuild goes back behind figures whose manifest is damaged",
        "processors/announcement.py",
        "{**found.positions, **before.served}",
        "found.positions",
        ("tests/processors/test_rebuild.py", "-k", "figures_that_cannot_be_read"),
    ),
    Mutation(
        "the closing manifest of a generation is taken for one that says where the sales are",
        "salesviews/maintenance/history.py",
        "if all(name in closing.tables for name in names):",
        "if True:",
        ("tests/salesviews/maintenance/test_history.py", "-k", "passed_over"),
    ),
    Mutation(
        "maintenance deletes what a recent manifest that cannot be read may need",
        "salesviews/maintenance/__init__.py",
        "work.first = named.get(work.table.name, work.log.oldest)",
        "work.first = named.get(work.table.name, work.log.newest)",
        ("tests/salesviews/maintenance/test_maintenance.py", "-k", "damaged_manifest"),
    ),
    Mutation(
        "maintenance deletes what retained manifests that cannot be read may need",
        "salesviews/maintenance/__init__.py",
        "self._sound(lake.TABLES if is_all else (lake.BRONZE, lake.SNAPSHOTS, lake.RETAINED)):",
        "self._sound(lake.TABLES):",
        ("tests/salesviews/maintenance/test_maintenance.py", "-k", "stops_nothing_else"),
    ),
    Mutation(
        "a snapshot that a damaged file may have is said to be kept no more",
        "salesviews/maintenance/history.py",
        "and not each.is_given_up(oldest):",
        "and False:",
        ("tests/salesviews/maintenance/test_maintenance.py", "-k", "stops_nothing_else"),
    ),
    Mutation(
        "a replay hands on nothing that Bronze records",
        "processors/survey.py",
        "return min(self.recorded, max(self.counted, self.low))",
        "return self.recorded",
        ("tests/processors/test_survey.py", "-k", "what_is_read"),
    ),
    Mutation(
        "a process that hangs is taken for live",
        "salesviews/pulse.py",
        "if age_s > LIVE_S:",
        "if False:",
        ("tests/salesviews/test_pulse.py", "-k", "hangs"),
    ),
    Mutation(
        "the pulse that a process left behind is taken for its successor's",
        "salesviews/pulse.py",
        'if _identity(told["pid"]) != {"pid": told["pid"], "started": told["started"]}:',
        "if False:",
        ("tests/salesviews/test_pulse.py", "-k", "successor"),
    ),
    Mutation(
        "a commit to an object store replaces one that is there",
        "salesviews/tables/object_store.py",
        '"aws_conditional_put": "etag", ',
        "",
        ("tests/salesviews/test_settings.py", "-k", "object_store"),
    ),
    Mutation(
        "a client that needs a name goes without",
        "salesviews/settings.py",
        'if protocol.startswith("sasl"):',
        "if False:",
        ("tests/salesviews/test_settings.py", "-k", "credentials"),
    ),
    Mutation(
        "the high-water mark is skipped",
        "processors/counting.py",
        "return rows.slice(int(np.searchsorted(offsets, start)))",
        "return rows",
        ("tests/processors/test_counting.py", "-k", "repeated_or_overlapping"),
    ),
    Mutation(
        "a gap in the typed batches is passed over",
        "processors/positions.py",
        "if interval.start > mark.end:",
        "if False:",
        ("tests/processors/test_positions.py", "-k", "gap"),
    ),
    Mutation(
        "Bronze is committed after the offsets, with the checkpoint that follows",
        "sinks/bronze.py",
        "batches, self._batches = self._batches, defaultdict(list)",
        "batches, self._batches, self._held = self.__dict__.get('_held', {}), defaultdict(list), self._batches",
        ("tests/sinks/test_bronze.py", "-k", "replay_after_a_crash"),
    ),
    Mutation(
        "a hole in Bronze is passed over",
        "sinks/bronze.py",
        "if start > end:",
        "if False:",
        ("tests/sinks/test_bronze.py", "-k", "hole"),
    ),
    Mutation(
        "an append does not record its position",
        "sinks/appends.py",
        "app_transactions=transactions,",
        "app_transactions=[],",
        ("tests/sinks/test_appends.py", "-k", "repeated_and_overlapping"),
    ),
    Mutation(
        "an append goes by path, to a newer version than it compared with",
        "sinks/appends.py",
        "write_deltalake(\n                    handle,",
        "write_deltalake(\n                    lake.uri(table),",
        ("tests/sinks/test_appends.py", "-k", "lost_its_partition"),
    ),
    Mutation(
        "a route that declares nothing is open",
        "web/access.py",
        '"shows", Shows.DATA)',
        '"shows", Shows.OPEN)',
        ("tests/web/test_access.py", "-k", "every_route_that_is_not_open"),
    ),
    Mutation(
        "single customers are data like any other",
        "web/access.py",
        "if endpoint in endpoints.personal(app):",
        "if False:",
        ("tests/web/test_access.py", "-k", "on_the_loopback_only"),
    ),
    Mutation(
        "the right token is let in while wrong ones are slowed",
        "web/access.py",
        "if wait_s := self.wait_s():",
        "if (wait_s := self.wait_s()) > 60:",
        ("tests/web/test_access.py", "-k", "slowly"),
    ),
    Mutation(
        "who comes back is told of the newest snapshot alone what changed",
        "web/events.py",
        "texts.append(self._snapshot_text(newest, _changed(before, newest)))",
        "texts.append(self._snapshot_text(newest, []))",
        ("tests/web/test_events.py", "-k", "missed"),
    ),
    Mutation(
        "a motif is forgotten",
        "salesviews/classification.py",
        'Motif.MONTANT_NEGATIF: "_value_montant < 0"',
        'Motif.MONTANT_NEGATIF: "false"',
        ("tests/salesviews/test_classification.py", "-k", "a_defect_has_its_motif"),
    ),
    Mutation(
        "an amount is rounded from a double",
        "salesviews/classification.py",
        'exact=lambda plain: f"try_cast({plain} AS {money.DECIMAL_SQL})"',
        'exact=lambda plain: f"try_cast(try_cast({plain} AS DOUBLE) AS {money.DECIMAL_SQL})"',
        ("tests/salesviews/test_classification.py", "-k", "money_is_rounded"),
    ),
    Mutation(
        "cents are computed as floats",
        "processors/counting.py",
        'pc.multiply(sales.column("montant"), pa.scalar(100, pa.int8())).cast(pa.int64())',
        'pc.multiply(sales.column("montant").cast(pa.float64()), pa.scalar(100.0)).cast(pa.int64(), safe=False)',
        ("tests/processors/test_counting.py", "-k", "witness"),
    ),
    Mutation(
        "a page whose rows are all in another keeps them",
        "processors/paged_windows.py",
        "self._empty(np.setdiff1d(np.arange(1 << self._depth), pages.numbers(whole.digests, depth)))",
        "pass",
        ("tests/processors/test_paged_windows.py",),
    ),
    Mutation(
        "a sum that wraps is kept",
        "processors/pages.py",
        "if held.dtype != object and (((ours ^ total) & (theirs ^ total)) < 0).any():",
        "if False:",
        ("tests/processors/test_pages.py",),
    ),
    Mutation(
        "keys that share half of their digests are one",
        "processors/pages.py",
        "if (held.digests[1][near] != gained.digests[1])[is_held].any():",
        "if False:",
        ("tests/processors/test_pages.py",),
    ),
    Mutation(
        "what a snapshot owes after a crash is not looked for",
        "processors/views.py",
        "if after < sequence:",
        "if False:",
        ("tests/integration/test_crashes_of_stages.py",),
    ),
    Mutation(
        "rows that a snapshot has, and that were not published when the process died, never are",
        "processors/views.py",
        "after = min(manifest.EMPTY_SEQUENCE if published is None else published, covered)",
        "after = covered",
        (STATE_MACHINE, "--examples", "30"),
    ),
    Mutation(
        "a snapshot has what no checkpoint has committed",
        "sinks/silver.py",
        "        self._takes.append(value)",
        "        self._takes.append(value)\n        self.owe([rows for rows in value.changed if len(rows)])",
        (STATE_MACHINE,),
    ),
    Mutation(
        "it is not asked whether Silver has what was counted",
        "sinks/silver.py",
        "if (wanted := appended.get(table.name, manifest.EMPTY_SEQUENCE)) >= (has or 0):",
        "if False:",
        ("tests/processors/test_views.py",),
    ),
    Mutation(
        "a process tries what ended the one before it once more",
        "processors/take_budget.py",
        "self._checkpoint_bytes = max(found.size / _GROWTH, 1.0)",
        "pass",
        ("tests/processors/test_take_budget.py",),
    ),
    Mutation(
        "state of another format is taken for this one's",
        "processors/views.py",
        'if told is not None and state.get("format") != STATE_FORMAT:',
        "if False:",
        ("tests/processors/test_views.py",),
    ),
    Mutation(
        "the last of a sale's messages counts, not the first",
        "processors/dedup.py",
        "firsts = np.minimum.reduceat",
        "firsts = np.maximum.reduceat",
        ("tests/processors/test_dedup.py", "-k", "first_of_an_id"),
    ),
    Mutation(
        "the horizon of duplicates goes by event time",
        "processors/counting.py",
        'day = pc.max(batch.rows.column("kafka_timestamp")).value // _DAY_US',
        'day = (pc.max(batch.rows.column("timestamp")).value or 0) // _DAY_US',
        ("tests/processors/test_counting.py", "-k", "horizon"),
    ),
    Mutation(
        "a restart takes for counted what an interrupted checkpoint appended",
        "processors/memory.py",
        "history.pieces(covered + 1, first_sequence, _COLUMNS)",
        "history.pieces(covered + 1, 2**62, _COLUMNS)",
        ("tests/processors/test_counting.py", "-k", "interrupted"),
    ),
    Mutation(
        "ids are put into files before a checkpoint has committed them",
        "processors/counting.py",
        "if self._committed >= self._last_sequence:",
        "if True:",
        ("tests/processors/test_memory.py", "-k", "not_committed"),
    ),
    Mutation(
        "an id that counted again is a duplicate of the sale beyond the horizon",
        "processors/sorted_runs.py",
        "yield from self._files\n        yield from self._added",
        "yield from self._added\n        yield from self._files",
        ("tests/processors/test_dedup.py", "-k", "horizon"),
    ),
    Mutation(
        "a merge leaves out what has expired later than the place that a life goes back to",
        "processors/sorted_runs.py",
        "BEGINNING if expiry is None else expiry.at",
        "BEGINNING",
        ("tests/processors/test_sorted_runs.py", "-k", "expired"),
    ),
    Mutation(
        "a file that was cut is read as if it were whole",
        "processors/run_files.py",
        "if found != header.length:",
        "if found > header.length:",
        ("tests/processors/test_sorted_runs.py", "-k", "damaged"),
    ),
    Mutation(
        "clients whose hashes are equal are taken for one",
        "processors/clients.py",
        "(second ^ clients).view(np.int64)",
        "second.view(np.int64)",
        ("tests/processors/test_clients.py", "-k", "add_up"),
    ),
    Mutation(
        "the good result of a sample hides what a whole audit found",
        "salesviews/audit/audit_result.py",
        "if result.sample_pct is not None and result.holds:",
        "if False:",
        ("tests/salesviews/audit/test_audit.py", "-k", "sample_does_not"),
    ),
    Mutation(
        "a view is served though its sums are not what came",
        "sinks/silver.py",
        "if gained not in (None, counted):",
        "if False:",
        ("tests/sinks/test_silver.py", "-k", "not_what_came"),
    ),
    Mutation(
        "a generation has the number of one that was lost",
        "processors/announcement.py",
        "max(found.generation, found.successor or 0, newest) + 1",
        "max(found.generation, found.successor or 0) + 1",
        ("tests/processors/test_rebuild.py", "-k", "number_that_another"),
    ),
    Mutation(
        "a refused rebuild leaves views waiting",
        "processors/rebuild.py",
        "announcement.withdraw(self._lake, self._clock, begun.manifest)",
        "pass",
        ("tests/processors/test_rebuild.py", "-k", "come_to_its_end_lets"),
    ),
    Mutation(
        "ids are remembered for other days than the figures were counted with",
        "salesviews/manifest.py",
        "not in (None, dedup_days):",
        "not in (counted_by, dedup_days):",
        ("tests/sinks/test_silver.py", "-k", "counts_otherwise"),
    ),
    Mutation(
        "hours are those of Paris",
        "salesviews/views.py",
        'f"epoch_us({clock}) //',
        "f\"epoch_us(timezone('Europe/Paris', {clock})) //",
        ("tests/processors/test_counting.py", "-k", "witness"),
    ),
    Mutation(
        "a month's overwrite takes the other months away",
        "sinks/silver.py",
        "predicate = months_sql(months) if table.partition_by else None",
        "predicate = None",
        ("tests/sinks/test_silver.py", "-k", "add_up"),
    ),
    Mutation(
        "sales that a snapshot covers are added to a table that keeps its sums once more",
        "sinks/silver.py",
        "files.Between.of(self._lake, table, self._manifest.sequence, reached.sequence)",
        "files.Between.of(self._lake, table, manifest.EMPTY_SEQUENCE, reached.sequence)",
        ("tests/sinks/test_silver.py", "-k", "crash"),
    ),
    Mutation(
        "an interrupted checkpoint's tables are not put back",
        "sinks/silver.py",
        "handle.restore(version)",
        "pass",
        ("tests/sinks/test_silver.py", "-k", "crash"),
    ),
    Mutation(
        "a process that was replaced goes on writing",
        "sinks/silver.py",
        "if version != self._manifest.id:",
        "if False:",
        ("tests/sinks/test_silver.py", "-k", "replaced"),
    ),
    Mutation(
        "takes that a snapshot covers are written again",
        "sinks/silver.py",
        "if reached.sequence > self._manifest.sequence:",
        "if True:",
        (STATE_MACHINE,),
    ),
    Mutation(
        "the web mixes snapshots: each table at its newest version",
        "web/snapshot.py",
        "after = named.listing(self._lake, table)",
        "after = files.listing(self._lake, table)",
        ("tests/web/test_snapshot.py", "-k", "version_that_the_manifest_names"),
    ),
    Mutation(
        "the web mixes snapshots: a load is a transaction for each table",
        "web/snapshot.py",
        "loaded[table.name] = after\n",
        'loaded[table.name] = after\n                cursor.execute("COMMIT")\n'
        '                cursor.execute("BEGIN TRANSACTION")\n',
        ("tests/web/test_snapshot.py", "-k", "one_snapshot"),
    ),
    Mutation(
        "an answer is called unchanged although the pipeline is behind by now",
        "web/rows.py",
        '        described["caught_up"],\n',
        "",
        ("tests/web/test_rows.py", "-k", "nothing_old"),
    ),
    Mutation(
        "new clients are summed over other periods than months",
        "web/grouping.py",
        "if not open_keys and (is_own or self._has_whole_months()):",
        "if not open_keys:",
        ("tests/web/test_grouping.py", "-k", "new_clients"),
    ),
    Mutation(
        "pages are ordered by what was asked for alone",
        "web/grouping.py",
        'return ", ".join([*parts, *rest]) or "1"',
        'return ", ".join(parts or rest) or "1"',
        ("tests/web/test_grouping.py", "-k", "pages_join"),
    ),
    Mutation(
        "a view answers although a bound cuts its windows in two",
        "web/routes/across.py",
        "        and asked.cut_by(view) is None\n",
        "",
        ("tests/web/test_grouping.py", "-k", "or_by_none"),
    ),
    Mutation(
        "a text of a sale is a formula in a spreadsheet",
        "web/formats.py",
        'FORMULA = r"^[=+\\-@\\t\\r]"',
        'FORMULA = r"^[=+\\-@\\t]"',
        ("tests/web/test_rows.py", "-k", "rfc_4180"),
    ),
    Mutation(
        "a tile of the dashboard ignores the filters",
        "web/static/questions.js",
        "const inPeriod = { ...filters, from",
        "const inPeriod = { from",
        ("tests/web/browser/test_figures.py", "-k", "country"),
    ),
    Mutation(
        "a period that is not over is compared with the whole one before",
        "web/static/period.js",
        "isRunning ? new Date(Math.min(after(beforeFrom, seen - from), from)) : from",
        "from",
        ("tests/web/browser/test_figures.py", "-k", "latest"),
    ),
    Mutation(
        "a tile that cannot answer keeps its old figures",
        "web/static/refusals.js",
        "content.hidden = refusal !== null;",
        "content.hidden = false;",
        ("tests/web/browser/test_use.py", "-k", "ignores_a_filter"),
    ),
    Mutation(
        "the dashboard rounds numbers of sales to what JavaScript holds",
        "web/static/api.js",
        "context?.source ? context.source : value",
        "context?.source ? value : value",
        ("tests/web/browser/test_use.py", "-k", "customer"),
    ),
    Mutation(
        "the dashboard waits for events where none come",
        "web/static/live.js",
        "soon(isLive() ? HEARTBEAT_MS : POLL_MS);",
        "soon(HEARTBEAT_MS);",
        ("tests/web/browser/test_use.py", "-k", "without_events"),
    ),
    Mutation(
        "what is behind a figure is that of another snapshot",
        "web/static/questions.js",
        'trace("parts", { view, as_of: snapshot,',
        'trace("parts", { view,',
        ("tests/web/browser/test_use.py", "-k", "as_it_was_read"),
    ),
    Mutation(
        "the audit looks at sales beyond its snapshot",
        "salesviews/audit/recount.py",
        'f"WHERE sequence <= {self._snapshot.sequence}) AS t(position, s, c, h) {self._where()}"',
        'f") AS t(position, s, c, h) {self._where()}"',
        ("tests/salesviews/audit/test_audit.py", "-k", "interrupted"),
    ),
    Mutation(
        "positions that Kafka deleted are not counted",
        "processors/counting.py",
        "lost.append((",
        "[].append((",
        ("tests/processors/test_counting.py", "-k", "lost_positions"),
    ),
)


def pytest(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    options = ("-q", "-x", "-p", "no:cacheprovider", "--hypothesis-profile", "unshrunk")
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def copy_tree(folder: Path) -> None:
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def survives(folder: Path, mutation: Mutation) -> str | None:
    """None if the tests catch it; else what happened instead."""
    file = folder / mutation.file
    original = file.read_text(encoding="utf-8")
    if original.count(mutation.text) != 1:
        return f"ERROR: its text is {original.count(mutation.text)} times in {mutation.file}"
    file.write_text(original.replace(mutation.text, mutation.replacement), encoding="utf-8")
    try:
        result = pytest(folder, mutation.caught_by)
    finally:
        file.write_text(original, encoding="utf-8")
    if result.returncode == FAILED:
        return None
    if result.returncode == 0:
        return "SURVIVES: the tests pass"
    return (
        f"ERROR: the tests could not run (status {result.returncode}):\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
    )


def main(words: Sequence[str]) -> int:
    chosen = [each for each in MUTATIONS if not words or any(word in each.name for word in words)]
    bad = 0
    with tempfile.TemporaryDirectory(prefix="salesviews-mutations-") as temporary:
        folder = Path(temporary)
        copy_tree(folder)
        for arguments in dict.fromkeys(each.caught_by for each in chosen):
            sound = pytest(folder, arguments)
            if sound.returncode:
                print(f"Without any defect, {' '.join(arguments)} fails:\n{sound.stdout[-4000:]}{sound.stderr[-2000:]}")
                return 1
        for mutation in chosen:
            start = time.monotonic()
            what = survives(folder, mutation)
            bad += what is not None
            print(f"{time.monotonic() - start:5.0f} s  {mutation.name:<78} {what or 'caught'}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} defects are caught")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
