"""Money: integer cents inside, decimals in Delta, a JSON number with two decimals outside.

The amount of a sale is DECIMAL(18,2). A sum has 38 digits, as two sales with the largest amount would not fit
otherwise. Cents are exact through every sum. A mean is the one place that rounds: to the cent, half away from zero
(SQL's rule).
"""

import pyarrow as pa

DECIMAL_SQL = "DECIMAL(18,2)"
DECIMAL_ARROW = pa.decimal128(18, 2)
SUM_ARROW = pa.decimal128(38, 2)
CENTS_A_UNIT = 100


def text_of(amount_cents: int) -> str:
    """The amount as decimal text, which is also a JSON number: ``-105`` gives ``-1.05``."""
    sign = "-" if amount_cents < 0 else ""
    units, cents = divmod(abs(amount_cents), CENTS_A_UNIT)
    return f"{sign}{units}.{cents:02d}"


def cents_sql(amount: str) -> str:
    """SQL for an amount of a sale in cents."""
    return f"({amount}::DECIMAL(38,2) * {CENTS_A_UNIT})::BIGINT"


def mean_cents_sql(cents: str, count: str) -> str:
    """SQL for the mean of non-negative ``cents`` over a positive ``count``, in cents, rounded half away from zero."""
    return f"((2 * ({cents})::HUGEINT + ({count})) // (2 * ({count})))"


def amounts_of(cents: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cents, as DECIMAL(38,0), as amounts: the same integers with the point two places further left."""
    return _with_scale(cents, 2)


def cents_column_of(amounts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Amounts, as DECIMAL(38,2), as cents."""
    return _with_scale(amounts, 0)


def _with_scale(column: pa.ChunkedArray, scale: int) -> pa.ChunkedArray:
    kind = pa.decimal128(38, scale)
    chunks = [
        pa.Array.from_buffers(kind, len(chunk), chunk.buffers(), chunk.null_count, chunk.offset)
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, kind)
