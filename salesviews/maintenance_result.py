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
        return not self.problems and all(table.problem is None for table in self.tables)


def as_json(result: Result) -> dict[str, Any]:
    return {**asdict(result), "started_at": result.started_at.isoformat(), "is_done": result.is_done}


def text(result: Result) -> str:
    """The result for a person."""
    return "\n".join(_lines(result))


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
    kept = f"{result.recent:,} recent snapshots, {result.retained:,} earlier ones kept"
    yield f"{kept} ({result.copied:,} new, {result.dropped:,} dropped); {result.seconds:.1f} s"
    for table in result.tables:
        if table.problem:
            yield f"PROBLEM {table.table}: {table.problem}"
    yield from (f"PROBLEM {problem}" for problem in result.problems)
    if result.is_dry_run:
        yield "Nothing was changed: this was a dry run."


def _change(before: float, after: float, form: str = ",") -> str:
    return f"{before:{form}} → {after:{form}}"
