"""Whether two processes count alike: a digest of the rules that decide a figure, and the days that an id is remembered.

Figures carry what they were counted by (``Manifest.definition``): ``8c1f0e5a2b7d9346-30d``. A process of another
definition must not add to them: one table would then hold sales that were judged by two rules.
"""

import functools
import hashlib

from salesviews import classification, event, views


@functools.cache
def digest() -> str:
    """Of this program's rules: its fields, its rules of validity, its views and roll-ups."""
    parts = [repr(event.FIELDS), classification.sql("messages"), repr(views.VIEWS), repr(views.ROLL_UPS)]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def of(dedup_days: int) -> str:
    """What a process of this program counts by that remembers ids for so many days."""
    return f"{digest()}-{dedup_days}d"


def rules(definition: str) -> str:
    """The digest of a definition's rules."""
    return definition.partition("-")[0]


def dedup_days(definition: str) -> int | None:
    """For how many days the ids of sales were remembered; None where an older program did not write it down."""
    days = definition.partition("-")[2].removesuffix("d")
    return int(days) if days.isdecimal() else None
