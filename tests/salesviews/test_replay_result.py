import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from processors import replay
from salesviews import cli, replay_result
from salesviews.replay_result import Partition, Result
from salesviews.tables.ranges import Ranges

WHOLE = Partition("v", "id-a", 0, 0, 2_000, 0, 5, 1_990, 5, 0, 0, (), 2.0, 995.0)
HELD = Partition("v", "id-a", 1, 0, 10, 0, 10, 0, 0, 0, 0, (), 0.0, 0.0)
GONE = Partition("v", "id-a", 2, 0, 3_000, 900, 1_900, 200, 0, 0, 900, ((0, 600), (700, 1_000)), 1.0, 200.0)
RESULT = Result(True, "beginning", 2.5, 1_990, 796.0, 0, 0, (), (), (WHOLE, HELD))
LOSSES = replace(
    RESULT, complete=False, gone=900, files_gone=("jour=1/a",), files_unreadable=("/b",), partitions=(WHOLE, GONE)
)

NEVER_READ = replace(RESULT, complete=False, perdus=5, partitions=(replace(WHOLE, added=1_983, unread=7), HELD))


def test_a_person_is_told_what_was_done() -> None:
    """A line a partition, what it came to, and the verdict last."""
    assert replay_result.text(RESULT).splitlines() == [
        "v[0] (id-a): positions 0 to 2,000: 5 messages held, 1,990 added in 2.0 s (995/s); 5 positions hold no message",
        "v[1] (id-a): positions 0 to 10: 10 messages held, 0 added; 0 positions hold no message",
        "1,990 messages added in 2.5 s: 796 a second",
        "Bronze has every message of the range.",
    ]


def test_losses_are_named() -> None:
    """Files and positions that are gone are named, the positions as first and last; the verdict says so."""
    lines = replay_result.text(LOSSES).splitlines()
    assert lines[0].endswith("jour=1/a")
    assert lines[1].endswith("/b")
    assert "  GONE: 900 messages that Bronze lacks and Kafka has deleted: 0-599, 700-999" in lines
    assert lines[-1].startswith("900 MESSAGES ARE GONE FOR GOOD")


def test_what_was_never_read_is_told_apart() -> None:
    """Law: what no backup can have is not said to be gone from Bronze; nor is it said that Bronze has everything."""
    lines = replay_result.text(NEVER_READ).splitlines()
    assert "  7 positions were deleted by Kafka, and no message of them was ever read" in lines
    assert lines[-1].startswith("5 MESSAGES WERE NEVER READ")
    assert not any("GONE" in line or "Bronze has every" in line for line in lines)


def test_only_the_first_ranges_of_many_are_kept() -> None:
    """A million holes do not make a million lines; that there are more is shown."""
    ranges = replay_result.first(Ranges.of((start, start + 1) for start in range(0, 10_000, 2)))
    assert len(ranges) == 1_000
    many = replace(GONE, gone=5_000, gone_ranges=ranges)
    line = replay_result.text(replace(LOSSES, partitions=(many,))).splitlines()[3]
    assert line.endswith("36, 38, …")


@pytest.mark.parametrize(("result", "status"), [(RESULT, 0), (LOSSES, 1), (NEVER_READ, 1)])
def test_the_command_ends_with_what_became_of_the_messages(
    monkeypatch: pytest.MonkeyPatch, result: Result, status: int
) -> None:
    """Status 0 where Bronze is whole and 1 where something is gone; ``--json`` is the result."""
    monkeypatch.setattr(replay, "run", lambda *_: result)
    ended = CliRunner().invoke(cli.commands, ["replay", "--json"])
    assert ended.exit_code == status
    assert json.loads(ended.stdout) == json.loads(json.dumps(replay_result.as_json(result)))
    assert json.loads(ended.stdout)["partitions"][-1]["gone"] == result.gone


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("beginning", None),
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31T12:00:00.250", "2026-01-31T12:00:00.250000+00:00"),
        ("2026-01-31T12:00+01:00", "2026-01-31T12:00:00+01:00"),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(monkeypatch: pytest.MonkeyPatch, text: str, since: str | None) -> None:
    """``--from`` takes what it names, and refuses other text with status 2."""
    asked: list[replay.Options] = []
    monkeypatch.setattr(replay, "run", lambda _settings, options: asked.append(options) or RESULT)
    assert CliRunner().invoke(cli.commands, ["replay", "--from", text]).exit_code == 0
    assert [options.since and options.since.isoformat() for options in asked] == [since]
    refused = CliRunner().invoke(cli.commands, ["replay", "--from", "yesterday"])
    assert refused.exit_code == 2
    assert "'yesterday' is neither" in refused.stderr
