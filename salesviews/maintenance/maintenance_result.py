"""What a maintenance did: its values, as text, and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class TableResult:
    """
    :param files_before: data files on disk, those of earlier versions too
    :param log_before: files in the table's log
    :param log_deleted: how many of them were deleted
    :param deleted: data files that nothing needed any more
    :param compacted: small files that became ``compacted_into`` larger ones
    :param seconds: that the work on this table took
    :param problem: why it was left alone, for an operator; None where all went well
    """

    table: str
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    log_before: int
    log_after: int
    log_deleted: int
    deleted: int
    compacted: int
    compacted_into: int
    seconds: float
    problem: str | None


@dataclass(frozen=True)
class Result:
    """
    :param is_dry_run: nothing was changed; the values are those that would be
    :param recent: snapshots that are versions of ``silver/snapshots``; ``retained`` are the earlier ones that are kept
    :param copied: how many became retained now
    :param dropped: how many retained ones went
    :param problems: those that are no table's
    """

    is_dry_run: bool
    started_at: datetime
    seconds: float
    recent: int
    retained: int
    copied: int
    dropped: int
    tables: tuple[TableResult, ...]
    problems: tuple[str, ...]

    @property
    def is_done(self) -> bool:
        """There was nothing that an operator has to look at."""
        return not problems(self)


def as_json(result: Result) -> dict[str, Any]:
    return {**asdict(result), "started_at": result.started_at.isoformat(), "is_done": result.is_done}


def text(result: Result) -> str:
    """The result for a person."""
    return "\n".join(_lines(result))


def line(result: Result) -> str:
    """The result in one line, without its problems."""
    deleted, compacted, into, log = (
        sum(getattr(table, name) for table in result.tables)
        for name in ("deleted", "compacted", "compacted_into", "log_deleted")
    )
    return (
        f"Maintained in {result.seconds:.1f} s: {deleted:,} data files and {log:,} log files deleted, {compacted:,} "
        f"small files became {into:,}; {_kept(result)}"
    )


def problems(result: Result) -> list[str]:
    """What an operator has to look at."""
    of_tables = [f"{table.table}: {table.problem}" for table in result.tables if table.problem]
    return [*of_tables, *result.problems]


def _lines(result: Result) -> Iterator[str]:
    width = max((len(table.table) for table in result.tables), default=0)
    yield f"{'table':<{width}}  {'data files':>17}  {'MB':>19}  {'log files':>15}  {'s':>6}"
    for each in result.tables:
        megabytes = _change(each.bytes_before / 1e6, each.bytes_after / 1e6, ",.1f")
        merged = f"  {each.compacted:,} files became {each.compacted_into:,}" if each.compacted else ""
        yield (
            f"{each.table:<{width}}  {_change(each.files_before, each.files_after):>17}  {megabytes:>19}  "
            f"{_change(each.log_before, each.log_after):>15}  {each.seconds:>6.2f}{merged}"
        )
    yield f"{_kept(result)}; {result.seconds:.1f} s"
    yield from (f"PROBLEM {problem}" for problem in problems(result))
    if result.is_dry_run:
        yield "Nothing was changed: this was a dry run."


def _kept(result: Result) -> str:
    return (
        f"{result.recent:,} recent snapshots, {result.retained:,} earlier ones kept ({result.copied:,} new, "
        f"{result.dropped:,} dropped)"
    )


def _change(before: float, after: float, form: str = ",") -> str:
    return f"{before:{form}} → {after:{form}}"
