"""What a trace is broken down by: the ranges that own cost, and the label of each.

In: a `Trace` and the wish of the user. Out: a `View`. Our own traces have the component ranges that
`perfmamba.components` names; any other trace is broken down by the best that it holds.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from perfmamba.components import MODEL_RANGE, OTHER, parse_component_range
from perfmamba.profiling.columns import Indices, Spans
from perfmamba.profiling.events import MODULE_PREFIX
from perfmamba.profiling.nesting import NOTHING, RangeIndex
from perfmamba.profiling.trace import Trace

By = Literal["component", "layer", "kernel", "op"]
BY: tuple[By, ...] = get_args(By)

STEP_PREFIX = "ProfilerStep#"


class Label(NamedTuple):
    """What a row is named; `layer` only in our own traces, by layer."""

    name: str
    layer: int | None = None


@dataclass(frozen=True)
class View:
    """Ranges that own cost.

    Attributes:
        ranges: the owners; cost goes to the innermost that holds its cause.
        label: for each range an index into `labels`.
        labels: the rows.
        kind: what the labels are, for people.
        ours: whether the ranges are our components, within the model's range.
        note: what the reader must know of a view that was not the one asked for; or "".
    """

    ranges: Spans
    label: Indices
    labels: tuple[Label, ...]
    kind: str
    ours: bool = False
    note: str = ""

    def label_of(self, owner: Indices) -> Indices:
        """The label of each owning range; `NOTHING` for `NOTHING`."""
        known = owner != NOTHING
        result = np.full(len(owner), NOTHING, np.int32)
        result[known] = self.label[owner[known]]
        return result


def view_of(trace: Trace, by: By) -> View:
    """The ranges and labels of a breakdown.

    By "kernel" there are no ranges: the labels are the trace's names, and a kernel's label is its own. A
    trace without kernels is then broken down by operators.
    """
    if by == "kernel" and trace.device != "cpu":
        nothing = trace.ops.select(np.empty(0, np.int64))
        return View(nothing, nothing.name, tuple(Label(name) for name in trace.names), kind="kernel")
    if by in ("op", "kernel"):
        return _labelled(trace, trace.ops, Label, kind="operator")
    is_ours = np.array(
        [name == MODEL_RANGE or parse_component_range(name) is not None for name in trace.names], bool
    )
    ours = trace.annotations.select(is_ours[trace.annotations.name])
    if len(ours):
        label = _component_label if by == "component" else _layer_label
        return _labelled(trace, ours, label, kind="component", ours=True)
    return _foreign_view(trace, by)


def _foreign_view(trace: Trace, by: By) -> View:
    without = "The trace has no component ranges of PerfMamba"
    is_step = np.array([name.startswith(STEP_PREFIX) for name in trace.names], bool)
    annotations = trace.annotations.select(~is_step[trace.annotations.name])
    if len(annotations):
        note = f"{without}: broken down by the ranges that the program annotated."
        return _labelled(trace, annotations, Label, kind="annotation", note=note)
    if len(trace.modules):
        if by == "component":
            note = f"{without}: broken down by nn.Module class."
            return _labelled(trace, trace.modules, _module_class_label, kind="module class", note=note)
        note = f"{without}: broken down by nn.Module instance."
        return _labelled(trace, trace.modules, _module_label, kind="module", note=note)
    note = f"{without}, no annotations and no modules: broken down by outermost operator."
    ops = trace.ops.select(~is_step[trace.ops.name])  # writers of 2021 called the steps operators
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
