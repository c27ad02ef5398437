"""The benchmarks that the tables are made of, by the names under which their results are stored."""

from typing import Any

from benchmarks.meter.site.newest import Run

COMPONENT_TIME = "components.ComponentCost.track_device_time"
"""Seconds by (model, component, seqlen): one prefill, all layers together."""

COMPONENT_MEMORY = "components.ComponentCost.track_allocated"
"""Bytes by (model, component, seqlen): sum of the allocations."""

PAIRED_TIME = "pruning.StateSize.paired_prefill"
"""Seconds by (model, seqlen, ratio); ratio 0 is the dense model."""

PAIRED_MEMORY = "pruning.StateSize.paired_memory"
"""Bytes by (model, seqlen, ratio)."""

TABLE1_COMMAND = "asv run HEAD --bench ComponentCost"
TABLE2_COMMAND = "asv run HEAD --bench StateSize"


def text_of(parameter: str) -> str:
    """A parameter for people: `'mamba-130m'` is mamba-130m."""
    return parameter.strip("'")


def workload(run: Run, benchmark: str) -> dict[str, Any]:
    """What a run measured a suite with: layers, batch, dtype; empty where the suite did not note it."""
    suite = benchmark.rpartition(".")[0]
    return run.notes.get(("workload", suite, ()), {})
