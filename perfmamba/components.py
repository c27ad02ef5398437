"""The words of the project: components, their paper labels, and the profiler range that names each.

A profiled model opens one range around its whole forward pass (`MODEL_RANGE`) and, inside it, one
around each component of each layer (`component_range`). The trace reader turns names back into
(layer, component) with `parse_component_range`. Both sides import this module and nothing of each other.
"""

from typing import Literal, NamedTuple, get_args

Generation = Literal[1, 2]
"""Which Mamba: Mamba-1 or Mamba-2."""

Component = Literal["norm", "in_proj", "conv", "ssm", "out_proj"]
COMPONENTS: tuple[Component, ...] = get_args(Component)

OTHER = "other"
"""Inside the model's range, outside the five components: embedding, residuals, cache copies, lm_head."""

UNATTRIBUTED = "unattributed"
"""Launched outside every range, or before the recorded window."""

PAPER_LABELS: dict[str, str] = {
    "norm": "RMSNorm",
    "in_proj": "Gated MLP",
    "conv": "Conv. Transform",
    "ssm": "State Space",
    "out_proj": "Final Linear",
}
"""The paper's name of each component (PerfMamba, Table 1)."""

By = Literal["component", "layer", "kernel", "op"]
"""What a trace can be broken down by; `perfmamba.profiling.views` holds the entry of each."""
BY: tuple[By, ...] = get_args(By)

BY_MEANING: dict[By, str] = {
    "component": "components of the model, all layers together",
    "layer": "components of each layer",
    "kernel": "names of kernels",
    "op": "innermost operators",
}
"""What a row then is, for people."""

_PREFIX = "perfmamba::"
MODEL_RANGE = f"{_PREFIX}model"

_FINAL = "final"
FINAL_LAYER = -1
"""The layer index of the norm after the last block."""


class LayerComponent(NamedTuple):
    """One component of one layer; `layer` is 0-based, `FINAL_LAYER` for the model's last norm."""

    layer: int
    component: Component


def component_range(layer: int, component: Component) -> str:
    """The profiler range name of a component, such as `perfmamba::layer3::ssm`."""
    return f"{_PREFIX}{_FINAL if layer == FINAL_LAYER else f'layer{layer}'}::{component}"


def parse_component_range(name: str) -> LayerComponent | None:
    """The (layer, component) that a range name stands for; None for any other name."""
    if not name.startswith(_PREFIX):
        return None
    place, _, component = name.removeprefix(_PREFIX).partition("::")
    number = place.removeprefix("layer")
    for known in COMPONENTS:
        if component == known and place == _FINAL:
            return LayerComponent(FINAL_LAYER, known)
        if component == known and place.startswith("layer") and number.isdecimal():
            return LayerComponent(int(number), known)
    return None
