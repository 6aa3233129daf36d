"""Whatever a client sends, the running server answers as its OpenAPI document says."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import witnessed
from programs import Program

from salesviews import settings as settings_module

SEED = 20251222
EXAMPLES = 10
"""Random requests of each kind to each endpoint, beside those at the bounds of each parameter."""

CONFIGURATION = """
[[operations]]
# There is no Kafka beside this server: it is not ready, and says so.
include-path = "/readyz"
checks.not_a_server_error.enabled = false

[[operations]]
# Its answer has no end.
include-path = "/api/events"
enabled = false
"""

NOT_HELD = "positive_data_acceptance"
"""Values that are right one by one may not go together (from after to, a bound that cuts a window): 400 says so."""


@pytest.fixture
def url(tmp_path: Path, free_port: Callable[[], int], eventually: Callable[..., Any]) -> Iterator[str]:
    """A server of its own, over a lake of dirty sales."""
    witnessed.make(tmp_path / "lake", seed=5, count=120)
    settings = settings_module.read(
        {
            "SALESVIEWS_HOME": str(tmp_path),
            "SALESVIEWS_PORT": str(free_port()),
            "SALESVIEWS_BROKER": f"127.0.0.1:{free_port()}",
        }
    )
    program = Program(
        [sys.executable, "-m", "salesviews", "web"], tmp_path / "web.log", settings_module.environment(settings)
    )

    def is_served() -> bool:
        try:
            with urllib.request.urlopen(f"{settings.url}/api/quality", timeout=10):
                return True
        except urllib.error.URLError:
            return False

    try:
        eventually(is_served, what="the snapshot is served")
        yield settings.url
    finally:
        program.close()
    assert "Traceback" not in program.output


def test_any_request_is_answered_as_described(url: str, tmp_path: Path) -> None:
    """Law: status, headers, media type and body are those of the document; what is wrong is refused; nothing fails."""
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", configuration, "run"]
    options = ["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", SEED]
    done = subprocess.run(
        [*map(str, [*command, *options]), "--exclude-checks", NOT_HELD, "--no-color", f"{url}/api/openapi.json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
