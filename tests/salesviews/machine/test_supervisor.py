"""Keeping processes running, on small programs in place of the pipeline's."""

import json
import re
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from salesviews.machine import ports

TIMEOUT_S = 30.0

FOREVER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


@pytest.fixture
def supervise(start_process: Callable) -> Callable:
    """``supervise(part, ..., STOP_S=1)``: a supervisor of these parts, each a dict of ``Part``'s arguments.

    A part's ``code`` is the Python program that it runs (a list of them: one after the other). Capitals replace the
    supervisor's constants.
    """

    def start(*parts: dict, **constants: object):
        def arguments(part: dict) -> dict:
            code = part.pop("code")
            codes = code if isinstance(code, list) else [code]
            commands = [[sys.executable, "-u", "-c", textwrap.dedent(each)] for each in codes]
            return {"stage": 0, "commands": commands, **part}

        driver = textwrap.dedent("""
            import json, os, sys
            from salesviews.machine import supervisor
            from salesviews.errors import SalesviewsError
            parts, constants = map(json.loads, sys.argv[1:])
            for name, value in constants.items():
                assert hasattr(supervisor, name)
                setattr(supervisor, name, value)
            try:
                supervisor.run([supervisor.Part(**part) for part in parts], os.environ)
            except SalesviewsError as error:
                print(error)
                sys.exit(error.exit_status)
        """)
        constants = {"BACK_OFF_S": [0.05], **constants}
        texts = [json.dumps([arguments(part) for part in parts]), json.dumps(constants)]
        return start_process(command=[sys.executable, "-u", "-c", driver, *texts])

    return start


def tree(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_killed_child_is_started_again_and_named(supervise: Callable, eventually: Callable) -> None:
    """A part that dies runs again, and the message says which one and how it ended; the others are left alone."""
    program = supervise({"name": "one", "code": FOREVER}, {"name": "other", "code": FOREVER})
    eventually(lambda: program.output.count("| up") == 2, TIMEOUT_S, "both are up")
    one, other = sorted(tree(program.pid), key=lambda child: child.pid)
    one.send_signal(signal.SIGKILL)
    eventually(lambda: program.output.count("one        | up") == 2, TIMEOUT_S, "the first one is up again")
    assert "one ended by SIGKILL; starting it again in 0.05 s" in program.output
    assert other.is_running()
    assert len(tree(program.pid)) == 2


def test_restarts_come_later_and_later(supervise: Callable, eventually: Callable) -> None:
    """The waits before restarts follow ``BACK_OFF_S``, the last for good; who stayed up begins with the first."""
    program = supervise({"name": "bad", "code": "exit(3)"}, BACK_OFF_S=[0.01, 0.02, 0.03])
    eventually(lambda: program.output.count("ended") >= 5, TIMEOUT_S, "five ends")
    assert re.findall(r"bad ended with status 3; starting it again in (\S+) s", program.output)[:5] == [
        "0.01",
        "0.02",
        "0.03",
        "0.03",
        "0.03",
    ]
    healthy = supervise({"name": "good", "code": "exit(3)"}, BACK_OFF_S=[0.01, 0.02], HEALTHY_S=0)
    eventually(lambda: healthy.output.count("ended") >= 3, TIMEOUT_S, "three ends")
    assert set(re.findall(r"again in (\S+) s", healthy.output)) == {"0.01"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_no_process(supervise: Callable, eventually: Callable, number: signal.Signals) -> None:
    """SIGTERM, Ctrl-C and a closed terminal stop all parts, those that ignore SIGTERM too; the status is 0."""
    program = supervise({"name": "one", "code": FOREVER}, {"name": "two", "stage": 1, "code": STUBBORN}, STOP_S=1.0)
    eventually(lambda: program.output.count("| up") == 2, TIMEOUT_S, "both are up")
    children = tree(program.pid)
    assert len(children) == 2
    program.popen.send_signal(number)
    assert program.wait() == 0
    assert all(map(is_gone, children))
    assert f"Stopping ({number.name})" in program.output
    assert "two does not stop: killing it" in program.output


def test_sigkill_leaves_no_process(supervise: Callable, eventually: Callable) -> None:
    """The supervisor itself killed: the kernel takes its children along."""
    program = supervise({"name": "one", "code": FOREVER}, {"name": "two", "code": STUBBORN})
    eventually(lambda: program.output.count("| up") == 2, TIMEOUT_S, "both are up")
    children = tree(program.pid)
    program.kill()
    eventually(lambda: all(map(is_gone, children)), TIMEOUT_S, "no child is left")


def test_a_second_interrupt_kills_at_once(supervise: Callable, eventually: Callable) -> None:
    """Who presses Ctrl-C twice does not wait for those that do not stop."""
    program = supervise({"name": "one", "code": STUBBORN}, STOP_S=600.0)
    eventually(lambda: "| up" in program.output, TIMEOUT_S, "it is up")
    (child,) = tree(program.pid)
    program.popen.send_signal(signal.SIGINT)
    eventually(lambda: "Stopping" in program.output, TIMEOUT_S, "the first is seen")
    program.popen.send_signal(signal.SIGINT)
    assert program.wait() == 0
    assert is_gone(child)


def test_stages_start_in_order_and_stop_the_other_way(
    supervise: Callable, eventually: Callable, tmp_path: Path
) -> None:
    """A stage starts when what must end before it has ended, and stops when all later ones have stopped."""
    events = tmp_path / "events"
    code = """
        import signal, sys, time
        name = {name!r}
        def write(event):
            with open({events!r}, "a") as file:
                file.write(f"{{event}} {{name}}\\n")
        def stop(*_):
            time.sleep(0.2)
            write("stop")
            sys.exit()
        signal.signal(signal.SIGTERM, stop)
        write("start")
        time.sleep({seconds})
        write("end")
    """

    def part(name: str, stage: int, seconds: float = 600, **more: object) -> dict:
        return {
            "name": name,
            "stage": stage,
            "code": code.format(name=name, events=str(events), seconds=seconds),
            **more,
        }

    program = supervise(part("last", 2), part("gate", 1, 0.2, ends=True), part("first", 0))
    eventually(
        lambda: events.exists() and {"start first", "start last"} <= set(events.read_text().splitlines()),
        what="all are started",
    )
    assert program.terminate() == 0
    lines = events.read_text().splitlines()
    assert lines.index("end gate") < lines.index("start last")
    assert lines[-2:] == ["stop last", "stop first"]
    assert set(lines) == {"start first", "start gate", "end gate", "start last", "stop last", "stop first"}


def test_a_part_that_ends_well_is_not_started_again(supervise: Callable, eventually: Callable) -> None:
    """Status 0 is the normal end of a part that ends: its next command runs, then no more; other parts go on."""
    program = supervise(
        {"name": "finite", "code": ["print('history')", "print('live')"], "ends": True},
        {"name": "endless", "code": FOREVER},
        {"name": "returns", "code": "print('returned')"},
    )
    eventually(lambda: program.output.count("returned") >= 3, TIMEOUT_S, "an endless part that returns runs again")
    assert program.output.count("| history") == 1
    assert program.output.count("| live") == 1
    assert program.output.index("history") < program.output.index("live")
    assert "finite ended" not in program.output
    assert "returns ended with status 0; starting it again" in program.output


def test_a_setting_that_cannot_be_used_ends_everything(supervise: Callable, eventually: Callable) -> None:
    """Status 2 can never heal: all stop, and the message is that of the part."""
    refused = "import sys, time; time.sleep(0.5); print('SALESVIEWS_X=1 cannot be used'); sys.exit(2)"
    program = supervise({"name": "one", "code": FOREVER}, {"name": "bad", "stage": 1, "code": refused})
    eventually(lambda: len(tree(program.pid)) == 2, TIMEOUT_S, "both are started")
    children = tree(program.pid)
    assert program.wait() == 2
    assert all(map(is_gone, children))
    assert program.output.splitlines()[-1].startswith("bad ended with status 2")
    assert "SALESVIEWS_X=1" in program.output.splitlines()[-1]


def test_what_cannot_start_ends_everything(supervise: Callable) -> None:
    """A part that fails before the last stage was started is not tried again: its message is the last word."""
    program = supervise(
        {"name": "broker", "code": "print('no network'); exit(1)"},
        {"name": "gate", "code": "import time; time.sleep(600)", "ends": True},
        {"name": "rest", "stage": 1, "code": FOREVER},
    )
    assert program.wait() == 1
    assert "Traceback" not in program.output
    assert program.output.splitlines()[-1].startswith("broker ended with status 1")
    assert "no network" in program.output.splitlines()[-1]
    assert "| up" not in program.output


def test_a_program_that_is_not_there_ends_everything(supervise: Callable) -> None:
    """A defect of the supervisor's own is not hidden: all parts are stopped, then it shows."""
    program = supervise(
        {"name": "one", "code": "import os, time; print('pid', os.getpid()); time.sleep(600)"},
        {"name": "gate", "code": "import time; time.sleep(0.5)", "ends": True},
        {"name": "two", "stage": 1, "code": [], "commands": [["/no/such/file"]]},
    )
    assert program.wait() == 1
    assert "FileNotFoundError" in program.output
    assert not any(map(psutil.pid_exists, map(int, re.findall(r"pid (\d+)", program.output))))


def test_the_address_is_told_once_when_it_is_ready(supervise: Callable, eventually: Callable) -> None:
    """``ready_line`` appears once, not before the address answers 200: other answers are not it."""
    port = ports.free()
    server = f"""
        import http.server
        class Handler(http.server.BaseHTTPRequestHandler):
            asked = 0
            def do_GET(self):
                Handler.asked += 1
                self.send_response(200 if self.path == "/readyz" and Handler.asked > 3 else 503)
                self.end_headers()
                print("asked", Handler.asked, flush=True)
            def log_message(self, *_):
                pass
        http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
    """
    program = supervise(
        {"name": "web", "code": server, "ready_url": f"http://127.0.0.1:{port}/readyz", "ready_line": "Here: it is"}
    )
    eventually(lambda: "Here: it is" in program.output, TIMEOUT_S, "the address is told")
    assert "asked 4" in program.output
    (child,) = tree(program.pid)
    child.kill()
    eventually(lambda: "starting it again" in program.output and len(tree(program.pid)) == 1, TIMEOUT_S, "restarted")
    assert program.terminate() == 0
    assert program.output.count("Here: it is") == 1
    assert "asked 5" not in program.output


def test_any_output_is_passed_on(supervise: Callable, eventually: Callable) -> None:
    """Bytes that are no text, a line without an end and one of two megabytes disturb nothing."""
    code = """
        import sys
        sys.stdout.buffer.write(b"\\xff\\xfe bytes\\n" + b"x" * 2_000_000 + b"\\nlast")
    """
    program = supervise({"name": "loud", "code": code, "ends": True}, {"name": "other", "code": FOREVER})
    eventually(lambda: "loud       | last" in program.output, TIMEOUT_S, "the last line")
    assert "loud       | \ufffd\ufffd bytes" in program.output
    assert program.terminate() == 0
