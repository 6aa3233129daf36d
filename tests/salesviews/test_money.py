"""Money never meets floating point, and a mean rounds half away from zero."""

from fractions import Fraction
from functools import cache
from math import floor

import duckdb
from hypothesis import example, given, settings
from hypothesis import strategies as st

from salesviews import money

SUMS_CENTS = st.integers(0, 10**30)


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@settings(deadline=None)
@given(st.integers(-(10**40), 10**40))
@example(-105)
@example(-5)
@example(0)
def test_text_is_the_exact_amount(amount_cents):
    """The text of cents is their hundredth, to the digit, with two decimals."""
    text = money.text_of(amount_cents)
    assert Fraction(text) == Fraction(amount_cents, 100)
    assert len(text.rpartition(".")[2]) == 2


@settings(deadline=None)
@given(SUMS_CENTS, st.integers(1, 10**9))
@example(1, 2)
@example(3, 2)
@example(2, 4)
def test_a_mean_is_rounded_half_away_from_zero(cents, count):
    """The mean in SQL is that of fractions, for sums beyond what 64 bits hold."""
    sql = money.mean_cents_sql(f"{cents}::HUGEINT", f"{count}::BIGINT")
    (mean,) = _connection().execute(f"SELECT {sql}").fetchone()
    assert mean == floor(Fraction(cents, count) + Fraction(1, 2))
