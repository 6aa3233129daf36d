"""Where a process of the pipeline can crash: each step of its checkpoint, and of its way back from a crash, as a value.

A step is something that is done to the world outside of the process. Between two steps nothing is, so that a crash
before one is a crash after the one before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from confluent_kafka import KafkaError, KafkaException
from deltalake.exceptions import CommitFailedError
from quixstreams.kafka.exceptions import KafkaProducerDeliveryError

from salesviews import lake
from salesviews.errors import BrokerError


class Moment(StrEnum):
    """Where in a step a process crashes."""

    BEFORE = "before"
    AFTER = "after"
    LOST = "lost"
    """The step was done, and its answer did not arrive: the call fails as the client's does then. Nobody is killed."""


@dataclass(frozen=True)
class Step:
    """
    :param name: of what it commits, or of what it does
    :param lost: makes the error as which a lost answer shows; None where no answer can be lost
    :param finds_out: the process finds out by itself what became of the commit, and goes on
    """

    name: str
    lost: Callable[[], Exception] | None = None
    finds_out: bool = False


@dataclass(frozen=True)
class Point:
    """A place where a process crashes: the ``nth`` time that it comes to a moment of a step."""

    moment: Moment
    step: Step
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.moment} {self.step.name}" + (f", time {self.nth}" if self.nth > 1 else "")

    @property
    def mark(self) -> str:
        """The line that the process writes there."""
        return f"CRASH POINT {self}\n"


def _connection_lost() -> Exception:
    return OSError("Generic LocalFileSystem error: the answer to the commit did not arrive")


def _commit_failed() -> Exception:
    return CommitFailedError("Failed to commit transaction: the answer to the commit did not arrive")


def _not_delivered() -> Exception:
    return KafkaProducerDeliveryError(KafkaError(KafkaError._MSG_TIMED_OUT))


def _undelivered() -> Exception:
    return BrokerError("1 message was not delivered to Kafka")


def _timed_out() -> Exception:
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, "the answer did not arrive", False, True))


PRODUCED = Step("produced", _not_delivered)
"""All that was produced is in Kafka."""

HANDED_ON = Step("handed on", _undelivered)
"""All typed batches and dead letters are in Kafka, before Bronze has their messages."""

INGEST_STEPS = (
    HANDED_ON,
    Step(lake.BRONZE.name, _connection_lost, finds_out=True),
    PRODUCED,
    Step("offsets", _timed_out),
)
"""A checkpoint of ingest, in order."""

OVERWRITES = tuple(Step(table.name, _connection_lost) for table in lake.OVERWRITTEN)
REJECTED = Step(lake.REJECTED.name, _connection_lost, finds_out=True)
MANIFEST = Step(lake.SNAPSHOTS.name, _commit_failed)
TRANSACTION = Step("transaction", _timed_out)
STORES = (Step("state default"), Step("state vues"))
VIEWS_STEPS = (
    Step(lake.CLEAN.name, _commit_failed, finds_out=True),
    REJECTED,
    PRODUCED,
    TRANSACTION,
    *STORES,
    *OVERWRITES,
    MANIFEST,
)
"""A checkpoint of views, and the snapshot after it, in order."""
PUBLICATION = (PRODUCED, TRANSACTION, STORES[0])
"""Then its rows are published, with a checkpoint more."""

RETURNS = tuple(Step(f"return of {table.name}") for table in lake.OVERWRITTEN)
"""A table that an interrupted checkpoint overwrote goes back."""
CHANGELOG = Step("changelog")
"""A record of a changelog goes into local state that is behind."""
HISTORY = Step("history")
"""The ids and clients that counted are read from ``ventes_clean``."""

STEPS = {step.name: step for step in (*INGEST_STEPS, *VIEWS_STEPS, *RETURNS, CHANGELOG, HISTORY)}
