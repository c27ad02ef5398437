"""Whether a recorded trace holds all that ran: a profiler that loses events says so at best in its log.

In: the trace of a known number of forward passes. Out: what is missing, in words, or None. Sums over an
incomplete trace close as well as any, and are too low.
"""

import numpy as np

from perfmamba.components import MODEL_RANGE
from perfmamba.profiling.trace import Trace

_KERNEL_LAUNCH = "LaunchKernel"


def missing_from(trace: Trace, *, passes: int, on_gpu: bool) -> str | None:
    """What a trace lacks of `passes` annotated forward passes on a GPU or a CPU; None if nothing."""
    recorded = _model_ranges(trace)
    if recorded != passes:
        return f"the profiler recorded {recorded} of {passes} passes; profile less at once"
    if on_gpu and trace.device == "cpu":
        return (
            "the profiler recorded no kernels: another profiler holds the GPU, or this user may not read its "
            "performance counters"
        )
    lost = _launches_without_kernel(trace)
    if lost:
        return f"the profiler lost {lost} kernels that were launched; profile less at once"
    return None


def _model_ranges(trace: Trace) -> int:
    return int(trace.named(trace.annotations, lambda name: name == MODEL_RANGE).sum())


def _launches_without_kernel(trace: Trace) -> int:
    is_launch = trace.named(trace.launches, lambda name: _KERNEL_LAUNCH in name)
    launched = trace.launches.correlation[is_launch]
    return int((~np.isin(launched, trace.kernels.correlation)).sum())
