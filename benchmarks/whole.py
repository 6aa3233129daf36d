"""The whole product on real and made sales: what each process costs, and whether every figure is exact.

    python benchmarks/whole.py                                     every input, with `salesviews up`
    python benchmarks/whole.py --input catalogue --sales 300000    one of them, smaller
    python benchmarks/whole.py --input generator --apart           ingest, then views, each alone
    python benchmarks/whole.py --input catalogue --live 200        live sales, once the input is counted
    python benchmarks/whole.py --input generator --sales 0 --live 500
    python benchmarks/whole.py --input wide --core 0.1             views on a tenth of a core
    python benchmarks/whole.py --input tpch --kills 10             views killed in the middle of the backlog
    python benchmarks/whole.py --input wide --rebuild              then `salesviews rebuild` and `audit`
    python benchmarks/whole.py --input generator --against ../old  the same on another checkout, and ratios

Sales are in Kafka before any processor starts (those of ``history`` come to a pipeline that runs). Then every table is
compared with plain SQL on what was sent, to the cent and the client. Counted is a process's CPU time from its line
"ready" on, of all its lives: what its first start took is shown beside it. Settings of the product come from the
environment (SALESVIEWS_SNAPSHOT_INTERVAL_S). Exits with 1 where figures differ, or cannot be compared as the product
did not get so far in the time of --wait; never for a time.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import figures
from inputs import INPUTS, Input
from product import NotDoneError, Product
from sales import Sales
from slow_core import SlowCore
from traffic import Freshness, send, send_live
from watch import Seen, Watch, shown

CHECKOUT = Path(__file__).parents[1]
READY_S = 300
WARM_UP_S = 10
REBUILD_S = 3600


@dataclass
class Backlog:
    """Sales in Kafka, in a folder of which each run gets a copy.

    :param places: of all sales that are made
    :param later: of those that are sent when the others are counted
    :param messages: that are in Kafka
    """

    folder: Path
    sales: Sales
    places: range
    later: range
    messages: int


@dataclass
class Result:
    """
    :param wrong: what differs, or why that is not known
    """

    name: str
    sales: int = 0
    start_s: float = 0.0
    seconds: float = 0.0
    seen: Seen = field(default_factory=Seen)
    wrong: list[str] = field(default_factory=list)

    def us_a_sale(self, role: str) -> float:
        return self.seen.costs[role].cpu_s / max(self.sales, 1) * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", action="append", choices=INPUTS, help="default: all of them")
    parser.add_argument("--sales", type=int, help="default: as many as the input has")
    parser.add_argument("--dirty", type=float, default=0.0, help="percent of messages more that do not count")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--apart", action="store_true", help="broker, ingest and views one by one")
    parser.add_argument("--live", type=float, metavar="RATE", help="then so many sales a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of --live")
    parser.add_argument("--core", type=float, metavar="SHARE", help="hold views to a share of a core")
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="SIGKILL views so many times")
    parser.add_argument("--rebuild", action="store_true")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, with a .venv")
    parser.add_argument("--wait", type=float, default=3600.0, metavar="SECONDS", help="for what is sent to be counted")
    options = parser.parse_args()
    if options.apart and (options.live or options.rebuild or options.kills):
        parser.error("--apart goes with none of --live, --kills and --rebuild")
    is_right = True
    for name in options.input or INPUTS:
        print(f"{name}: {INPUTS[name].doc}", flush=True)
        with tempfile.TemporaryDirectory(prefix="salesviews-benchmark-") as folder:
            backlog = produce(Path(folder), INPUTS[name], options)
            checkouts = [CHECKOUT, *([options.against.resolve()] if options.against else [])]
            results = [measure(checkout, backlog, options) for checkout in checkouts]
            for other in results[1:]:
                show_ratios(results[0], other)
            is_right = is_right and not results[0].wrong
    return 0 if is_right else 1


def produce(folder: Path, made: Input, options: argparse.Namespace) -> Backlog:
    """Make the sales, and send them to a broker that is ended then."""
    sales = Sales(folder / "sales.duckdb", options.dirty)
    until = datetime.now(UTC) - timedelta(minutes=1)
    count = made.sales if options.sales is None else options.sales
    first = sales.add(made.before, made.before.sales, options.seed + 1, until) if made.before else range(0)
    places = sales.add(made, count, options.seed, until) if count else range(0)
    if options.live:
        sales.prepare_live(made, options.seed, until)
    product = Product(CHECKOUT, folder / "backlog")
    product.folder.mkdir()
    try:
        product.start_broker()
        messages = send(product, sales, first or places)
    finally:
        product.stop_all()
    return Backlog(product.folder, sales, range(sales.end), places if first else range(0), messages)


def measure(checkout: Path, backlog: Backlog, options: argparse.Namespace) -> Result:
    """Run a checkout on a copy of the backlog, and compare its figures."""
    backlog.sales.forget(backlog.places.stop)
    result = Result(checkout.name, len(backlog.later or backlog.places))
    product = Product(checkout, backlog.folder.with_name("run"))
    shutil.copytree(backlog.folder, product.folder)
    watch = Watch(product, sees_commits=bool(options.core or options.kills))
    held = SlowCore(options.core, watch.views_pid, options.wait) if options.core else None
    try:
        if held:
            held.start()
        if options.apart:
            catch_up_apart(product, watch, backlog, result, options)
        else:
            catch_up(product, watch, backlog, result, options)
        compare(product, backlog.sales, result)
        if options.live:
            live(product, watch, backlog.sales, result, options)
        if options.rebuild:
            rebuild(product, watch, backlog.sales, result)
    except NotDoneError as error:
        result.seen = watch.seen()
        result.wrong.append(str(error))
        print(f"  {error}\n  Counted: {product.covered():,} of {backlog.messages:,} messages.", flush=True)
    finally:
        if held:
            held.release()
        product.stop_all()
        watch.end()
        if options.core or options.kills:
            show_lives(watch)
        product.remove()
    return result


def catch_up(product: Product, watch: Watch, backlog: Backlog, result: Result, options: argparse.Namespace) -> None:
    """`salesviews up`, until the API has all that was sent."""
    product.start("up")
    watch.start()
    product.until(lambda: watch.is_ready("ingest" if backlog.messages else "web"), "up", READY_S)
    if not backlog.messages:
        return
    expected = backlog.messages
    if backlog.later:
        product.until(lambda: product.served() >= expected, "up", options.wait, 0.5)
        watch.count_from_now()
        expected += send(product, backlog.sales, backlog.later)
    killer = Killer(watch, options.kills, options.seed)
    result.start_s = time.monotonic()

    def is_done() -> bool:
        killer.look()
        return product.served() >= expected

    product.until(is_done, "up", options.wait, 0.5)
    result.seconds = time.monotonic() - result.start_s
    result.seen = watch.seen()
    show(result)


def catch_up_apart(
    product: Product, watch: Watch, backlog: Backlog, result: Result, options: argparse.Namespace
) -> None:
    """The broker; `ingest` until Bronze has all that was sent; then `views` until a snapshot does."""
    product.start_broker()
    watch.start()
    for command, counted in (("ingest", product.archived), ("views", product.covered)):
        product.start(command)
        product.until(lambda command=command: watch.is_ready(command), command, READY_S)  # type: ignore[misc]
        result.start_s = time.monotonic()
        product.until(lambda counted=counted: counted() >= backlog.messages, command, options.wait)  # type: ignore[misc]
        result.seconds += time.monotonic() - result.start_s
        watch.look()
        product.stop(command)
    result.seen = watch.seen()
    show(result)


def live(product: Product, watch: Watch, sales: Sales, result: Result, options: argparse.Namespace) -> None:
    """So many sales a second: what they cost, and how fresh the figures are."""
    expected = product.served() + send_live(product, sales, options.live, WARM_UP_S)
    freshness = Freshness(product)
    freshness.start()
    watch.count_from_now()
    start_s = time.monotonic()
    sent = send_live(product, sales, options.live, options.seconds, freshness)
    wall_s, seen = time.monotonic() - start_s, watch.seen()
    product.until(lambda: product.served() >= expected + sent and not freshness.is_waiting, "up", options.wait, 0.5)
    freshness.end()
    print(f"  live: {sent / wall_s:,.0f} sales/s, {len(seen.snapshots_s)} snapshots in {wall_s:.0f} s", flush=True)
    for role in shown(seen.costs):
        cost = seen.costs[role]
        share, us = cost.cpu_s / wall_s * 100, cost.cpu_s / sent * 1e6
        print(f"    {role:8} {share:5.1f} % of a core  {us:7.1f} µs a sale  at most {cost.peak_mib:,.0f} MiB")
    cuts = statistics.quantiles(freshness.took_s, n=20)
    print(
        f"    changelogs {seen.changelog_bytes / sent:,.0f} B a sale; from the produce call to the API: median "
        f"{statistics.median(freshness.took_s):.2f} s, p95 {cuts[18]:.2f} s, largest {max(freshness.took_s):.2f} s",
        flush=True,
    )
    compare(product, sales, result)


def rebuild(product: Product, watch: Watch, sales: Sales, result: Result) -> None:
    """`salesviews rebuild` beside the running pipeline, and `salesviews audit` of what it made."""
    for command in ("rebuild", "audit"):
        start_s = time.monotonic()
        product.start(command)
        product.until_ended(command, REBUILD_S)
        cost = watch.seen().costs[command]
        wall_s = time.monotonic() - start_s
        print(f"  {command}: {wall_s:.1f} s, {cost.cpu_s:.1f} s CPU, at most {cost.peak_mib:,.0f} MiB", flush=True)
        if command == "rebuild":
            compare(product, sales, result)
    show_restarts(watch.seen())


def compare(product: Product, sales: Sales, result: Result) -> None:
    found = [str(each) for each in figures.differences(product.lake, sales)]
    result.wrong += found
    print("  figures differ: " + "; ".join(found) if found else "  figures are exact", flush=True)


class Killer:
    """Kills views at random CPU times: every second life soon after its start, the others after their first commit.

    Where the backlog is counted in one life, it kills once at most: --core makes lives longer, beside what is seen of
    them.
    """

    def __init__(self, watch: Watch, kills: int, seed: int) -> None:
        self._watch = watch
        self._left = kills
        self._random = random.Random(seed)
        self._aims: dict[int, float] = {}

    def look(self) -> None:
        life = self._watch.current("views")
        if not self._left or life is None:
            return
        is_early = self._left % 2 == 0
        aim_s = self._aims.setdefault(
            life.pid, self._random.uniform(1.0, 4.0) if is_early else self._random.uniform(0, 1)
        )
        from_s = 0.0 if is_early else life.first_commit_s
        if from_s is not None and life.cpu_s >= from_s + aim_s:
            self._left -= 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(life.pid, signal.SIGKILL)


def show(result: Result) -> None:
    seen = result.seen
    for role in shown(seen.costs):
        cost = seen.costs[role]
        print(
            f"    {role:8} {result.us_a_sale(role):7.2f} µs CPU a sale   at most {cost.peak_mib:6,.0f} MiB   start-up "
            f"{cost.start_up_s:4.1f} s CPU"
        )
    print(
        f"    caught up after {result.seconds:.1f} s ({result.sales / result.seconds:,.0f} sales/s); changelogs "
        f"{seen.changelog_bytes / result.sales:,.0f} B a sale; {len(seen.snapshots_s)} snapshots, "
        f"{seen.longest_gap_s(result.start_s):.1f} s apart at most",
        flush=True,
    )
    show_restarts(seen)


def show_restarts(seen: Seen) -> None:
    again = [f"{role} {cost.starts} times" for role, cost in seen.costs.items() if cost.starts > 1]
    print(f"    started: {', '.join(again) or 'each process once'}", flush=True)


def show_lives(watch: Watch) -> None:
    for number, life in enumerate((each for each in watch.lives if each.role == "views"), 1):
        first = "none" if life.first_commit_s is None else f"after {life.first_commit_s:.1f} s"
        print(
            f"    views, start {number}: {life.cpu_s:.1f} s CPU, its first commit {first}; typed batches "
            f"{life.begins_at} to {life.reaches}",
            flush=True,
        )


def show_ratios(one: Result, other: Result) -> None:
    ratios = [
        f"{role} {one.us_a_sale(role) / other.us_a_sale(role):.2f}"
        for role in shown(one.seen.costs)
        if other.us_a_sale(role)
    ]
    print(f"  CPU of {one.name} over {other.name}: {', '.join(ratios)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
