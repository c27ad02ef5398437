"""Component costs: the device time and the allocated bytes of each component of a prefill.

Every length of every model is profiled once, in a process of its own (`setup_cache`); the cells look their
numbers up. Profiled times are for comparing a component between commits: the profiler slows down what it
watches, so they are no latencies.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import workload
from benchmarks.workload import MODELS, SEQLENS

try:
    import torch
    from torch.profiler import ProfilerActivity, profile

    from perfmamba.models import annotate
    from perfmamba.profiling import break_down, read_trace
except ImportError as error:
    MISSING = str(error)
else:
    MISSING = workload.MISSING

COMPONENTS = ("norm", "in_proj", "conv", "ssm", "out_proj", "other")
PROFILES = 7
"""Enough samples for asv to test two commits against each other by ranks (it wants six)."""


class ComponentCost:
    """What one prefill spends in a component, all layers together; on a CPU, the time of its operators."""

    params = (MODELS, COMPONENTS, SEQLENS)
    param_names = ("model", "component", "seqlen")
    version = "1"

    def setup_cache(self):
        if MISSING:
            return {}
        return {
            (model, cost.label, seqlen): (seconds, cost.allocated_bytes)
            for model in MODELS
            for seqlen in SEQLENS
            for cost, seconds in profiled_costs(model, seqlen)
        }

    setup_cache.timeout = 300

    def setup(self, costs, *cell):
        if cell not in costs:
            raise NotImplementedError(MISSING or f"this commit reports no {cell}")

    def track_device_time(self, costs, *cell):
        seconds, _ = costs[cell]
        # asv takes this shape as samples, whatever the type of the benchmark, and does its statistics.
        return {"samples": seconds, "number": 1}

    def track_allocated(self, costs, *cell):
        _, allocated_bytes = costs[cell]
        return allocated_bytes

    track_device_time.unit = "seconds"
    track_allocated.unit = "bytes"


def profiled_costs(model: str, seqlen: int):
    """For each component: its cost in the last of `PROFILES` profiled prefills, and its seconds in each."""
    breakdowns = [break_down(trace) for trace in profiled_prefills(model, seqlen)]
    for cost in _costs(breakdowns[-1]):
        yield cost, [_seconds(breakdown, cost.label) for breakdown in breakdowns]


def profiled_prefills(model: str, seqlen: int):
    """The traces of `PROFILES` prefills, annotated, after one that is not.

    Raises:
        AssertionError: if annotating changes a single bit of the logits.
    """
    prefill = workload.checked_forward(model, "prefill", seqlen)
    plain = prefill().logits
    with annotate(workload.loaded(model)), TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        for _ in range(PROFILES):
            with profile(activities=_activities(), profile_memory=True) as profiler:
                logits = prefill().logits
            torch.testing.assert_close(logits, plain, rtol=0, atol=0)
            profiler.export_chrome_trace(str(path))
            yield read_trace(path)


def _activities():
    used = [ProfilerActivity.CPU]
    return used if workload.device() == "cpu" else [*used, ProfilerActivity.CUDA]


def _costs(breakdown):
    return [*breakdown.rows, *filter(None, [breakdown.other])]


def _seconds(breakdown, label: str) -> float:
    return sum(cost.time_ns for cost in _costs(breakdown) if cost.label == label) / 1e9
