"""The generation of the figures that a processor works for.

`salesviews rebuild` computes a new generation beside the one that is served. Each has typed batches, consumer groups
and state of its own (``topics``); the manifest says which one counts. A processor asks when it starts, and ends when
another generation takes over: its successor begins with that one.
"""

import logging
import time
from collections.abc import Callable

from salesviews import lake, manifest
from salesviews.errors import FencedError
from salesviews.lake import Lake
from salesviews.manifest import Manifest

_log = logging.getLogger(__name__)

_POLL_S = 1.0


def served(source: Lake) -> Manifest | None:
    """The newest manifest; None before the first one."""
    return manifest.read(source) if source.exists(lake.SNAPSHOTS) else None


def current(source: Lake) -> int:
    """The generation whose figures are served."""
    found = served(source)
    return 0 if found is None else found.generation


def begin(source: Lake, dedup_days: int) -> int:
    """The generation that a processor of this program may work for.

    :param dedup_days: for how many days it remembers ids
    :raises DefinitionError: if the figures were counted by other rules than this process would
    """
    found = served(source)
    if found is None:
        return 0
    found.check_definition(dedup_days)
    return found.generation


def begin_counting(source: Lake, dedup_days: int, wait: Callable[[float], None] = time.sleep) -> int:
    """As ``begin``, once no generation is being computed: until then nothing may be added to the figures."""
    is_told = False
    while (found := served(source)) is not None and found.successor is not None:
        if not is_told:
            _log.info(
                "Waiting: generation %d of the figures is being computed. If no `salesviews rebuild` is running, run "
                "it again, or `salesviews rebuild --abandon` to go on with generation %d.",
                found.successor,
                found.generation,
            )
            is_told = True
        wait(_POLL_S)
    return begin(source, dedup_days)


def check(source: Lake, mine: int) -> None:
    """:raises FencedError: if another generation has taken over"""
    if (now := current(source)) != mine:
        raise FencedError(
            f"Generation {now} of the figures has replaced {mine}, for which this process works. It ends; the next one "
            f"works for generation {now}."
        )
