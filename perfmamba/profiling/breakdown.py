"""What each component, layer, operator or kernel of a trace costs.

In: a `Trace`. Out: a `Breakdown`, whose rows close: times, launches, allocated and freed bytes of the rows,
of `other` and of `unattributed` sum to the total exactly.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmamba.components import OTHER, UNATTRIBUTED
from perfmamba.profiling.allocations import NEVER, MemoryHistory, memory_history
from perfmamba.profiling.causes import Work, attribute_work, work_notes
from perfmamba.profiling.columns import Integers
from perfmamba.profiling.nesting import NOTHING, RangeIndex, union_ns
from perfmamba.profiling.trace import DeviceKind, Trace
from perfmamba.profiling.views import By, Label, View, view_of


@dataclass(frozen=True)
class Cost:
    """What one row costs. Bytes are those of the device where the work ran.

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
    """The cost of a trace, split.

    Attributes:
        by: what was asked for.
        kind: what the labels are: "component", "module class", "kernel"...
        device: where the work ran; "cpu" for CPU-only traces.
        rows: one a label that costs anything, the longest time first.
        other: inside the model's range, outside its components; None in traces without our ranges.
        unattributed: caused outside every range.
        total: all of the trace.
        has_memory: whether the trace records the device's memory; if not, all bytes are 0.
        notes: sentences that a reader of the numbers must know.
    """

    by: By
    kind: str
    device: DeviceKind
    rows: tuple[Cost, ...]
    other: Cost | None
    unattributed: Cost
    total: Cost
    has_memory: bool
    notes: tuple[str, ...]


def break_down(trace: Trace, by: By = "component") -> Breakdown:
    """Split the time, launches and memory of a trace.

    Args:
        trace: any Kineto trace. One without the ranges of `perfmamba.components` is split by its annotated
            ranges, else its modules, else its outermost operators, and a note says so.
        by: "component", "layer" (component of one layer), "op" (innermost operator that launched the kernel)
            or "kernel" (name of the kernel; allocations have none and are unattributed).
    """
    view = view_of(trace, by)
    ranges = RangeIndex(view.ranges)
    work = attribute_work(trace, view, ranges)
    memory = trace.device_memory
    history = memory_history(memory, ranges.innermost(memory.thread, memory.time_ns), view.ranges)
    ledger = _Ledger(
        work=work,
        work_label=work.spans.name.astype(np.int64) if view.kind == "kernel" else view.label_of(work.range),
        history=history,
        memory_label=view.label_of(history.range),
    )
    rows = [ledger.cost(index, label) for index, label in enumerate(view.labels)]
    other = next((cost for cost in rows if view.ours and cost.label == OTHER), None)
    costly = (
        cost
        for cost in rows
        if cost is not other and (cost.launches or cost.allocated_bytes or cost.freed_bytes)
    )
    return Breakdown(
        by=by,
        kind=view.kind,
        device=trace.device,
        rows=tuple(sorted(costly, key=lambda cost: (-cost.time_ns, cost.label, cost.layer or 0))),
        other=other,
        unattributed=ledger.cost(NOTHING, Label(UNATTRIBUTED)),
        total=ledger.total(),
        has_memory=len(memory) > 0,
        notes=_notes(trace, view, history),
    )


@dataclass(frozen=True)
class _Ledger:
    """All work and all memory events of a trace, each with the index of its label, else `NOTHING`."""

    work: Work
    work_label: Integers
    history: MemoryHistory
    memory_label: Integers

    def cost(self, index: int, label: Label) -> Cost:
        """The cost of one label."""
        work = np.flatnonzero(self.work_label == index)
        events = np.flatnonzero(self.memory_label == index)
        escaped = None if self.history.freed_in is None else self.history.freed_in != self.history.range
        return self._cost(label, work, events, self.history.growth_bytes, escaped)

    def total(self) -> Cost:
        """The cost of the whole trace, the window being its one range."""
        work, events = np.arange(len(self.work.spans)), np.arange(len(self.history))
        escaped = None if self.history.freed_in is None else self.history.freed_in == NEVER
        return self._cost(Label("total"), work, events, self.history.window_growth_bytes, escaped)

    def _cost(
        self,
        label: Label,
        work: npt.NDArray[np.int64],
        events: npt.NDArray[np.int64],
        growth_bytes: Integers,
        escaped: npt.NDArray[np.bool_] | None,
    ) -> Cost:
        spans = self.work.spans.select(work)
        size_bytes = self.history.size_bytes
        made = events[size_bytes[events] > 0]
        freed = events[size_bytes[events] < 0]
        return Cost(
            label=label.name,
            layer=label.layer,
            launches=len(spans),
            time_ns=int(self.work.time_ns[work].sum()),
            union_ns=union_ns(spans.start_ns, spans.end_ns),
            allocated_bytes=int(size_bytes[made].sum()),
            freed_bytes=int(-size_bytes[freed].sum()),
            peak_bytes=int(self.history.live_bytes[made].max(initial=0)),
            growth_bytes=int(growth_bytes[made].max(initial=0)),
            escaped_bytes=None if escaped is None else int(size_bytes[made[escaped[made]]].sum()),
        )


def _notes(trace: Trace, view: View, history: MemoryHistory) -> tuple[str, ...]:
    notes = [view.note] if view.note else []
    notes.extend(work_notes(trace))
    if trace.cut_at is not None:
        notes.append(f"The file is truncated: read up to byte {trace.cut_at}.")
    if not len(history):
        notes.append(f"No memory events of the {trace.device} device: record with profile_memory=True.")
        return tuple(notes)
    if view.kind == "kernel":
        notes.append("Allocations have no kernel: all memory is unattributed.")
    if history.is_running_sum:
        notes.append("The allocator's totals are not recorded: live bytes count from the window's start.")
    return tuple(notes)
