"""Long random inputs: the parse path of ingest, held against the witness.

    make fuzz SECONDS=600 SEED=1

No part of the test run. Every message of a round goes through ``Parser``, thousands in one query, then through the
encoding of typed batches, as in ingest; it must have the outcome that ``oracle.classify`` gives it. A message with a
kind of outcome not seen before is kept, and changed again, so that oddities add up. The inputs know the structure of a
sale: a coverage-guided fuzzer sees nothing of a parser that is SQL, and asks it one message at a time.

What it finds is cut down and printed, and belongs into ``tests/salesviews/test_classification.py`` as a case. The same
seed gives the same rounds; time only says how many. Exits with 1 if it found anything.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import oracle
from lakes import MadePoll
from odd_messages import DEEPEST, NOW, SALE, Maker
from oracle import Outcome

from processors.columnar import MessageBatch
from processors.ingest import Parser
from salesviews import typed
from salesviews.simulation import dirt
from salesviews.typed import Interval, SourcePartition

ROUND_MESSAGES = 4_000
KEPT_BYTES = 3_000
"""Larger messages are not kept to be changed again: they would make rounds slow."""
ENOUGH = 20
"""Kinds of difference after which it ends: more of them say no more."""
SOURCE = SourcePartition("topic-1", 0, "ventes")

Payload = bytes | None


@dataclass(frozen=True, eq=False)
class TimedPoll(MadePoll):
    """A poll whose messages have a Kafka time each."""

    times_ms: Sequence[int] = ()

    def timestamps_ms(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array(self.times_ms, np.int64)


Sent = tuple[Payload, int]
"""A payload and Kafka's timestamp."""


def given(parser: Parser, messages: Sequence[Sent]) -> list[Outcome]:
    """What ingest makes of messages: the typed rows as views reads them, and the day of Bronze."""
    times_ms = [time_ms for _, time_ms in messages]
    poll = TimedPoll((), [payload for payload, _ in messages], 0, NOW, times_ms=times_ms)
    interval = Interval(SOURCE, 0, len(messages), 0, len(messages))
    parsed = parser.parse(interval, MessageBatch(poll, slice(0, len(messages)), "ventes", 0))
    rows = typed.decode(typed.encode(parsed.typed))
    archived = parsed.bronze(NOW).rows
    if archived.column("payload").to_pylist() != [payload for payload, _ in messages]:
        raise AssertionError("Bronze would hold other bytes")
    return [
        Outcome({name: row[name] for name in oracle.FIELDS}, row["motif"], row["montant_arrondi"], jour)
        for row, jour in zip(rows.to_pylist(), archived.column("jour").to_pylist(), strict=True)
    ]


def wanted(message: Sent) -> Outcome:
    payload, time_ms = message
    latest_ms = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)
    kafka = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=min(max(time_ms, 0), latest_ms))
    return oracle.classify(payload, kafka)


def differs(parser: Parser, message: Sent) -> bool:
    try:
        [outcome] = given(parser, [message])
    except Exception:
        return True
    return outcome != wanted(message)


def cut_down(message: Sent, is_bad: Callable[[Sent], bool]) -> Sent:
    """A smaller message that is as bad: pieces are taken out while it stays so."""
    payload, time_ms = message
    if payload is None:
        return message
    size = len(payload) // 2
    while size:
        place = 0
        while place < len(payload):
            shorter = payload[:place] + payload[place + size :]
            if is_bad((shorter, time_ms)):
                payload = shorter
            else:
                place += size
        size //= 2
    return payload, time_ms


def kind_of(outcome: Outcome) -> tuple[Any, ...]:
    """What makes an outcome another kind: motif, which fields are there, and rounding."""
    return outcome.motif, tuple(value is None for value in outcome.fields.values()), outcome.rounded


class Fuzz:
    """Rounds of messages, one after the other."""

    def __init__(self, seed: int) -> None:
        self.messages = 0
        self.found: dict[str, Sent] = {}
        self.motifs: dict[str, int] = {}
        self._rng = random.Random(seed)
        self._maker = Maker(self._rng)
        self._parser = Parser()
        self._kept: list[bytes] = [Maker(random.Random(0)).document()]
        self._kinds: set[tuple[Any, ...]] = set()
        ordinary = ("{" + ", ".join(f'"{name}": {text}' for name, text in SALE.items()) + "}").encode()
        for shapes in (*dirt.SHAPES.values(), dirt.ODDITIES, dirt.CONFLICTS):
            self._kept += [payload for shape in shapes if (payload := shape(ordinary))]

    def round(self) -> None:
        messages = [self._message() for _ in range(ROUND_MESSAGES)]
        try:
            outcomes = given(self._parser, messages)
        except Exception as error:
            self._find_cause(messages, error)
            return
        for message, outcome in zip(messages, outcomes, strict=True):
            expected = wanted(message)
            if outcome != expected:
                self._report(message, expected, outcome)
            self._keep(message, expected)
        self.messages += len(messages)

    def _message(self) -> Sent:
        rng, maker = self._rng, self._maker
        kind = rng.random()
        payload: Payload
        if kind < 0.5:
            payload = maker.document()
        elif kind < 0.65:
            payload = maker.spoilt(maker.document(), rng.choice(self._kept))
        elif kind < 0.98:
            payload = maker.spoilt(rng.choice(self._kept), rng.choice(self._kept))
        else:
            payload = rng.choice(
                (None, b"", rng.randbytes(rng.randint(1, 40)), maker.value().encode("utf-8", "replace"))
            )
        return payload, maker.kafka_ms()

    def _keep(self, message: Sent, outcome: Outcome) -> None:
        payload, _ = message
        name = outcome.motif or "valide"
        self.motifs[name] = self.motifs.get(name, 0) + 1
        kind = kind_of(outcome)
        if not payload or len(payload) >= KEPT_BYTES or outcome.motif == "json_invalide":
            return
        if kind not in self._kinds or self._rng.random() < 0.001:
            self._kinds.add(kind)
            self._kept.append(payload)

    def _find_cause(self, messages: list[Sent], error: Exception) -> None:
        """The query failed: of halves that fail, one fails again, down to a message (or to a half that needs both)."""
        while len(messages) > 1:
            half = len(messages) // 2
            for part in (messages[:half], messages[half:]):
                try:
                    given(self._parser, part)
                except Exception as cause:
                    messages, error = part, cause
                    break
            else:
                break
        self._report(messages[0], wanted(messages[0]), f"an error, with {len(messages)} messages: {error!r}")

    def _report(self, message: Sent, expected: Outcome, outcome: Outcome | str) -> None:
        if isinstance(outcome, str):
            name = outcome
        else:
            fields = [field for field in oracle.FIELDS if expected.fields[field] != outcome.fields[field]]
            name = f"{expected.motif} {outcome.motif} {fields} {expected.rounded} {outcome.rounded}"
        if name in self.found:
            return
        is_alone = differs(self._parser, message)
        small = cut_down(message, lambda each: differs(self._parser, each)) if is_alone else message
        self.found[name] = small
        print(f"FOUND {small!r}" + ("" if is_alone else " (only among other messages)"))
        print(f"  the witness says {wanted(small)}")
        print(f"  the parser says  {outcome if isinstance(outcome, str) else self._alone(small)}", flush=True)

    def _alone(self, message: Sent) -> object:
        try:
            return given(self._parser, [message])[0]
        except Exception as error:
            return repr(error)


def main() -> int:
    arguments = argparse.ArgumentParser(description="Random messages through ingest's parse path, against the witness.")
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = arguments.parse_args()
    sys.setrecursionlimit(20 * DEEPEST)
    print(f"seed {options.seed}", flush=True)
    fuzz = Fuzz(options.seed)
    start = time.monotonic()
    while time.monotonic() - start < options.seconds and len(fuzz.found) < ENOUGH:
        fuzz.round()
    print(f"{fuzz.messages:,} messages in {time.monotonic() - start:.0f} s with seed {options.seed}, by outcome:")
    for motif, count in sorted(fuzz.motifs.items()):
        print(f"  {motif:<24}{count:>12,}")
    print(f"{len(fuzz.found)} kinds of difference found")
    return 1 if fuzz.found else 0


if __name__ == "__main__":
    sys.exit(main())
