import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ALLOWED = {
    "salesviews": {"salesviews"},
    "sinks": {"salesviews", "sinks"},
    "processors": {"salesviews", "sinks", "processors"},
    "web": {"salesviews", "web"},
}
KNOWS_ALL = "salesviews/cli/"


def imported(file: Path) -> set[str]:
    """The top-level packages of the project that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names & ALLOWED.keys()


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package: str) -> None:
    """Law: ``salesviews`` <- ``sinks`` <- ``processors``; ``salesviews`` <- ``web``; the command line knows all."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        if not (name := file.relative_to(ROOT).as_posix()).startswith(KNOWS_ALL):
            assert imported(file) <= ALLOWED[package], name
