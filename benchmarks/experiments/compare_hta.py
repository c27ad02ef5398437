"""Our reader against HolisticTraceAnalysis, on the same file, in turns, each in a process of its own.

    python -m benchmarks.experiments.compare_hta --hta-python PYTHON [--megabytes 500] [--base TRACE]

PYTHON is an interpreter that can import `hta`. Both sides read the trace and compute device time by kernel;
ours also attributes time and memory to components. Reported are user plus system CPU seconds and the peak
resident memory of the whole process, interpreter and imports included.
"""

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.large_trace import generated_step, real_step, write_large_trace
from perfmamba.table import Column, Table, render

_OURS = """
import sys
from perfmamba.profiling import break_down, read_trace
trace = read_trace(sys.argv[1])
break_down(trace, "component")
break_down(trace, "kernel")
"""
_HTA = """
import os, sys
from hta.trace_analysis import TraceAnalysis
analysis = TraceAnalysis(trace_files={0: sys.argv[1]}, trace_dir=os.path.dirname(sys.argv[1]))
analysis.get_gpu_kernel_breakdown(visualize=False)
"""


@dataclass(frozen=True)
class Usage:
    """What a process used up."""

    cpu_s: float
    peak_bytes: int


def usage_of(python: str, program: str, trace: Path) -> Usage:
    """Run a program on a trace and wait for it.

    Raises:
        SystemExit: the program failed.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    silent = [(os.POSIX_SPAWN_DUP2, null, 1)]
    child = os.posix_spawn(python, [python, "-c", program, str(trace)], os.environ, file_actions=silent)
    os.close(null)
    _, status, used = os.wait4(child, 0)
    if status != 0:
        raise SystemExit(f"{python} failed with status {os.waitstatus_to_exitcode(status)}")
    return Usage(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def comparison(ours: list[Usage], hta: list[Usage], trace: str) -> Table:
    """Medians and their ratios."""
    sides = [("HolisticTraceAnalysis", hta), ("perfmamba", ours)]
    medians = [
        (name, statistics.median(u.cpu_s for u in runs), statistics.median(u.peak_bytes for u in runs) / 1e6)
        for name, runs in sides
    ]
    (_, hta_s, hta_mb), (_, our_s, our_mb) = medians
    return Table(
        title=f"Reading {trace}, median of {len(ours)} runs in turns",
        columns=(
            Column("reader", "Reader"),
            Column("cpu_s", "CPU (s)", ".2f"),
            Column("peak_mb", "Peak memory (MB)", ",.0f"),
        ),
        rows=(*medians, ("HTA / perfmamba", hta_s / our_s, hta_mb / our_mb)),
        sections=frozenset({2}),
        notes=(f"CPU is user plus system time; peak memory is resident. {os.cpu_count()} CPUs.",),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare with HolisticTraceAnalysis on a large trace.")
    parser.add_argument("--hta-python", required=True, help="an interpreter that can import hta")
    parser.add_argument("--megabytes", type=int, default=500, help="size of the trace (default 500)")
    parser.add_argument("--runs", type=int, default=2, help="runs of each reader (default 2)")
    parser.add_argument("--base", type=Path, help="repeat this trace instead of a generated one")
    options = parser.parse_args()
    step = real_step(options.base) if options.base else generated_step()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        events = write_large_trace(trace, step, options.megabytes * 10**6)
        ours, hta = [], []
        for _ in range(options.runs):
            hta.append(usage_of(options.hta_python, _HTA, trace))
            ours.append(usage_of(sys.executable, _OURS, trace))
        what = (
            f"{options.megabytes} MB, {events:,} events, {options.base.name if options.base else 'generated'}"
        )
    print(render(comparison(ours, hta, what), "text"))


if __name__ == "__main__":
    main()
