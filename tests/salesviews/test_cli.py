"""The command line: what it shows, and how it ends."""

import contextlib
import http.server
import inspect
import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pyarrow.compute as pc
import pytest
import witnessed
from click.testing import CliRunner
from deltalake import write_deltalake
from programs import ROOT
from witnessed import WitnessedLake

from processors import rebuild, replay
from processors.generation_topics import GenerationTopics
from processors.regeneration import Regeneration
from salesviews import __version__, audit, cli, lake, lineage, manifest, views
from salesviews import settings as settings_module
from salesviews.audit import audit_result
from salesviews.errors import RebuildError, SalesviewsError
from salesviews.machine import broker, instance, ports
from salesviews.tables import files

TIMEOUT_S = 30.0

COMMANDS = [
    *("demo", "up", "broker", "topics", "ingest", "views", "web", "generate"),
    *("audit", "lineage", "replay", "rebuild", "maintain", "status", "probe"),
]

STATUS = {
    "data": {
        "lag": {"messages": 1234, "partitions": []},
        "processors": {
            "ingest": {"id": "g", "state": "stable", "members": [{}, {}], "lag": 5},
            "views": {"id": "h", "state": "absent", "members": [], "lag": 0},
        },
        "kafka": {"answers": False, "trouble": "Kafka is away.", "missing_topics": ["ventes"]},
        "snapshot": {
            "tables": {"silver/qualite": {"version": 7, "rows": 12345}, "silver/x": {"version": 1, "rows": None}},
            "failure": {"message": "No disk.", "since": "2026-01-01T00:00:00Z", "attempts": 3},
        },
        "versions": {"salesviews": "0.1.0"},
    },
    "snapshot": {"id": 42, "age_ms": 1500, "caught_up": True},
}


def helped(*arguments: str) -> str:
    result = CliRunner().invoke(cli.commands, [*arguments, "--help"], terminal_width=110)
    assert result.exit_code == 0
    return result.output


@contextmanager
def web_server(body: bytes) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_the_commands_are_those_that_are_documented() -> None:
    """Their names are an interface; so is their order in the help, the most useful first."""
    assert list(cli.commands.commands) == COMMANDS


def test_help_lists_every_setting() -> None:
    """The table is derived from the declared rows: variable, help and default of each."""
    text = "".join(helped().split())  # a line may end at a hyphen
    for row in settings_module.SETTINGS:
        assert row.variable in text
        assert "".join(row.help.split()) in text
        assert not row.default or f"[{row.default}]" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_says_what_it_is_for_and_which_settings_matter(name: str) -> None:
    """A sentence, the settings (all of them declared), and nothing that fails where Kafka is away."""
    command = cli.commands.commands[name]
    assert command.help
    assert command.help.splitlines()[0].endswith(".")
    assert set(command.settings) <= {row.name for row in settings_module.SETTINGS}
    text = helped(name)
    for setting in command.settings:
        assert settings_module.PREFIX + setting in text
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help
        else:
            assert parameter.human_readable_name in command.help


WORKS_IN = {
    "topics": (),
    "ingest": ("processors/ingest.py", "processors/columnar.py", "processors/identity.py"),
    "views": ("processors/views.py", "processors/columnar.py"),
    "web": ("web/*.py", "web/routes/*.py"),
    "generate": ("salesviews/simulation/generate.py",),
    "audit": (),
    "lineage": (),
    "replay": ("processors/replay.py", "processors/survey.py", "processors/filling.py", "processors/spans.py"),
    "rebuild": ("processors/rebuild.py", "processors/generation_topics.py"),
    "maintain": (),
    "status": ("salesviews/status.py",),
    "probe": ("salesviews/pulse.py",),
}
"""The files, beside its own function, in which a command reads its settings."""

TAKES = {
    r"Lake\.of\(": {"HOME", "LAKE", "S3_ENDPOINT", "S3_REGION", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"},
    r"\bPulse\(": {"HOME", "INSTANCE"},
    r"metrics\.serve\(": {"HOST", "METRICS_PORT"},
    r"topics\.create\(": {"BROKER", "TOPIC", "PARTITIONS"},
    r"settings\.kafka_config\b": {
        *("BROKER", "KAFKA_OPTIONS", "KAFKA_SECURITY_PROTOCOL", "KAFKA_CA_FILE", "KAFKA_CERTIFICATE_FILE"),
        *("KAFKA_KEY_FILE", "KAFKA_SASL_MECHANISM", "KAFKA_USERNAME", "KAFKA_PASSWORD"),
    },
    r"settings\.state_folder\b": {"HOME"},
    r"settings\.url\b": {"HOST", "PORT"},
    **{rf"settings\.{row.name.lower()}\b": {row.name} for row in settings_module.SETTINGS},
}
"""What is written where a setting is read, and the settings."""


@pytest.mark.parametrize("name", WORKS_IN)
def test_help_of_a_command_omits_no_setting_that_it_reads(name: str) -> None:
    """Law: what the files of a command read of the settings is in its help; so is the level of the log."""
    command = cli.commands.commands[name]
    files_of = [path for pattern in WORKS_IN[name] for path in ROOT.glob(pattern)]
    assert len(files_of) >= len(WORKS_IN[name])
    sources = [inspect.getsource(inspect.unwrap(command.callback)), *(path.read_text() for path in files_of)]
    read = {
        setting
        for pattern, settings in TAKES.items()
        for setting in settings
        if any(re.search(pattern, source) for source in sources)
    }
    assert read
    assert read | {"LOG_LEVEL"} <= set(command.settings), (read | {"LOG_LEVEL"}) - set(command.settings)


def test_help_of_all_processes_together_names_all_their_settings() -> None:
    """Law: `up` and `demo` take what any process that they start takes; each setting is one of a process."""
    started = instance.parts(settings_module.read({}))
    taken = {setting for part in started for setting in cli.commands.commands[part.commands[0][3]].settings}
    declared = {row.name for row in settings_module.SETTINGS}
    assert taken | {"INGEST_PROCESSES"} == declared
    for name in ("up", "demo"):
        assert set(cli.commands.commands[name].settings) == declared - {"INSTANCE"}, "they name each process"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_log(name: str) -> None:
    """Law: each says how much it logs, once."""
    assert cli.commands.commands[name].settings.count("LOG_LEVEL") == 1


def test_version() -> None:
    """``--version`` is the package's."""
    assert __version__ in CliRunner().invoke(cli.commands, ["--version"]).output


def test_a_setting_that_cannot_be_used_ends_with_its_message(start_process: Callable) -> None:
    """Status 2, one line that names the variable, and no traceback."""
    program = start_process("web", environment={"SALESVIEWS_PORT": "http"})
    assert program.wait() == 2
    assert program.output.startswith("salesviews: SALESVIEWS_PORT='http' cannot be used")
    assert len(program.output.splitlines()) == 1


def test_topics_waits_for_kafka_then_gives_up(start_process: Callable) -> None:
    """A Kafka that does not answer in time: status 1, with its address."""
    address = f"127.0.0.1:{ports.free()}"
    program = start_process("topics", "--wait", "0.5", environment={"SALESVIEWS_BROKER": address})
    assert program.wait() == 1
    assert address in program.output
    assert "Traceback" not in program.output


def test_generate_refuses_what_it_cannot_do(start_process: Callable) -> None:
    """Its options reach the generator: an impossible number of sales is refused there, with status 2."""
    program = start_process("generate", "--sales", "0", environment={"SALESVIEWS_BROKER": "127.0.0.1:1"})
    assert program.wait() == 2
    assert "sales=0" in program.output


@pytest.fixture(scope="module")
def witnessed_lake(tmp_path_factory: pytest.TempPathFactory) -> WitnessedLake:
    return witnessed.make(tmp_path_factory.mktemp("made") / "lake", 9, count=60)


def test_lineage_ends_with_the_verdict(start_process: Callable, witnessed_lake: WitnessedLake, tmp_path: Path) -> None:
    """Status 0 where all adds up, 1 where it does not; both values are shown; JSON is one object."""
    made = witnessed_lake.copy(tmp_path / "lake")
    row = max(made.oracle().ventes_par_pays, key=lambda row: row["ventes_count"])
    arguments = ("lineage", "ventes_par_pays", "--key", f"pays={row['pays']}", "--window", row["heure"].isoformat())
    environment = {"SALESVIEWS_LAKE": made.lake.root}
    program = start_process(*arguments, environment=environment)
    assert program.wait() == 0
    assert "which add up to it" in program.output
    program = start_process(*arguments, "--limit", "1", "--json", environment=environment)
    assert program.wait() == 0
    body = json.loads(program.output)
    assert (body["adds_up"], len(body["behind"]["messages"])) == (True, 1)
    assert body["snapshot"]["id"] == made.manifest().id

    table = lake.of_view(views.VENTES_PAR_PAYS)
    handle = made.lake.open(table)
    listing = files.listing(made.lake, table)
    rows = files.rows(made.lake, listing, listing.files)
    column = rows.column_names.index("ventes_count")
    more = pc.add(rows.column(column), 1)
    write_deltalake(handle, rows.set_column(column, rows.schema.field(column), more), mode="overwrite")
    found = made.manifest()
    found.tables[table.name] = handle.version()
    write_deltalake(made.lake.open(lake.SNAPSHOTS), found.to_arrow(), mode="overwrite")
    program = start_process(*arguments, environment=environment)
    assert program.wait() == 1
    assert f"but {row['ventes_count']:,} is behind it" in program.output


def test_lineage_of_what_bronze_lacks_is_no_proof(
    start_process: Callable, witnessed_lake: WitnessedLake, tmp_path: Path
) -> None:
    """Status 1 where a raw message is missing, of a figure and of a sale, though nothing is found to be wrong."""
    made = witnessed_lake.copy(tmp_path / "lake")
    message, outcome, _ = next(each for each in made.oracle().outcomes if each[2] == "valide")
    made.lake.open(lake.BRONZE).delete(f'partition = {message.partition} AND "offset" = {message.offset}')
    hour = f"{outcome.fields['timestamp']:%Y-%m-%dT%H:00}"
    for arguments, says in (
        (("hourly_sales", "--window", hour), "which add up to it"),
        (("--position", f"{message.topic_id}/{message.partition}/{message.offset}"), "Not proved"),
    ):
        program = start_process("lineage", *arguments, environment={"SALESVIEWS_LAKE": made.lake.root})
        assert program.wait() == 1
        assert says in program.output
        assert "salesviews replay" in program.output


def test_lineage_tells_the_story_of_a_sale(start_process: Callable, witnessed_lake: WitnessedLake) -> None:
    """By its id or its position: each message, the proof, and its figures."""
    message, outcome, _ = next(each for each in witnessed_lake.oracle().outcomes if each[2] == "valide")
    position = f"{message.topic_id}/{message.partition}/{message.offset}"
    for arguments in (("--vente", str(outcome.fields["vente_id"])), ("--position", position)):
        program = start_process("lineage", *arguments, environment={"SALESVIEWS_LAKE": witnessed_lake.lake.root})
        assert program.wait() == 0
        assert position in program.output
        assert "Proved" in program.output
        assert "in hourly_sales" in program.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Give one of VIEW, --vente and --position"),
        (("hourly_sales", "--vente", "1"), "Give one of"),
        (("--vente", "1", "--window", "2026-02-27"), "are for the lineage of a VIEW"),
        (("hourly",), "close to it is 'hourly_sales'"),
        (("hourly_sales",), "needs a window"),
        (("ventes_par_pays", "--key", "pays", "--window", "2026-02-27T10:00"), "NAME=VALUE"),
        (("ventes_par_pays", "--key", "pays=UK", "--key", "pays=UK"), "once for each name"),
        (("hourly_sales", "--window", "2026-02-27T10:00", "--after", "x"), "after='x'"),
        (("hourly_sales", "--limit", "0"), "--limit"),
        (("--vente", "-7"), "No message with vente_id=-7"),
    ],
    ids=str,
)
def test_lineage_of_what_is_not_there(
    start_process: Callable, witnessed_lake: WitnessedLake, arguments: tuple[str, ...], says: str
) -> None:
    """Status 2, a line that says what there is, and no traceback."""
    program = start_process("lineage", *arguments, environment={"SALESVIEWS_LAKE": witnessed_lake.lake.root})
    assert program.wait() == 2
    assert says in program.output
    assert "Traceback" not in program.output


@pytest.mark.parametrize("has_tables", [False, True])
def test_lineage_of_an_empty_lake(start_process: Callable, tmp_path: Path, has_tables: bool) -> None:
    """Status 2 and what to do, without a lake and before its first snapshot."""
    if has_tables:
        lake.Lake(str(tmp_path)).create(lake.SNAPSHOTS)
    program = start_process("lineage", "--vente", "1", environment={"SALESVIEWS_LAKE": str(tmp_path)})
    assert program.wait() == 2
    assert ("no snapshot yet" if has_tables else "SALESVIEWS_LAKE") in program.output
    assert "Traceback" not in program.output


def ctrl_c(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


def ctrl_c_in_duckdb(*_: object, **__: object) -> None:
    """DuckDB runs Python's handler, and makes an error of its own of what that raises."""
    try:
        ctrl_c()
    except KeyboardInterrupt:
        raise RuntimeError("Query interrupted") from None


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """As in a terminal: a job in the background of a shell begins with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("interrupt", [ctrl_c, ctrl_c_in_duckdb])
@pytest.mark.parametrize(
    ("arguments", "module", "function"),
    [
        (("audit",), audit, "run"),
        (("lineage", "hourly_sales", "--window", "2026-02-27T10:00"), lineage, "of_figure"),
        (("replay",), replay, "run"),
        (("rebuild", "--dry-run"), rebuild, "run"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_an_interrupt_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch,
    witnessed_lake: WitnessedLake,
    arguments: tuple[str, ...],
    module: object,
    function: str,
    interrupt: Callable[..., None],
) -> None:
    """Law: Ctrl-C ends with status 2 and a message, as 1 says that something was found; also where DuckDB runs."""
    monkeypatch.setenv("SALESVIEWS_LAKE", witnessed_lake.lake.root)
    monkeypatch.setattr(module, function, interrupt)
    ended = CliRunner().invoke(cli.commands, arguments).exception
    assert isinstance(ended, SalesviewsError)
    assert ended.exit_status == 2
    assert str(ended).startswith("Interrupted. ")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_waiting_audit_can_be_interrupted(
    start_process: Callable, eventually: Callable, witnessed_lake: WitnessedLake, tmp_path: Path
) -> None:
    """Status 2, the message alone, and the result that was kept stays."""
    made = witnessed_lake.copy(tmp_path / "lake")
    made.lake.create(lake.BRONZE)
    found = made.manifest()
    source = next(iter(found.positions))
    found.positions[source] += 1  # a position that Bronze never reaches
    write_deltalake(made.lake.open(lake.SNAPSHOTS), found.to_arrow(), mode="overwrite")
    folder = tmp_path / "temporary"
    folder.mkdir()
    program = start_process("audit", environment={"SALESVIEWS_LAKE": made.lake.root, "TMPDIR": str(folder)})
    eventually(lambda: list(folder.glob("salesviews-audit-*")))
    program.popen.send_signal(signal.SIGINT)
    assert program.wait() == 2
    assert "salesviews: Interrupted. " in program.output.splitlines()[-1]
    assert "Traceback" not in program.output
    assert audit_result.last(made.lake.place) is None


def test_an_interrupted_rebuild_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, witnessed_lake: WitnessedLake, tmp_path: Path
) -> None:
    """Law: until sales are replaced nothing is left to do; from then on the way on is named, and is the only one."""
    made = witnessed_lake.copy(tmp_path / "lake")
    monkeypatch.setenv("SALESVIEWS_LAKE", made.lake.root)
    monkeypatch.setattr(broker, "running", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(GenerationTopics, "newest", lambda _: 0)
    monkeypatch.setattr(GenerationTopics, "begin", lambda *_: 1)
    monkeypatch.setattr(GenerationTopics, "retract", ctrl_c)
    with monkeypatch.context() as patched:
        patched.setattr(Regeneration, "judge", ctrl_c)
        for options in ([], ["--dry-run"]):
            told = str(CliRunner().invoke(cli.commands, ["rebuild", *options]).exception)
            assert "No rebuild is under way" in told
            newest = manifest.read(made.lake)
            assert newest is not None
            assert newest.successor is None
    told = str(CliRunner().invoke(cli.commands, ["rebuild"]).exception)
    assert "Generation 1 is announced" in told
    assert "`salesviews rebuild` again" in told
    given_up = CliRunner().invoke(cli.commands, ["rebuild", "--abandon"]).exception
    assert isinstance(given_up, RebuildError)


@pytest.mark.parametrize("holds", [True, False])
def test_the_status_of_an_audit_is_of_the_figures(
    monkeypatch: pytest.MonkeyPatch, witnessed_lake: WitnessedLake, tmp_path: Path, holds: bool
) -> None:
    """Law: a result that cannot be kept is told, then the error; the status says what the audit found."""
    made = witnessed_lake.copy(tmp_path / "lake")
    if not holds:
        made.lake.open(lake.BRONZE).delete('"offset" = 3')
    (made.root / audit_result.FILE).mkdir()  # nothing can be written there, whoever runs this
    monkeypatch.setenv("SALESVIEWS_LAKE", made.lake.root)
    ended = CliRunner().invoke(cli.commands, ["audit", "--json"])
    assert ended.exit_code == (0 if holds else 1)
    assert json.loads(ended.stdout)["holds"] is holds
    assert "could not be written" in ended.stderr
    assert audit_result.FILE in ended.stderr


def test_status_shows_what_an_operator_looks_at_first(start_process: Callable) -> None:
    """Snapshot and its age, lag, processes, troubles, tables; also where something is not known."""
    with web_server(json.dumps(STATUS).encode()) as port:
        program = start_process("status", environment={"SALESVIEWS_PORT": str(port)})
        assert program.wait() == 0
    lines = [" ".join(line.split()) for line in program.output.splitlines()]
    assert lines == [
        "snapshot 42, 1.5 s old, caught up when it was made",
        "lag 1,234 messages",
        "ingest stable, 2 processes, 5 messages behind",
        "views absent, 0 processes, 0 messages behind",
        "kafka Kafka is away.",
        "topics that do not exist: ventes",
        "failure No disk. (since 2026-01-01T00:00:00Z, 3 attempts)",
        "silver/qualite version 7, 12,345 rows",
        "silver/x version 1, unknown rows",
        "versions salesviews 0.1.0",
    ]


def test_status_as_json_is_the_answer_as_it_is(start_process: Callable) -> None:
    """``--json`` is for programs: the body, whole."""
    with web_server(json.dumps(STATUS).encode()) as port:
        program = start_process("status", "--json", environment={"SALESVIEWS_PORT": str(port)})
        assert program.wait() == 0
    assert json.loads(program.output) == STATUS


def test_status_of_an_empty_system(start_process: Callable) -> None:
    """Before the first snapshot, with Kafka away, there is still an answer."""
    body = {
        "data": {"lag": {"messages": None}, "processors": None, "kafka": {"answers": True}, "snapshot": {"tables": {}}},
        "snapshot": None,
    }
    with web_server(json.dumps(body).encode()) as port:
        program = start_process("status", environment={"SALESVIEWS_PORT": str(port)})
        assert program.wait() == 0
    assert program.output.split("\n")[0].split() == ["snapshot", "none", "yet"]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": 1}'])
def test_status_of_something_else(start_process: Callable, body: bytes) -> None:
    """Another server on that port is told, not shown."""
    with web_server(body) as port:
        program = start_process("status", environment={"SALESVIEWS_PORT": str(port)})
        assert program.wait() == 1
    assert f"http://127.0.0.1:{port}/api/status" in program.output
    assert "Traceback" not in program.output


def test_status_of_nothing(start_process: Callable) -> None:
    """Nothing answers: status 1, the address, and what to check."""
    port = ports.free()
    program = start_process("status", environment={"SALESVIEWS_PORT": str(port)})
    assert program.wait() == 1
    assert f"http://127.0.0.1:{port}/api/status" in program.output
    assert "SALESVIEWS_PORT" in program.output
