from dataclasses import replace
from datetime import UTC, datetime

import pytest

from salesviews import definition
from salesviews.errors import DefinitionError
from salesviews.manifest import Manifest
from salesviews.typed import SourcePartition

FIGURES = Manifest(1, datetime(2026, 1, 1, tzinfo=UTC), 0, 5, {SourcePartition("id", 0, "ventes"): 6}, True, {})


@pytest.mark.parametrize("days", [1, 30, 3650])
def test_a_definition_says_its_rules_and_days(days: int) -> None:
    """Law: what a process counts by is told by the text that its figures carry."""
    text = definition.of(days)
    assert (definition.rules(text), definition.dedup_days(text)) == (definition.digest(), days)
    replace(FIGURES, definition=text).check_definition(days)
    with pytest.raises(DefinitionError, match=f"SALESVIEWS_DEDUP_DAYS={days}, this process has {days + 1}"):
        replace(FIGURES, definition=text).check_definition(days + 1)


def test_figures_of_other_rules_are_not_added_to() -> None:
    """Law: other rules are refused; of an older program, which did not write the days down, any are taken."""
    with pytest.raises(DefinitionError, match="other rules or views"):
        replace(FIGURES, definition="0123456789abcdef-30d").check_definition(30)
    replace(FIGURES, definition=definition.digest()).check_definition(7)
    replace(FIGURES, definition="0123456789abcdef-30d", positions={}).check_definition(30)
