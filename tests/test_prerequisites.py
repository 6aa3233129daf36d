import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import ROOT


def _without_chromium(folder: Path, _port: int) -> dict[str, str]:
    return {"BROWSER": str(folder / "none")}


def _without_kafka(folder: Path, port: int) -> dict[str, str]:
    nowhere = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), f"http://127.0.0.1:{port}")
    empty = {"JGO_CACHE_DIR": str(folder / "jgo"), "M2_REPO": str(folder / "m2"), "NO_PROXY": "", "no_proxy": ""}
    return nowhere | empty


@pytest.mark.parametrize(
    ("name", "without", "needing", "not_needing"),
    [
        ("chromium", _without_chromium, "tests/web/browser/test_use.py", "tests/test_imports.py"),
        ("kafka", _without_kafka, "tests/salesviews/test_topics.py", "tests/test_imports.py"),
    ],
    ids=["chromium", "kafka"],
)
def test_what_is_missing_fails_once_by_name(
    tmp_path: Path,
    free_port: Callable[[], int],
    name: str,
    without: Callable[[Path, int], dict[str, str]],
    needing: str,
    not_needing: str,
) -> None:
    """Law: where a prerequisite cannot be had, all tests that do without it run, and one fails in place of the others,
    with its name and how many they are.
    """
    variables = without(tmp_path, free_port())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", needing, not_needing],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert re.search(r"\b1 failed, \d+ passed\b(?!.*error)", done.stdout), done.stdout
    assert f"FAILED prerequisites::{name} " in done.stdout
    assert re.search(r"^[2-9]\d* tests were not run, as they need what is not here: ", done.stdout, re.MULTILINE)
