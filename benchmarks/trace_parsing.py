"""Trace parsing: CPU time and memory to read and attribute a Kineto trace."""

import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.large_trace import generated_step, write_large_trace

if TYPE_CHECKING:
    from perfmamba.profiling import Trace

MEGABYTES = (8, 64)
# Not ru_maxrss: a process inherits that of the one it was forked from, and asv's has torch in it.
_PEAK = """
import sys
from pathlib import Path
from perfmamba.profiling import break_down, read_trace
break_down(read_trace(sys.argv[1]))
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
"""


class TraceParsing:
    """A generated trace with memory, shapes and stacks."""

    params = (MEGABYTES,)
    param_names = ("megabytes",)
    version = "1"
    timer = time.process_time
    number = 1
    repeat = (3, 10, 2.0)

    def setup_cache(self) -> None:
        step = generated_step()
        for megabytes in MEGABYTES:
            write_large_trace(Path(f"{megabytes}.json"), step, megabytes * 10**6)

    def setup(self, megabytes: int) -> None:
        try:
            from perfmamba.profiling import break_down, read_trace
        except ImportError as error:
            raise NotImplementedError(str(error)) from error
        self.read_trace, self.break_down = read_trace, break_down
        self.path = f"{megabytes}.json"
        self.trace = checked_trace(self.path)

    def time_read(self, _megabytes: int) -> None:
        self.read_trace(self.path)

    def time_break_down_component(self, _megabytes: int) -> None:
        self.break_down(self.trace, "component")

    def time_break_down_op(self, _megabytes: int) -> None:
        self.break_down(self.trace, "op")

    def track_peak_bytes(self, _megabytes: int) -> int:
        """Peak resident memory of a fresh interpreter that reads and attributes the trace."""
        command = [sys.executable, "-c", _PEAK, self.path]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    track_peak_bytes.unit = "bytes"
    track_peak_bytes.version = "2"


@cache
def checked_trace(path: str) -> "Trace":
    """The trace, read once in a process: asv repeats a benchmark's setup before every sample.

    Raises:
        AssertionError: if a kernel is attributed to no component: each is launched in one.
    """
    from perfmamba.profiling import break_down, read_trace

    trace = read_trace(path)
    assert break_down(trace).unattributed.time_ns == 0
    return trace
