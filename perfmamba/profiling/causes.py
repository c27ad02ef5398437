"""Which range pays for a kernel, an operator, an allocation.

In: a `Trace` and a `View`. Out: for each event the index of the range that caused it. A kernel is caused
by its launch: the runtime call of the same correlation, on the thread and at the time of that call.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmamba.profiling.columns import Indices, Integers, Spans
from perfmamba.profiling.nesting import NOTHING, RangeIndex, self_time_ns
from perfmamba.profiling.trace import Trace
from perfmamba.profiling.views import View

_GRAPH_LAUNCH = "GraphLaunch"


@dataclass(frozen=True)
class AttributedWork:
    """What took time: the kernels of a device trace, else the operators.

    Attributes:
        spans: when each ran.
        time_ns: what each counts for: a kernel its duration, an operator its self time.
        launch: index of the runtime call that launched each, else `NOTHING`.
        range: index of the range that caused each, else `NOTHING`.
    """

    spans: Spans
    time_ns: Integers
    launch: Indices
    range: Indices


def attribute_work(trace: Trace, view: View, ranges: RangeIndex) -> AttributedWork:
    """Each kernel, or without kernels each operator, and the range of the view that caused it."""
    if trace.device == "cpu":
        return _attribute_ops(trace.ops, view, ranges)
    calls, kernels = trace.launches, trace.kernels
    launch = _first_match(calls.correlation, kernels.correlation)
    launch[np.isin(kernels.correlation, _ambiguous_correlations(trace))] = NOTHING
    launched = np.flatnonzero(launch != NOTHING)
    call = launch[launched]
    cause = np.full(len(launch), NOTHING, np.int32)
    cause[launched] = ranges.innermost(calls.thread[call], calls.start_ns[call])
    return AttributedWork(kernels, kernels.duration_ns, launch, cause)


def _attribute_ops(ops: Spans, view: View, ranges: RangeIndex) -> AttributedWork:
    if view.ranges is ops:
        # An operator is its own range, even where another begins in the same nanosecond.
        cause = np.arange(len(ops), dtype=np.int32)
    else:
        cause = ranges.innermost(ops.thread, ops.start_ns)
    return AttributedWork(ops, self_time_ns(ops), np.full(len(ops), NOTHING, np.int32), cause)


def _ambiguous_correlations(trace: Trace) -> Integers:
    """The correlations that launches of more than one process carry: numbers are unique in a process only."""
    process_of_thread = np.array([str(process) for process, _ in trace.threads])
    calls = trace.launches
    if len(np.unique(process_of_thread[np.unique(calls.thread)])) < 2:
        return np.empty(0, np.int64)
    _, process = np.unique(process_of_thread, return_inverse=True)
    pairs = np.unique(np.stack([calls.correlation, process[calls.thread]]), axis=1)
    correlations, processes = np.unique(pairs[0], return_counts=True)
    return correlations[processes > 1]


def work_notes(trace: Trace, launch: Indices) -> tuple[str, ...]:
    """What a reader must know about how far this trace can be attributed."""
    if trace.device == "cpu":
        return _notes_without_kernels(trace)
    is_graph_launch = trace.named(trace.launches, lambda name: _GRAPH_LAUNCH in name)
    replayed = launch != NOTHING
    replayed[replayed] = is_graph_launch[launch[replayed]]
    notes = []
    if replayed.any():
        replays = len(np.unique(launch[replayed]))
        notes.append(
            f"CUDA graphs: {_share(trace, replayed)} were replayed by {replays} graph launches. All kernels"
            " of a replay belong to the range that launched it; profile without graphs to tell them apart."
        )
    if (launch == NOTHING).any():
        notes.append(
            f"No launch: {_share(trace, launch == NOTHING)} have no launch in the trace, mostly because they"
            " were launched before the recorded window."
        )
    if len(_ambiguous_correlations(trace)):
        notes.append(
            "Several processes number their launches alike: kernels of such launches are unattributed; parse"
            " the trace of each process by itself."
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


def _first_match(keys: Integers, wanted: Integers) -> Indices:
    """For each wanted key the index of its first occurrence, else `NOTHING`; 0 and -1 match nothing."""
    if not len(keys):
        return np.full(len(wanted), NOTHING, np.int32)
    order = np.argsort(keys, kind="stable")
    place = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    found = order[place]
    return np.where((keys[found] == wanted) & (wanted > 0), found, NOTHING).astype(np.int32)
