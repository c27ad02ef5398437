"""`python -m benchmarks.meter.compare`: is HEAD slower than another commit, and where?

Without --base, HEAD is compared with the commit where its branch left main. Both commits are measured in
turns, by today's suites (see `duel.py`). Exit code 0 if nothing got worse, 1 if something did, 2 if the
comparison could not be made, 130 after Ctrl-C.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from asv.config import Config
from rich.console import Console

from benchmarks.meter.compare import markdown, report
from benchmarks.meter.compare.builds import (
    UNCOMMITTED,
    Build,
    RevisionError,
    build,
    left_main,
    remedy,
    was_not_fetched,
)
from benchmarks.meter.compare.duel import BUDGET_S, MIN_EFFECT, CellComparison, ComparedCell, Comparison
from benchmarks.meter.compare.errors import CellError
from benchmarks.meter.compare.progress import ComparisonBar
from benchmarks.meter.compare.servers import Benchmark
from benchmarks.meter.host import replacing

INTERRUPTED = "interrupted"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    console = _console(options.format)
    try:
        base = build(options.base) if options.base else _where_it_left_main(options)
        head = build(UNCOMMITTED if options.uncommitted else options.head)
        suites = Path(Config.load("asv.conf.json").benchmark_dir).resolve()
        comparison = Comparison(base, head, suites, min_effect=options.min_effect, budget_s=options.budget)
        console.print(f"{head.label} ({head.commit[:8]}) against {base.label} ({base.commit[:8]})")
        cut_short = _run(comparison, options.bench, console)
    except (RevisionError, CellError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    results = list(comparison.results.values())
    if options.out:
        _write(options.out, base, head, [report.as_json(result, options.min_effect) for result in results])
    if options.format == "markdown":
        print(markdown.rendered(base, head, results, options.min_effect, cut_short=cut_short))
    else:
        console.print(report.rendered(results, options.min_effect, show_all=options.all))
    return _exit_code(results, options.min_effect, cut_short)


def _console(form: str) -> Console:
    """Where the comparison says how far it is; Markdown has stdout to itself."""
    if form == "markdown":
        return Console(stderr=True)
    return Console() if sys.stdout.isatty() else Console(width=120)


def _where_it_left_main(options: argparse.Namespace) -> Build:
    """The commit at which the branch in question left main.

    Raises:
        RevisionError: if it lies on main, or no main branch can be found.
    """
    revision = "HEAD" if options.uncommitted else options.head
    left = left_main(revision)
    if left is None:
        raise RevisionError(_what_to_name(revision, revision if options.uncommitted else f"{revision}~1"))
    return replace(build(left), label="where it left main")


def _what_to_name(revision: str, other: str) -> str:
    """What to do about a revision on main: `other` is the natural choice, if it was fetched."""
    on_main = f"{revision} is on the main branch"
    if was_not_fetched(other):
        return f"{on_main}, and the commit before it was not fetched: {remedy()}"
    return f"{on_main}: name what to compare it with (--base {other})"


def _exit_code(results: Sequence[CellComparison], min_effect: float, cut_short: str) -> int:
    if cut_short:
        print(f"{cut_short}: differences are only called when they are confirmed", file=sys.stderr)
        return 130 if cut_short == INTERRUPTED else 2
    if report.worse(results, min_effect):
        return 1
    return 2 if any(result.outcome == "failed" for result in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.meter.compare", description=__doc__)
    parser.add_argument(
        "--base",
        help="compare with this revision (default: the commit where the branch left main)",
    )
    parser.add_argument("--head", default="HEAD", help="the revision in question (default: HEAD)")
    parser.add_argument("--uncommitted", action="store_true", help="compare the working tree as it is")
    parser.add_argument(
        "--bench", action="append", type=pattern, help="only cells that this regular expression finds"
    )
    parser.add_argument(
        "--min-effect",
        type=fraction,
        default=MIN_EFFECT,
        help=f"smallest change to call (default: {MIN_EFFECT})",
    )
    parser.add_argument(
        "--budget",
        type=seconds,
        default=BUDGET_S,
        help=f"seconds of samples a cell and round (default: {BUDGET_S})",
    )
    parser.add_argument("--all", action="store_true", help="print every cell, not only what changed")
    parser.add_argument(
        "--format",
        choices=("text", "markdown"),
        default="text",
        help="of the table; markdown is for a job summary or a comment on GitHub (default: text)",
    )
    parser.add_argument("--out", type=Path, help="write every sample and verdict to this JSON file")
    return parser


def pattern(text: str) -> re.Pattern[str]:
    """A regular expression, for argparse."""
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def fraction(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no fraction from 0 to 1; 0.02 is two percent")
    return value


def seconds(text: str) -> float:
    """A positive number, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return value


def _chosen(benchmarks: Iterable[Benchmark], patterns: list[re.Pattern[str]] | None) -> list[ComparedCell]:
    """The cells that the patterns find; all by default.

    Raises:
        CellError: if there is none.
    """
    cells = [cell for benchmark in benchmarks if benchmark["compared"] for cell in ComparedCell.of(benchmark)]
    chosen = [cell for cell in cells if not patterns or any(p.search(cell.name) for p in patterns)]
    if not chosen:
        raise CellError(f"no cell of {len(cells)} matches {' or '.join(p.pattern for p in patterns or [])}")
    return chosen


def _run(comparison: Comparison, patterns: list[re.Pattern[str]] | None, console: Console) -> str:
    """Run the comparison under a progress bar; what cut it short, if something did.

    Raises:
        CellError: if nothing could be measured at all.
    """
    with ComparisonBar(console) as progress:
        try:
            comparison.run(partial(_chosen, patterns=patterns), progress)
        except KeyboardInterrupt:
            return INTERRUPTED
        except CellError as error:
            if not comparison.results:
                raise
            return f"error: {error}"
    return ""


def _write(path: Path, base: Build, head: Build, cells: list[dict[str, Any]]) -> None:
    document = {"base": base.commit, "head": head.commit, "cells": cells}
    with replacing(path) as beside:
        beside.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    sys.exit(main())
