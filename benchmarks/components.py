"""Component costs: one component alone, without a profiler, and each one's share of a profiled prefill.

For the shares, every length of every model is profiled once, in a process of its own (`setup_cache`); the
cells look their numbers up. Profiled times are for comparing components, not for waiting: the profiler slows
down what it watches.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks import workload
from benchmarks.meter.host import is_out_of_memory
from benchmarks.meter.measure.clocks import device
from benchmarks.meter.measure.memory import release
from benchmarks.workload import BACKENDS, COMPONENTS, MODELS, PROFILE

if TYPE_CHECKING:
    from perfmamba.profiling import Breakdown, BreakdownRow, Trace

try:
    import torch
    from torch.profiler import ProfilerActivity, profile

    from perfmamba.models import annotate
    from perfmamba.profiling import break_down, read_trace
    from perfmamba.profiling.completeness import missing_from
except ImportError as error:
    MISSING = str(error)
else:
    MISSING = workload.MISSING

PROFILED = 6
"""Profiled passes: enough samples for asv to test two commits against each other by ranks."""

Cost = tuple[list[float], int]
"""The seconds of a component in each profiled pass, and its allocated bytes in the last."""


class ComponentLatency:
    """Time of one component of one layer in a prefill, by itself, on the inputs that the model gives it."""

    params = (MODELS, BACKENDS, COMPONENTS, PROFILE.batches, PROFILE.component_seqlens)
    param_names = ("model", "backend", "component", "batch", "seqlen")
    version = "1"
    repeat = (10, 100, PROFILE.seconds)
    warmup_time = PROFILE.warmup_seconds
    timeout = PROFILE.timeout
    queue = "full"

    def setup(self, model: str, _backend: str, component: str, batch: int, seqlen: int) -> None:
        workload.require_replays()
        workload.require_short_loop(model, seqlen, workload.MOST_STEPS)
        self.replay = workload.checked_replay(workload.loaded(model), batch, component, seqlen)

    def cudatime_component(self, *_cell: object) -> None:
        self.replay()


class ComponentCost:
    """What one prefill spends in a component, all layers together; on a CPU, the time of its operators."""

    params = (MODELS, BACKENDS, (*COMPONENTS, "other"), PROFILE.batches, PROFILE.component_seqlens)
    param_names = ("model", "backend", "component", "batch", "seqlen")
    version = "2"
    compared = False
    paper = "table1"

    def setup_cache(self) -> dict[tuple[object, ...], Cost | str]:
        costs: dict[tuple[object, ...], Cost | str] = {}
        for model, batch, seqlen in product(MODELS, PROFILE.batches, PROFILE.component_seqlens):
            for label, cost in costs_or_reason(model, batch, seqlen).items():
                costs[model, BACKENDS[0], label, batch, seqlen] = cost
        return costs

    setup_cache.timeout = 2 * PROFILE.timeout

    def setup(self, costs: dict[tuple[object, ...], Cost | str], *cell: object) -> None:
        if isinstance(costs[cell], str):
            raise NotImplementedError(costs[cell])

    def track_device_time(self, costs: dict[tuple[object, ...], Cost], *cell: object) -> dict[str, object]:
        seconds, _ = costs[cell]
        # asv takes this shape as samples, whatever the type of the benchmark, and does its statistics.
        return {"samples": seconds, "number": 1}

    def track_allocated(self, costs: dict[tuple[object, ...], Cost], *cell: object) -> int:
        _, allocated_bytes = costs[cell]
        return allocated_bytes

    track_device_time.unit = "seconds"
    track_allocated.unit = "bytes"


def costs_or_reason(model: str, batch: int, seqlen: int) -> dict[str, Cost | str]:
    """For each component its seconds and its allocated bytes, or why there are none."""
    try:
        require_profiles(model, seqlen)
        measured = profiled_costs(model, batch, seqlen)
        costs: dict[str, Cost] = {cost.label: (seconds, cost.allocated_bytes) for cost, seconds in measured}
        reason = "this commit reports no such component"
    except RuntimeError as error:
        if not (isinstance(error, NotImplementedError) or is_out_of_memory(error)):
            raise
        costs, reason = {}, str(error)
        release()
    return {label: costs.get(label, reason) for label in (*COMPONENTS, "other")}


def require_profiles(model: str, seqlen: int) -> None:
    """Skip what this commit cannot profile, or what would take minutes and gigabytes a pass."""
    if MISSING:
        raise NotImplementedError(MISSING)
    workload.require_short_loop(model, seqlen, workload.MOST_PROFILED_STEPS)


def profiled_costs(model: str, batch: int, seqlen: int) -> Iterator[tuple["BreakdownRow", list[float]]]:
    """For each component: its cost in the last of the profiled prefills, and its seconds in each."""
    breakdowns = [break_down(trace) for trace in profiled_prefills(model, batch, seqlen)]
    for cost in _costs(breakdowns[-1]):
        yield cost, [_seconds(breakdown, cost.label) for breakdown in breakdowns]


def profiled_prefills(model: str, batch: int, seqlen: int) -> Iterator["Trace"]:
    """The traces of `PROFILED` prefills, annotated, after one that is not.

    Raises:
        AssertionError: if annotating changes a single bit of the logits, or the trace lacks kernels.
    """
    weights = workload.loaded(model)
    prefill = workload.checked_forward(weights, batch, "prefill", seqlen)
    plain = prefill().logits
    with annotate(weights), TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        for _ in range(PROFILED):
            with profile(activities=_activities(), profile_memory=True) as profiler:
                logits = prefill().logits
            torch.testing.assert_close(logits, plain, rtol=0, atol=0)
            profiler.export_chrome_trace(str(path))
            trace = read_trace(path)
            lost = missing_from(trace, passes=1, on_gpu=device() == "cuda")
            assert lost is None, lost
            yield trace


def _activities() -> "list[ProfilerActivity]":
    used = [ProfilerActivity.CPU]
    return used if device() == "cpu" else [*used, ProfilerActivity.CUDA]


def _costs(breakdown: "Breakdown") -> "list[BreakdownRow]":
    return [*breakdown.rows, *filter(None, [breakdown.other])]


def _seconds(breakdown: "Breakdown", label: str) -> float:
    return sum(cost.time_ns for cost in _costs(breakdown) if cost.label == label) / 1e9
