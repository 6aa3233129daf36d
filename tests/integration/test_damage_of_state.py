"""Damage to the local state of views: derived data, of which Kafka has all."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oracle import Oracle
from pipelines import Pipeline, Sales, assert_silver_is, in_total_order


def largest(folder: Path, pattern: str) -> Path:
    return max(folder.rglob(pattern), key=lambda file: file.stat().st_size)


def flip(folder: Path) -> None:
    """A bit, in the middle of the sums."""
    file = largest(folder, "*.sst")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(folder: Path) -> None:
    file = largest(folder, "*.sst")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lose_a_file(folder: Path) -> None:
    largest(folder, "CURRENT").unlink()


DAMAGES: tuple[Callable[[Path], None], ...] = (flip, cut, lose_a_file, shutil.rmtree)


def test_a_damaged_state_changes_no_figure(pipeline: Pipeline, eventually: Callable[..., Any]) -> None:
    """Law: whatever becomes of a file of the state while views does not run, views repairs it, or refuses with the name
    of the file and comes back once the folder is deleted; every figure is exact.
    """
    for name in ("ingest-1", "views-1"):
        pipeline.start(name)
    sales = Sales(pipeline.settings, 1_000)
    refused: list[Callable[[Path], None]] = []
    for damage in DAMAGES:
        sales.send(300)
        eventually(pipeline.has_counted_all, 120, f"sales counted before the damage: {damage.__name__}")
        pipeline.programs.pop("views-1").terminate()
        sales.send(300)
        damage(pipeline.settings.state_folder)
        pipeline.start("views-1")
        views = pipeline.programs.pop("views-1")  # it may end
        eventually(
            lambda views=views: views.popen.poll() is not None or pipeline.has_counted_all(), 120, "counted, or refused"
        )
        if views.popen.poll() is not None:
            refused.append(damage)
            assert views.popen.returncode == 1
            assert re.search(r"Corruption: .*\.sst.* delete the folder", views.output)
            shutil.rmtree(pipeline.settings.state_folder)
            pipeline.start("views-1")
        else:
            pipeline.programs["views-1"] = views
    eventually(pipeline.has_counted_all, 120, "all sales counted")
    assert set(refused) <= {flip}
    assert_silver_is(pipeline, Oracle(in_total_order(pipeline)))
    assert pipeline.run("audit")["holds"]
