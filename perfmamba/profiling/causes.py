"""Which range pays for a kernel, an operator, an allocation.

In: a `Trace` and a `View`. Out: for each event the index of the range that caused it. A kernel is caused
by its launch: the runtime call of the same correlation, on the thread and at the time of that call.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmamba.profiling.columns import Integers, Spans
from perfmamba.profiling.nesting import NOTHING, RangeIndex, self_time_ns
from perfmamba.profiling.trace import Trace
from perfmamba.profiling.views import View

_GRAPH_LAUNCH = "GraphLaunch"


@dataclass(frozen=True)
class Work:
    """What took time: the kernels of a device trace, else the operators.

    Attributes:
        spans: when each ran.
        time_ns: what each counts for: a kernel its duration, an operator its self time.
        range: index of the range that caused each, else `NOTHING`.
    """

    spans: Spans
    time_ns: Integers
    range: Integers


def attribute_work(trace: Trace, view: View, ranges: RangeIndex) -> Work:
    """Each kernel, or without kernels each operator, and the range of the view that caused it."""
    if trace.device == "cpu":
        ops = trace.ops
        if view.ranges is ops:
            return Work(ops, self_time_ns(ops), np.arange(len(ops)))
        return Work(ops, self_time_ns(ops), ranges.innermost(ops.thread, ops.start_ns))
    launch = launch_of_kernels(trace)
    launched = np.flatnonzero(launch != NOTHING)
    calls = launch[launched]
    cause = np.full(len(launch), NOTHING, np.int64)
    cause[launched] = ranges.innermost(trace.launches.thread[calls], trace.launches.start_ns[calls])
    return Work(trace.kernels, trace.kernels.duration_ns, cause)


def launch_of_kernels(trace: Trace) -> Integers:
    """For each kernel the index of its launch: the first call of its correlation, else `NOTHING`."""
    return _first_match(trace.launches.correlation, trace.kernels.correlation)


def work_notes(trace: Trace) -> tuple[str, ...]:
    """What a reader must know about how far this trace can be attributed."""
    if trace.device == "cpu":
        return _notes_without_kernels(trace)
    launch = launch_of_kernels(trace)
    is_graph_launch = np.array([_GRAPH_LAUNCH in name for name in trace.names], bool)
    replayed = launch != NOTHING
    replayed[replayed] = is_graph_launch[trace.launches.name[launch[replayed]]]
    notes = []
    if replayed.any():
        replays = len(np.unique(launch[replayed]))
        notes.append(
            f"CUDA graphs: {_share(trace, replayed)} were replayed by {replays} graph launches. All kernels"
            " of a replay belong to the range that launched it; profile without graphs to tell them apart."
        )
    if (launch == NOTHING).any():
        notes.append(
            f"No launch: {_share(trace, launch == NOTHING)} were launched before the recorded window."
        )
    return tuple(notes)


def _notes_without_kernels(trace: Trace) -> tuple[str, ...]:
    notes = ["No kernels in the trace: times are operators' self times on the CPU."]
    if len(trace.launches):
        notes.append(
            f"Yet there are {len(trace.launches)} calls of a GPU runtime: its kernels were not recorded."
        )
    return tuple(notes)


def _share(trace: Trace, chosen: npt.NDArray[np.bool_]) -> str:
    duration_ns = trace.kernels.duration_ns
    share = duration_ns[chosen].sum() / max(1, duration_ns.sum())
    return f"{chosen.sum()} of {len(chosen)} kernels, copies and memsets ({share:.1%} of device time)"


def _first_match(keys: Integers, wanted: Integers) -> Integers:
    """For each wanted key the index of its first occurrence in `keys`, else `NOTHING`; -1 matches nothing."""
    if not len(keys):
        return np.full(len(wanted), NOTHING, np.int64)
    order = np.argsort(keys, kind="stable")
    place = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    found = order[place]
    return np.where((keys[found] == wanted) & (wanted >= 0), found, NOTHING)
