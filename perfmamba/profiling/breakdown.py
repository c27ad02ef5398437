"""Time, launches and memory of each component, layer, operator or kernel of a trace.

In: a `Trace`. Out: a `Breakdown`, whose rows close: times, launches, allocated and freed bytes of the rows,
of `other` and of `unattributed` sum to the total exactly.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmamba.components import OTHER, UNATTRIBUTED, By
from perfmamba.profiling.allocations import MemoryHistory, memory_history
from perfmamba.profiling.causes import AttributedWork, attribute_work, work_notes
from perfmamba.profiling.columns import Indices
from perfmamba.profiling.nesting import RangeIndex, union_ns
from perfmamba.profiling.trace import DeviceKind, Trace
from perfmamba.profiling.views import Label, View, is_step, view_of


@dataclass(frozen=True)
class BreakdownRow:
    """One row of a breakdown. Bytes are those of the device where the work ran.

    Attributes:
        label: the component, layer, operator or kernel.
        layer: its layer, in our own traces broken down by layer; else None.
        launches: kernels, copies and memsets that ran; on CPU-only traces, operators that were called.
        time_ns: their durations summed; on CPU-only traces, their self times summed.
        union_ns: time during which at least one of them was running: at most `time_ns` on a device, where
            kernels of several streams overlap.
        allocated_bytes: sizes of the allocations made, summed over the window: a flow, not a level.
        freed_bytes: sizes of the frees made, whoever allocated the block.
        peak_bytes: highest live bytes of a device right after one of the allocations.
        growth_bytes: highest rise of a device's live bytes, right after one of the allocations, above what
            was live when the range began; outside ranges and in the total, when the window began.
        escaped_bytes: sizes of the allocations that were not freed in the same run of the same range; in
            the total, not freed in the window. None where blocks have no addresses.
    """

    label: str
    layer: int | None
    launches: int
    time_ns: int
    union_ns: int
    allocated_bytes: int
    freed_bytes: int
    peak_bytes: int
    growth_bytes: int
    escaped_bytes: int | None


@dataclass(frozen=True)
class Breakdown:
    """A trace, split into rows that sum to the total.

    Attributes:
        by: what was asked for.
        kind: what the labels are: "component", "module class", "kernel"...
        device: where the work ran; "cpu" for CPU-only traces.
        rows: one for each label that has launches or memory, the longest time first.
        other: inside the model's range, outside its components; None in traces without our ranges.
        unattributed: caused outside every range.
        total: all of the trace.
        steps: profiler steps in the trace, which all numbers are sums over.
        has_memory: whether the trace records the device's memory; if not, all bytes are 0.
        notes: sentences that a reader of the numbers must know.
        memory_has_owners: whether the rows can have memory; kernels cannot, so it is all unattributed.
    """

    by: By
    kind: str
    device: DeviceKind
    rows: tuple[BreakdownRow, ...]
    other: BreakdownRow | None
    unattributed: BreakdownRow
    total: BreakdownRow
    steps: int
    has_memory: bool
    notes: tuple[str, ...]
    memory_has_owners: bool = True


def break_down(trace: Trace, by: By = "component") -> Breakdown:
    """Split the time, launches and memory of a trace.

    Args:
        trace: any Kineto trace. One without the ranges of `perfmamba.components` is split by its annotated
            ranges, else its modules, else its outermost operators, and a note says so.
        by: "component", "layer" (component of one layer), "op" (innermost operator that launched the kernel)
            or "kernel" (name of the kernel; no allocation belongs to one, so memory is unattributed).
    """
    view = view_of(trace, by)
    ranges = RangeIndex(view.ranges)
    work = attribute_work(trace, view, ranges)
    history = _device_history(trace, view, ranges)
    parts = _parts(view, work, history)
    unattributed, *rows = parts
    other = next((row for row in rows if view.ours and row.label == OTHER), None)
    used = (row for row in rows if row is not other and _is_used(row))
    return Breakdown(
        by=by,
        kind=view.kind,
        device=trace.device,
        rows=tuple(sorted(used, key=lambda row: (-row.time_ns, row.label, row.layer or 0))),
        other=other,
        unattributed=unattributed,
        total=_total(parts, work, history),
        steps=_steps(trace),
        has_memory=len(history) > 0,
        notes=_notes(trace, view, work, history),
        memory_has_owners=not view.by_kernel,
    )


def _device_history(trace: Trace, view: View, ranges: RangeIndex) -> MemoryHistory:
    memory = trace.device_memory
    return memory_history(memory, ranges.innermost(memory.thread, memory.time_ns), view.ranges)


def _parts(view: View, work: AttributedWork, history: MemoryHistory) -> list[BreakdownRow]:
    """What is unattributed, then each label of the view."""
    labels = [Label(UNATTRIBUTED), *view.labels]
    work_label = work.spans.name if view.by_kernel else view.label_of(work.range)
    work_groups = _groups(work_label, len(view.labels))
    memory_groups = _groups(view.label_of(history.range), len(view.labels))
    return [
        _row(label, work, own_work, history, own_events)
        for label, own_work, own_events in zip(labels, work_groups, memory_groups, strict=True)
    ]


def _groups(label: Indices, count: int) -> list[npt.NDArray[np.int64]]:
    """The places of `NOTHING`, then of label 0, 1, ..."""
    order = np.argsort(label, kind="stable")
    return np.split(order, np.searchsorted(label[order], np.arange(count)))


def _row(
    label: Label,
    work: AttributedWork,
    own_work: npt.NDArray[np.int64],
    history: MemoryHistory,
    own_events: npt.NDArray[np.int64],
) -> BreakdownRow:
    """The row of some of the work and some of the memory events."""
    start_ns = work.spans.start_ns[own_work]
    end_ns = start_ns + work.spans.duration_ns[own_work]
    size_bytes = history.size_bytes[own_events]
    made = own_events[size_bytes > 0]
    allocated_bytes = int(history.size_bytes[made].sum())
    outlives = history.outlives_range
    return BreakdownRow(
        label=label.name,
        layer=label.layer,
        launches=len(own_work),
        time_ns=int(work.time_ns[own_work].sum()),
        union_ns=union_ns(start_ns, end_ns),
        allocated_bytes=allocated_bytes,
        freed_bytes=allocated_bytes - int(size_bytes.sum()),
        peak_bytes=int(history.live_bytes[made].max(initial=0)),
        growth_bytes=int(history.growth_bytes[made].max(initial=0)),
        escaped_bytes=None if outlives is None else int(history.size_bytes[made[outlives[made]]].sum()),
    )


def _total(parts: list[BreakdownRow], work: AttributedWork, history: MemoryHistory) -> BreakdownRow:
    """The row of the whole trace, of which the window is the one range."""
    outlives = history.outlives_window
    made_to_stay = None if outlives is None else outlives & (history.size_bytes > 0)
    return BreakdownRow(
        label="total",
        layer=None,
        launches=sum(part.launches for part in parts),
        time_ns=sum(part.time_ns for part in parts),
        union_ns=union_ns(work.spans.start_ns, work.spans.end_ns),
        allocated_bytes=sum(part.allocated_bytes for part in parts),
        freed_bytes=sum(part.freed_bytes for part in parts),
        peak_bytes=max(part.peak_bytes for part in parts),
        growth_bytes=history.window_growth_bytes,
        escaped_bytes=None if made_to_stay is None else int(history.size_bytes[made_to_stay].sum()),
    )


def _steps(trace: Trace) -> int:
    return int(trace.named(trace.annotations, is_step).sum())


def _is_used(row: BreakdownRow) -> bool:
    return bool(row.launches or row.allocated_bytes or row.freed_bytes)


def _notes(trace: Trace, view: View, work: AttributedWork, history: MemoryHistory) -> tuple[str, ...]:
    notes = [view.note] if view.note else []
    notes.extend(work_notes(trace, work.launch))
    if trace.cut_at is not None:
        notes.append(f"The file is truncated: read up to byte {trace.cut_at}.")
    if not len(history):
        notes.append(f"No memory events of the {trace.device} device: record with profile_memory=True.")
        return tuple(notes)
    if view.by_kernel:
        notes.append("Allocations have no kernel: all memory is unattributed.")
    if history.is_running_sum:
        notes.append("The allocator's totals are not recorded: live bytes count from the window's start.")
    return tuple(notes)
