"""The types of whole columns in numpy."""

from typing import Any, TypeAlias

import numpy as np

Int64s: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
UInt64s: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
Words: TypeAlias = UInt64s
"""Digests of 128 bits: two rows of 64-bit words, a column each."""
Measures: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""A row a measure, a column a key: ``int64``, or Python's integers (``object``) where one is larger."""
