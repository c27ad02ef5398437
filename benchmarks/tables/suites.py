"""The benchmarks that the tables are made of, by the names under which their results are stored."""

from collections.abc import Mapping

COMPONENT_TIME = "components.ComponentCost.track_device_time"
"""Seconds by model, component, batch, seqlen and more: one prefill, all layers together."""

COMPONENT_MEMORY = "components.ComponentCost.track_allocated"
"""Bytes, by the same: the sum of the allocations."""

PAIRED_TIME = "pruning.StateSize.paired_prefill"
"""Seconds by model, batch, seqlen, ratio and more; ratio 0 is the dense model."""

PAIRED_MEMORY = "pruning.StateSize.paired_memory"
"""Bytes, by the same."""

TABLE1_COMMAND = "asv run HEAD --bench ComponentCost"
TABLE2_COMMAND = "asv run HEAD --bench StateSize"

ELEMENT_BYTES = 4
"""Of weights and activations: the suites run in float32."""


def text_of(parameter: str) -> str:
    """A parameter for people: `'mamba-130m'` is mamba-130m."""
    return parameter.strip("'")


def sheet_text(sheet: Mapping[str, str]) -> str:
    """Parameters for people: `mamba2-130m, backend hf, batch 8`."""
    texts = {name: text_of(value) for name, value in sheet.items()}
    return ", ".join(text if name == "model" else f"{name} {text}" for name, text in texts.items())
