"""A short chaos run (``make chaos`` blows longer): see ``chaos.driver``."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from programs import ROOT

STORM_S = 30
SEED = 11
"""The storm that once left a typed batch missing: a replay after a rebuild, while an old ingest still appended."""


@pytest.mark.usefixtures("start_broker")
def test_nothing_is_lost_and_nothing_counts_twice_when_everything_goes_wrong(start_process: Callable[..., Any]) -> None:
    """Law: whatever is killed, stopped or filled up, alone or at once: every answer is of one whole snapshot, snapshots
    never go back, and in the end all that the sellers were told is sold is counted, once.
    """
    command = [sys.executable, "-m", "chaos", "--seconds", str(STORM_S), "--seed", str(SEED)]
    run = start_process(command=command, environment={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"})
    assert run.wait(1800) == 0, run.output


FILLS = """
import sys
from pathlib import Path
from chaos.lake_volume import LakeVolume
volume = LakeVolume(Path(sys.argv[1]))
assert not volume.obstacle, volume.obstacle
file = Path(sys.argv[1], "file")
volume.fill()
try:
    file.write_bytes(bytes(1_000_000))
except OSError as error:
    print(error.strerror)
volume.empty()
file.write_bytes(bytes(1_000_000))
volume.close()
"""


def test_the_lake_can_be_made_full(full_disk: Sequence[str], start_process: Callable[..., Any], tmp_path: Path) -> None:
    """Law: the fault "lake full" is real here: nothing can be written until it is over."""
    command = [*full_disk, sys.executable, "-c", FILLS, str(tmp_path / "lake")]
    run = start_process(command=command, environment={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"})
    assert (run.wait(), run.output) == (0, "No space left on device\n")
