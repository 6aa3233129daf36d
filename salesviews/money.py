"""Money: integer cents inside, DECIMAL(18,2) in Delta, a JSON number with two decimals outside.

Cents are exact through every sum. A mean is the one place that rounds: to the cent, half away from zero (SQL's rule).
"""

from decimal import ROUND_HALF_UP, Decimal

import pyarrow as pa

DECIMAL_SQL = "DECIMAL(18,2)"
DECIMAL_ARROW = pa.decimal128(18, 2)
CENTS_A_UNIT = 100

_CENT = Decimal("0.01")


def cents_of(amount: Decimal) -> int:
    """The cents of a decimal amount, rounded half away from zero."""
    return int((amount / _CENT).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def text_of(amount_cents: int) -> str:
    """The amount as decimal text, which is also a JSON number: ``-105`` gives ``-1.05``."""
    sign = "-" if amount_cents < 0 else ""
    units, cents = divmod(abs(amount_cents), CENTS_A_UNIT)
    return f"{sign}{units}.{cents:02d}"


def decimal_sql(cents: str) -> str:
    """SQL for the DECIMAL(18,2) of an integer expression of cents, without a detour through floating point."""
    return f"(({cents})::DECIMAL(20,0) * 0.01::DECIMAL(3,2))::{DECIMAL_SQL}"


def mean_cents_sql(cents: str, count: str) -> str:
    """SQL for the mean of non-negative ``cents`` over a positive ``count``, in cents, rounded half away from zero."""
    return f"((2 * ({cents})::HUGEINT + ({count})) // (2 * ({count})))::BIGINT"
