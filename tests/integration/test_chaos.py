"""A short chaos run (``make chaos`` blows longer): see ``chaos.driver``."""

from pathlib import Path

import pytest
from chaos import driver

STORM_S = 30.0
SEED = 11
"""The storm that once left a typed batch missing: a replay after a rebuild, while an old ingest still appended."""


@pytest.mark.usefixtures("start_broker")
def test_nothing_is_lost_and_nothing_counts_twice_when_everything_goes_wrong(tmp_path: Path) -> None:
    """Law: whatever is killed, stopped or filled up, alone or at once: every answer is of one whole snapshot, snapshots
    never go back, and in the end all that the sellers were told is sold is counted, once.
    """
    report = driver.run(STORM_S, SEED, tmp_path)
    assert not report.failures, report.text()
    assert sum(report.faults.values()) >= STORM_S / driver.GAP_S[1] / 2
