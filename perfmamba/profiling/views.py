"""What a trace is broken down by: the ranges that own its work and memory, and the label of each.

In: a `Trace` and the name of a `TraceView`. Out: a `View`. Our own traces have the component ranges that
`perfmamba.components` names; any other trace is broken down by the best that it holds.

Adding a view: its name and what it means to `perfmamba.components`, which imports nothing heavy, so that the
help of a command can list the names; its entry to `TRACE_VIEWS` below.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from perfmamba.components import MODEL_RANGE, OTHER, By, parse_component_range
from perfmamba.profiling.columns import Indices, Spans
from perfmamba.profiling.events import MODULE_PREFIX
from perfmamba.profiling.nesting import NOTHING, RangeIndex
from perfmamba.profiling.trace import Trace


class Label(NamedTuple):
    """What a row is named; `layer` only in our own traces, by layer."""

    name: str
    layer: int | None = None


@dataclass(frozen=True)
class View:
    """Ranges that own the work and the memory of a trace.

    Attributes:
        ranges: the owners; work and memory belong to the innermost that holds their cause.
        label: for each range an index into `labels`.
        labels: the rows.
        kind: what the labels are, for people.
        ours: whether the ranges are our components, within the model's range.
        by_kernel: whether a row is a kernel: then there are no ranges, the labels are the trace's names, and
            nothing owns memory.
        note: what the reader must know of a view that was not the one asked for; or "".
    """

    ranges: Spans
    label: Indices
    labels: tuple[Label, ...]
    kind: str
    ours: bool = False
    by_kernel: bool = False
    note: str = ""

    def label_of(self, owner: Indices) -> Indices:
        """The label of each owning range; `NOTHING` for `NOTHING`."""
        known = owner != NOTHING
        result = np.full(len(owner), NOTHING, np.int32)
        result[known] = self.label[owner[known]]
        return result


@dataclass(frozen=True)
class TraceView:
    """One way to break a trace down.

    Attributes:
        name: what `perfmamba parse --by` takes.
        needs: what a trace must hold, for people.
        view: makes the view; None if the trace does not hold that.
        substitute: makes the view of such a trace; it is given the fact that something is missing.
    """

    name: By
    needs: str
    view: Callable[[Trace], View | None]
    substitute: Callable[[Trace, str], View]


def view_of(trace: Trace, by: By) -> View:
    """The ranges and labels of a breakdown."""
    entry = TRACE_VIEWS[by]
    view = entry.view(trace)
    return entry.substitute(trace, f"The trace has no {entry.needs}") if view is None else view


def is_step(name: str) -> bool:
    """Whether a range is a step of the profiler's schedule."""
    return name.startswith("ProfilerStep#")


def _by_component_range(trace: Trace, *, label_of: Callable[[str], Label]) -> View | None:
    ours = trace.annotations.select(trace.named(trace.annotations, _is_ours))
    return _labelled(trace, ours, label_of, kind="component", ours=True) if len(ours) else None


def _is_ours(name: str) -> bool:
    return name == MODEL_RANGE or parse_component_range(name) is not None


def _by_kernel(trace: Trace) -> View | None:
    if trace.device == "cpu":
        return None
    nothing = trace.ops.select(np.empty(0, np.int64))
    labels = tuple(Label(name) for name in trace.names)
    return View(nothing, nothing.name, labels, kind="kernel", by_kernel=True)


def _by_operator(trace: Trace, _: str = "") -> View:
    return _labelled(trace, trace.ops, Label, kind="operator")


def _by_what_there_is(
    trace: Trace, missing: str, *, kind: str, what: str, label_of: Callable[[str], Label]
) -> View:
    """By annotated ranges, else by modules, else by outermost operators."""
    annotations = trace.annotations.select(~trace.named(trace.annotations, is_step))
    if len(annotations):
        note = f"{missing}: broken down by the ranges that the program annotated."
        return _labelled(trace, annotations, Label, kind="annotation", note=note)
    if len(trace.modules):
        note = f"{missing}: broken down by {what}."
        return _labelled(trace, trace.modules, label_of, kind=kind, note=note)
    note = f"{missing}, no annotations and no modules: broken down by outermost operator."
    ops = trace.ops.select(~trace.named(trace.ops, is_step))  # writers of 2021 called the steps operators
    outermost = ops.select(RangeIndex(ops).enclosing() == NOTHING)
    return _labelled(trace, outermost, Label, kind="outermost operator", note=note)


def _labelled(
    trace: Trace,
    ranges: Spans,
    label_of: Callable[[str], Label],
    *,
    kind: str,
    ours: bool = False,
    note: str = "",
) -> View:
    used, which = np.unique(ranges.name, return_inverse=True)
    numbers: dict[Label, int] = {}
    number_of_name = [numbers.setdefault(label_of(trace.names[name]), len(numbers)) for name in used]
    label = np.array(number_of_name, np.int32)[which]
    return View(ranges, label, tuple(numbers), kind, ours=ours, note=note)


def _component_label(name: str) -> Label:
    component = parse_component_range(name)
    return Label(OTHER if component is None else component.component)


def _layer_label(name: str) -> Label:
    component = parse_component_range(name)
    return Label(OTHER) if component is None else Label(component.component, component.layer)


def _module_label(name: str) -> Label:
    return Label(name.removeprefix(MODULE_PREFIX))


def _module_class_label(name: str) -> Label:
    """`nn.Module: Linear_12` is call site 12 of class Linear."""
    return Label(re.sub(r"_\d+$", "", name.removeprefix(MODULE_PREFIX)))


_OUR_RANGES = "component ranges of PerfMamba"
TRACE_VIEWS: dict[By, TraceView] = {
    entry.name: entry
    for entry in (
        TraceView(
            "component",
            _OUR_RANGES,
            partial(_by_component_range, label_of=_component_label),
            partial(
                _by_what_there_is, kind="module class", what="nn.Module class", label_of=_module_class_label
            ),
        ),
        TraceView(
            "layer",
            _OUR_RANGES,
            partial(_by_component_range, label_of=_layer_label),
            partial(_by_what_there_is, kind="module", what="nn.Module instance", label_of=_module_label),
        ),
        TraceView("kernel", "kernels", _by_kernel, _by_operator),
        TraceView("op", "operators", _by_operator, _by_operator),
    )
}
