"""The one error hierarchy: each message says what happened, with which values, and what to do.

An error of this hierarchy that reaches the command line ends the process with ``exit_status`` and its message, and no
traceback; any other exception is a defect and shows one.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from salesviews.tables.storage import Place


class SalesviewsError(Exception):
    """Base of every error that an operator can act on."""

    exit_status = 1


class SettingError(SalesviewsError):
    """A setting's value cannot be used."""

    exit_status = 2


class AddressError(SalesviewsError):
    """The address that the web server should listen on cannot be used."""


class BrokerError(SalesviewsError):
    """Kafka cannot be started or reached."""


class StateError(SalesviewsError):
    """The local state of a processor cannot be used; Kafka has all of it."""


class UnreadyError(SalesviewsError):
    """A process of the pipeline does not make progress, or cannot serve."""


class LakeError(SalesviewsError):
    """A Delta table is missing, damaged, or not what its declaration says."""


class UnreadableError(LakeError):
    """A data file of a Delta table is missing or damaged.

    :param file: its path
    """

    def __init__(self, file: "Place", message: str) -> None:
        super().__init__(message)
        self.file = file


class DamagedLogError(LakeError):
    """The log of a Delta table cannot be read.

    :param is_found: the file that is damaged was found
    """

    def __init__(self, message: str, *, is_found: bool) -> None:
        super().__init__(message)
        self.is_found = is_found


class AuditError(SalesviewsError):
    """The audit could not be made; it says nothing about the figures."""

    exit_status = 2


class StoppedError(SalesviewsError):
    """A command was interrupted by who ran it; nothing is known of what it had not done yet."""

    exit_status = 2


class DefinitionError(SalesviewsError):
    """The figures were counted by other rules than this program's; it must not add to them."""


class RebuildError(SalesviewsError):
    """A new generation of the figures could not be made; the old ones are served as before."""


class ExpiredError(SalesviewsError):
    """A snapshot that was there is not kept any more."""


class UnknownSnapshotError(SalesviewsError):
    """There never was such a snapshot."""


class LineageError(SalesviewsError):
    """The lineage of a figure could not be told; it says nothing about the figure."""

    exit_status = 2


class ReplayError(SalesviewsError):
    """The replay could not be made, or not to its end; what it has added so far is right, and it can be run again."""

    exit_status = 2


class FencedError(SalesviewsError):
    """Another process wrote what this one owns; this one must stop and start again from what is committed."""


class GapError(SalesviewsError):
    """Messages between two positions are missing; going on would lose them silently."""


class ParameterError(SalesviewsError):
    """A parameter of a question cannot be used.

    :param parameter: the parameter's name, repeated in the HTTP error body
    """

    exit_status = 2

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter
