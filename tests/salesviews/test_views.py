from collections.abc import Callable

import pytest

from salesviews.views import (
    CLIENT,
    DAY,
    MONTH,
    NOUVEAUX_CLIENTS,
    VENTES_COUNT,
    VENTES_PAR_CLIENT,
    Kept,
    RollUp,
    Source,
    View,
)


@pytest.mark.parametrize(
    "declare",
    [
        lambda: View("v", Source.SALES, (CLIENT,), MONTH, (VENTES_COUNT,), ""),
        lambda: View("v", Source.MESSAGES, (), DAY, (VENTES_COUNT,), "", kept=Kept.IN_SILVER),
        lambda: View("v", Source.SALES, (CLIENT,), DAY, (NOUVEAUX_CLIENTS,), "", kept=Kept.IN_SILVER),
        lambda: RollUp("r", VENTES_PAR_CLIENT, ("client_id",), (), False, ""),
    ],
    ids=["months in windows", "messages in Silver", "new clients in Silver", "roll-up of Silver"],
)
def test_what_cannot_be_kept_is_refused(declare: Callable[[], object]) -> None:
    """Law: a view is declared as it can be kept, or not at all."""
    with pytest.raises(ValueError, match=r"^[vr]: "):
        declare()
