"""What every command has: settings and logging, help that names the settings that matter to it, and its group."""

import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

import click

from salesviews import __version__
from salesviews import settings as settings_module
from salesviews.errors import StoppedError
from salesviews.settings import Setting, Settings


def begin() -> Settings:
    """The settings, with logging set up by them: each command begins with this."""
    settings = settings_module.read()
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if settings.log_level != "debug":  # Python's warnings are for who develops this, or a package that it uses
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)
    return settings


class Told(Protocol):
    """A module that says a result: for a program, and for a person."""

    def as_json(self, result: Any, /) -> dict[str, Any]: ...
    def text(self, result: Any, /) -> str: ...


def tell(result: object, by: Told, as_json: bool) -> None:
    """Print a command's result, as one JSON object or as text."""
    click.echo(json.dumps(by.as_json(result), indent=2, ensure_ascii=False) if as_json else by.text(result))


LOG_LEVEL = "LOG_LEVEL"


class Command(click.Command):
    """A command whose help names the settings that matter to it, and examples.

    :param settings: names of rows of ``SETTINGS``, beside the level of the log, which all have
    :param stopped: where 1 is a verdict: says what an interrupt leaves, and the command ends with 2 then
    """

    def __init__(
        self,
        *args: Any,
        settings: Sequence[str] = (),
        examples: Sequence[str] = (),
        stopped: Callable[[], str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.settings = (*settings, *(() if LOG_LEVEL in settings else (LOG_LEVEL,)))
        self.examples = examples
        self.stopped = stopped

    def invoke(self, ctx: click.Context) -> Any:
        if self.stopped is None:
            return super().invoke(ctx)
        with _stopping(self.stopped):
            return super().invoke(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        _write_settings(formatter, [row for row in settings_module.SETTINGS if row.name in self.settings])
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


@contextmanager
def _stopping(says: Callable[[], str]) -> Iterator[None]:
    """An interrupt becomes a ``StoppedError``, also where DuckDB turns it into an error of its own."""
    interrupts: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not interrupts and not isinstance(error, KeyboardInterrupt):
            raise
        raise StoppedError(f"Interrupted. {says()}") from error
    finally:
        signal.signal(signal.SIGINT, before)


class Group(click.Group):
    command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        _write_settings(formatter, settings_module.SETTINGS)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


def _write_settings(formatter: click.HelpFormatter, rows: Sequence[Setting]) -> None:
    with formatter.section("Settings (environment variables)"):
        formatter.write_dl([(row.variable, f"{row.help}{f' [{row.default}]' if row.default else ''}") for row in rows])


LAKE = ("LAKE", "S3_ENDPOINT", "S3_REGION", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
CLIENT = (
    *("BROKER", "KAFKA_OPTIONS", "KAFKA_SECURITY_PROTOCOL", "KAFKA_CA_FILE", "KAFKA_CERTIFICATE_FILE"),
    *("KAFKA_KEY_FILE", "KAFKA_SASL_MECHANISM", "KAFKA_USERNAME", "KAFKA_PASSWORD", "KAFKA_PORT", "TOPIC"),
)
INSTANCE = tuple(row.name for row in settings_module.SETTINGS if row.name != "INSTANCE")
"""What ``up`` and ``demo`` pass on to the processes; they name each of them themselves."""


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
)
@click.version_option(__version__, prog_name="salesviews")
def commands() -> None:
    """Sales in a Kafka topic become materialized views, a Delta lake and a dashboard, each sale counted once.

    `salesviews demo` shows all of it with simulated sales; `salesviews up` runs it for your own. The other commands are
    its single processes, and `status`.
    """
