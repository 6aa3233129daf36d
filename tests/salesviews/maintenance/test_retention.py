from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from salesviews.maintenance.retention import Retention, parted
from salesviews.manifest import Summary

NOW = datetime(2026, 1, 8, tzinfo=UTC)

retentions = st.builds(Retention, days=st.sampled_from([1, 7]), step_s=st.sampled_from([0, 60, 600, 86_400]))


@st.composite
def snapshots(draw: st.DrawFn) -> list[Summary]:
    """Some, in order of their ids."""
    ages = draw(st.lists(st.integers(0, 10 * 86_400), max_size=30))
    generations = sorted(draw(st.lists(st.integers(0, 2), min_size=len(ages), max_size=len(ages))))
    return [
        Summary(number, NOW - timedelta(seconds=age), generation, number, {}, True)
        for number, (age, generation) in enumerate(zip(sorted(ages, reverse=True), generations, strict=True), start=1)
    ]


@given(retentions, snapshots())
def test_of_each_step_the_newest_is_kept(retention: Retention, given_snapshots: list[Summary]) -> None:
    """Law: each has a kept one in its step and generation, which is not older; with a step of 0 all are kept."""
    kept = retention.thinned(given_snapshots)
    for each in given_snapshots:
        same = [
            other
            for other in kept
            if other.generation == each.generation
            and retention.step_s
            and other.created_at.timestamp() // retention.step_s == each.created_at.timestamp() // retention.step_s
        ]
        assert [other.id >= each.id for other in same] == [True] or (not retention.step_s and each in kept)


@given(retentions, snapshots(), st.integers(0, 30))
def test_it_does_not_matter_when_snapshots_are_thinned(
    retention: Retention, given_snapshots: list[Summary], cut: int
) -> None:
    """Law: thinning some first, and the rest with what was left of them, keeps the same as thinning all at once."""
    early = retention.thinned(given_snapshots[:cut])
    assert retention.thinned([*early, *given_snapshots[cut:]]) == retention.thinned(given_snapshots)


@given(retentions, snapshots())
def test_the_last_of_a_generation_stays_as_long_as_any_of_it(
    retention: Retention, given_snapshots: list[Summary]
) -> None:
    """Law: it says how the generation's sales are read."""
    kept = retention.thinned(retention.within(given_snapshots, NOW))
    for generation in {each.generation for each in kept}:
        last = [each for each in given_snapshots if each.generation == generation][-1]
        assert last in kept


def served(at: datetime, of: Sequence[Summary]) -> Summary | None:
    """The newest that was made by then."""
    return next((each for each in reversed(of) if each.created_at <= at), None)


@given(retentions, snapshots(), st.integers(0, 10 * 86_400))
def test_what_was_served_inside_retention_can_be_asked_for(
    retention: Retention, given_snapshots: list[Summary], age_s: int
) -> None:
    """Law: whatever was served at a time inside retention is; what was replaced before it is not."""
    inside = retention.within(given_snapshots, NOW)
    at = max(NOW - timedelta(seconds=age_s), retention.oldest(NOW))
    assert served(at, given_snapshots) in (*inside, None)
    assert sum(each.created_at < retention.oldest(NOW) for each in inside) <= 1


@given(snapshots(), st.integers(0, 11 * 86_400))
def test_all_that_were_served_since_a_moment_stay_together(given_snapshots: list[Summary], age_s: int) -> None:
    """Law: parting loses none; the second part begins with what was served at the moment, and is never empty."""
    since = NOW - timedelta(seconds=age_s)
    before, after = parted(given_snapshots, since)
    assert [*before, *after] == given_snapshots
    assert all(each.created_at <= since for each in before)
    assert bool(after) == bool(given_snapshots)
    assert not before or served(since, given_snapshots) in after
