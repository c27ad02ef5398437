"""Measure commits cell by cell, and save as it goes: `python -m benchmarks.meter.run`.

In: commits, and which cells. Out: asv result files, as `asv run --record-samples` writes them. asv saves when
all cells of a commit are done. This command saves as it goes: Ctrl-C, a kill or a time limit costs the cell
that is measured, and the same command goes on with the cells that are left.
"""

import argparse
import fcntl
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from asv import util
from asv.config import Config
from asv.console import log

from benchmarks.meter.gpu.identity import NO_GPU
from benchmarks.meter.run.bare import GivenCommit
from benchmarks.meter.run.loop import Choices, Report, SuiteRun
from benchmarks.meter.run.merge import merge_trees
from benchmarks.meter.run.preflight import missing_packages, print_device_checks
from benchmarks.meter.run.signals import Interruptions
from benchmarks.meter.run.suite import Suite, date_in, load_configuration, load_suite

TROUBLE = 2
OUT_OF_TIME = 3

_EPILOG = """\
exit codes: 0 all cells are done; 2 a cell or a build failed, or nothing could be run; 3 the time limit came
first, so run the same command again; 130 Ctrl-C. What was measured is saved in any case.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    started = time.monotonic()
    options = _options(arguments)
    log.enable()
    interruptions = Interruptions()
    try:
        with interruptions:
            return _run(options, started, interruptions)
    except (util.UserError, util.ProcessError, OSError) as error:
        if interruptions.signal is None:
            print(f"error: {error}", file=sys.stderr)
            return TROUBLE
    except KeyboardInterrupt:
        pass
    print("interrupted", file=sys.stderr)
    return interruptions.exit_code


def _run(options: argparse.Namespace, started: float, interruptions: Interruptions) -> int:
    conf = load_configuration(options.config)
    if options.merge:
        return _merge(conf, options.merge)
    bare = GivenCommit(options.commit, options.commit_date) if options.bare else None
    with _only_run(conf):
        suite = load_suite(conf, options.commits, options.bench, options.machine, bare)
        choices = Choices(
            again=options.again,
            retry_failed=options.retry_failed,
            deadline=started + 60 * options.time_limit,
            launch_method=options.launch_method,
            show_stderr=options.show_stderr,
        )
        log.flush()
        run = SuiteRun(suite, choices, interruptions.held_back)
        if bare and run.report().left:
            _introduce_machine(suite)
        try:
            run.measure()
        finally:
            _summarize(run.report(), again=options.again)
    return _exit_code(run.report())


def _introduce_machine(suite: Suite) -> None:
    """Print what is missing on a machine that nobody prepared, and check its GPU; the run goes on anyway."""
    if missing := missing_packages(Path("pyproject.toml")):
        print(f"not installed: {', '.join(missing)}; the cells that need them will be n/a", flush=True)
    if suite.machine.get("gpu", NO_GPU) != NO_GPU:
        print_device_checks()


def _merge(conf: Config, source: Path) -> int:
    merged = merge_trees(source, Path(conf.results_dir), date_in(conf))
    for file in merged:
        print(f"merged into {file}")
    return 0


def _exit_code(report: Report) -> int:
    if report.out_of_time:
        return OUT_OF_TIME
    return TROUBLE if report.failures else 0


def _summarize(report: Report, *, again: bool) -> None:
    print(f"{report.cells - report.left} of {report.cells} cells are done", flush=True)
    for failure in report.failures:
        print(f"  {failure}")
    if report.failures:
        print("--retry-failed runs failed cells once more; --show-stderr shows what they print")
    if report.left and again:
        print(f"{report.left} are left: they keep the results that were stored before, if any")
    elif report.left:
        when = " at the time limit" if report.out_of_time else ""
        print(f"{report.left} are left{when}: the same command goes on with them")


@contextmanager
def _only_run(conf: Config) -> Iterator[None]:
    """Make sure that no other run is active: two would disturb each other and overwrite each other's results.

    Raises:
        UserError: if there is another run.
    """
    folder = Path(conf.env_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise util.UserError("another run is active; wait for it, or end it") from None
        yield


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.bare and not options.commit:
        parser.error("--bare needs --commit: without git, the commit of this folder is not known")
    if options.bare and options.commits:
        parser.error("--bare measures this folder as it is: give its commit by --commit alone")
    if (options.commit or options.commit_date) and not options.bare:
        parser.error("--commit and --commit-date go with --bare")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.meter.run",
        description="Measure commits cell by cell, saving as it goes. Cells with a result are not run again.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "commits",
        nargs="*",
        metavar="COMMIT",
        help="commits and ranges (A..B); default: the branches in asv.conf.json",
    )
    add(
        "-b",
        "--bench",
        type=_pattern,
        action="append",
        default=[],
        metavar="REGEX",
        help="only the cells that match; can be given more than once",
    )
    repeat = parser.add_mutually_exclusive_group()
    repeat.add_argument("--resume", action="store_true", help="only cells without a result (the default)")
    repeat.add_argument("--again", action="store_true", help="measure all selected cells once more")
    add("--retry-failed", action="store_true", help="also run cells that failed in an earlier run")
    add(
        "--time-limit",
        type=float,
        default=float("inf"),
        metavar="MINUTES",
        help="start no cell that might not be done by then, except the first; for queues with a time limit",
    )
    add("-e", "--show-stderr", action="store_true", help="show what the benchmarks print")
    add("--launch-method", choices=["spawn", "forkserver"], help="default: as configured")
    add("--machine", metavar="NAME", help="call this machine NAME")
    add("--config", metavar="FILE", help="default: asv.conf.json of this folder")
    add = parser.add_argument_group("on a machine without git").add_argument
    add("--bare", action="store_true", help="build nothing: measure this folder with this Python")
    add("--commit", metavar="HASH", help="the commit of this folder, all 40 digits")
    add(
        "--commit-date",
        type=datetime.fromisoformat,
        metavar="DATE",
        help="when it was made, as `git log -1 --format=%%aI` prints it",
    )
    add = parser.add_argument_group("afterwards").add_argument
    add(
        "--merge",
        type=Path,
        metavar="FOLDER",
        help="merge the results in FOLDER into the project's, and run nothing",
    )
    return parser


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from error
    return text


if __name__ == "__main__":
    sys.exit(main())
