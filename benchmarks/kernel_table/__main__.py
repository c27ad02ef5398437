"""`python -m benchmarks.kernel_table`: our kernels beside transformers', the official ones and the floor.

Measures what the machine can do, then each case: every contender is checked against a float64 reference,
then all are timed in turns, in random order, then the memory of each is measured. Ctrl-C keeps what is done.
On a CPU, times are those of a process whose heap keeps the memory it has got, which spares transformers
up to half of its time; GLIBC_TUNABLES= in front of the command leaves the heap as it comes.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.kernel_table.machine import machine
from benchmarks.kernel_table.operation import Case
from benchmarks.kernel_table.processes import ComputeProcesses, ContenderLostError
from benchmarks.kernel_table.records import KernelTable
from benchmarks.kernel_table.registry import grid
from benchmarks.kernel_table.report import WIDTH, rendered
from benchmarks.kernel_table.run import Limits, run
from benchmarks.meter.host import replacing
from benchmarks.meter.measure.clocks import device, threads
from benchmarks.meter.measure.conditions import CONDITIONS
from benchmarks.meter.workers import OrderFailedError

TROUBLE, OUT_OF_TIME, INTERRUPTED = 2, 3, 130

_BAR = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
_EPILOG = """\
exit codes: 0 all contenders of all cases were measured; 2 one failed, or nothing could be run; 3 the time
limit came first; 130 Ctrl-C. Whatever the code, what was measured is printed, and saved with --out.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    began = time.monotonic()
    options = _parser().parse_args(arguments)
    cases = [case for case in grid(device(), quick=options.quick) if options.case.search(str(case))]
    if not cases:
        print(f"error: no case matches {options.case.pattern!r}; --list shows them", file=sys.stderr)
        return TROUBLE
    if options.list:
        print(*cases, sep="\n")
        return 0
    for name, value in CONDITIONS.items():
        os.environ.setdefault(name, value)
    limits = Limits(options.seconds, began + 60 * options.time_limit)
    try:
        return _measure(cases, limits, options)
    except (OrderFailedError, ContenderLostError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return TROUBLE


def _measure(cases: Sequence[Case], limits: Limits, options: argparse.Namespace) -> int:
    """Measure, show and save; returns the exit code."""
    about = machine(options.threads, options.commit)
    table = KernelTable(about, left=len(cases))
    _save(table, options.out)  # a file that cannot be written is better known now
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(", ".join(f"{name} {value}" for name, value in about.items() if value), highlight=False)
    interrupted = False
    with Progress(*_BAR, console=console) as bar:
        task = bar.add_task("rates of the machine", total=len(cases))
        processes = ComputeProcesses.on(
            device(), options.threads, lambda text: bar.update(task, description=text)
        )
        try:
            for table in run(cases, processes, limits, about):
                _save(table, options.out)
                bar.update(task, completed=len(table.records))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            processes.stop()
    console.print(rendered(table))
    return INTERRUPTED if interrupted else _exit_code(table)


def _exit_code(table: KernelTable) -> int:
    if any(record.troubled for record in table.records):
        return TROUBLE
    return OUT_OF_TIME if table.left else 0


def _save(table: KernelTable, path: Path | None) -> None:
    if path is not None:
        with replacing(path) as partial:
            partial.write_text(json.dumps(table.as_json(), indent=1, allow_nan=False) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernel_table",
        description=__doc__.partition("\n\n")[2],
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--case", type=_pattern, default=_pattern(""), metavar="REGEX", help="only the cases that it finds")
    add("--quick", action="store_true", help="only the least of each kind")
    add("--list", action="store_true", help="print the cases, and measure nothing")
    add(
        "--threads",
        type=_number(int),
        default=threads(),
        metavar="N",
        help="of the CPU (default here: %(default)s)",
    )
    add(
        "--seconds",
        type=_number(float),
        default=1.0,
        metavar="S",
        help="of samples, for each contender of a case, ten samples at least (default: %(default)s)",
    )
    add(
        "--time-limit",
        type=_number(float),
        default=float("inf"),
        metavar="MINUTES",
        help="start no case that might not be done by then",
    )
    add("--out", type=Path, metavar="FILE", help="keep all samples there, as JSON, written after each case")
    add("--commit", metavar="HASH", help="what is checked out, where git cannot tell")
    return parser


def _number(kind: type[int] | type[float]) -> Callable[[str], float]:
    def positive(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not number > 0:
            raise argparse.ArgumentTypeError(f"{text!r} is no {kind.__name__} above 0")
        return number

    return positive


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
