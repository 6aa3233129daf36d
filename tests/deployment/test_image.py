"""The image: linted, and made of what the project's own files name."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from programs import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def _instructions(name: str) -> list[str]:
    """What follows an instruction of the Dockerfile, each time."""
    text = DOCKERFILE.replace("\\\n", " ")
    return [" ".join(found.split()) for found in re.findall(rf"^{name}\s+(.*)$", text, re.MULTILINE)]


def test_the_dockerfile_is_linted() -> None:
    """Law: hadolint finds nothing, not even a matter of style."""
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run(
        [hadolint, "--no-color", "--failure-threshold", "style", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_image_runs_one_program_without_rights() -> None:
    """Law: one entry point, as a user who is not root and has a number, on a slim base, and no Java in it."""
    assert _instructions("ENTRYPOINT") == ['["salesviews"]']
    assert _instructions("USER") == ["10001:10001"]
    bases = [base for base in _instructions("FROM") if not base.endswith("AS uv")]
    assert all("-slim" in base for base in bases)
    assert len({base.partition(" ")[0] for base in bases}) == 1, "it is built with the Python that runs it"
    instructions = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    assert not re.search(r"java|jdk|jre|--extra|apt-get", "\n".join(instructions), re.IGNORECASE)


def test_the_image_installs_what_is_locked() -> None:
    """Law: every package by its hash, by the version of uv that developers use."""
    [installed] = [line for line in _instructions("RUN") if "pyproject.toml" in line]
    assert "--require-hashes" in installed
    assert "--constraints requirements.lock" in installed
    [uv] = [base for base in _instructions("FROM") if base.endswith("AS uv")]
    [version] = re.findall(r"^UV_VERSION = (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert uv == f"ghcr.io/astral-sh/uv:{version} AS uv"


def test_the_builder_gets_the_packages_and_nothing_else() -> None:
    """Law: what pyproject.toml declares as packages is let through by .dockerignore, and so is what builds them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {pattern.removesuffix("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert allowed == packages | {"pyproject.toml", "requirements.lock", project["project"]["readme"]}
