from hypothesis import given
from hypothesis import strategies as st

from processors.survey import Lack
from salesviews.tables.ranges import NONE, Ranges
from salesviews.typed import SourcePartition

SOURCE = SourcePartition("id-a", 0, "ventes")
HIGH = 40

POSITIONS = st.sets(st.integers(0, HIGH - 1))


def ranges(positions: set[int]) -> Ranges:
    return Ranges.of((position, position + 1) for position in positions)


def members(of: Ranges) -> set[int]:
    return {position for start, end in of for position in range(start, end)}


@given(
    st.integers(0, HIGH),
    st.integers(0, HIGH),
    st.integers(0, HIGH + 5),
    st.integers(0, HIGH + 5),
    POSITIONS,
    POSITIONS,
    POSITIONS,
    st.booleans(),
)
def test_what_is_read_is_what_bronze_lacks_and_kafka_may_have(
    start: int, low: int, recorded: int, counted: int, held: set[int], messages: set[int], read: set[int], is_read: bool
) -> None:
    """Law: of any rows that Bronze has, any messages that Kafka has, and whatever was read:

    - what is wanted, with what was read, leaves no message of the range that Bronze lacks;
    - below the recorded position nothing is lacking that Bronze has, or that was read;
    - beyond it everything is, so that no message is left out of what views gets;
    - if anything beyond it is, all that is not counted is wanted, so that views finds no gap before it;
    - what Kafka has deleted is wanted by nobody.
    """
    start = min(start, recorded)
    rest = set(range(max(recorded, low), HIGH))
    read = read | rest if is_read else read
    lack = Lack(SOURCE, start, low, HIGH, recorded, counted, ranges(set(range(HIGH)) - held))
    lacking, wanted = members(lack.lacking(ranges(read))), members(lack.wanted(ranges(read)))
    in_kafka = {position for position in messages if low <= position}
    assert {position for position in in_kafka if position >= start} <= held | read | wanted
    assert not {position for position in lacking if position < recorded} & (held | read)
    assert {position for position in lacking if position >= recorded} == (set() if rest <= read else rest)
    assert wanted == lacking | (set() if rest <= read else set(range(max(min(recorded, counted), low), HIGH)))
    assert not {position for position in wanted if position < low}
    assert members(lack.lost) == {position for position in range(start, min(low, HIGH)) if position not in held}


def test_nothing_is_wanted_where_nothing_is_missing() -> None:
    """Law: a Bronze that records and has everything wants nothing, however long Kafka keeps it."""
    for low in (0, 20, HIGH):
        assert len(Lack(SOURCE, 0, low, HIGH, HIGH, 0, NONE).wanted(NONE)) == 0
