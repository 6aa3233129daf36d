"""Whether two programs count alike: a digest of everything that decides a figure.

Figures carry the digest of the program that made them (``Manifest.definition``). A program of another definition must
not add to them: one table would then hold sales that were judged by two rules.
"""

import functools
import hashlib

from salesviews import classification, event, views


@functools.cache
def digest() -> str:
    """Of this program: its fields, its rules of validity, its views and roll-ups."""
    parts = [repr(event.FIELDS), classification.sql("messages"), repr(views.VIEWS), repr(views.ROLL_UPS)]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
