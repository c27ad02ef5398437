"""Profiling runs: a cell of the grid model x mode x length, from the model to its result.

In: a loaded model and a `Cell`. Out: a `CellResult` and the trace it was computed from, both written.
"""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from perfmamba.environment import capture_environment
from perfmamba.models import LoadedModel, annotate, running_packages, use_backend
from perfmamba.profiling import Cost, break_down, read_trace
from perfmamba.profiling.completeness import missing_from
from perfmamba.profiling.counts import COUNTED_MODELS, Count, count, dimensions
from perfmamba.profiling.recording import latencies_ms, record_trace
from perfmamba.profiling.results import (
    Cell,
    CellResult,
    ComponentCost,
    ModelFacts,
    remove_files,
    trace_path,
    write_result,
)

OnStage = Callable[[str], object]
"""Hears what a run does next, for a progress display."""

_OUT_OF_MEMORY = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")


def run_cell(loaded: LoadedModel, cell: Cell, folder: Path, *, on_stage: OnStage = str) -> CellResult:
    """Measure one cell, write its trace and its result into a folder, and return the result.

    A cell that runs out of memory, or of which the profiler loses events, has a result that says so.

    Raises:
        InputError: if a file cannot be written.
        ModelError: if the cell's backend cannot run the model.
    """
    device = next(loaded.model.parameters()).device
    use_backend(loaded.model, cell.backend)
    remove_files(folder, cell)  # an old result beside a new trace would pass for its own
    packages = running_packages(loaded.model)
    facts = ModelFacts(loaded.generation, loaded.weights, loaded.full_layers, packages)
    result = CellResult(cell, "ok", capture_environment(device), facts)
    try:
        latency_ms = _measure(loaded, cell, trace_path(folder, cell), device, on_stage)
        on_stage("reading the trace")
        result = _with_costs(replace(result, latency_ms=latency_ms), loaded, folder)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        result = replace(result, status="out_of_memory", error=first_line(error))
        trace_path(folder, cell).unlink(missing_ok=True)
    finally:
        free_memory(device)
    write_result(folder, result)
    return result


def _measure(
    loaded: LoadedModel, cell: Cell, trace: Path, device: torch.device, on_stage: OnStage
) -> tuple[float, ...]:
    """Warm up, time the passes without the profiler, then write the trace of as many with it."""
    with torch.inference_mode():
        run = forward_pass(loaded, cell, device)
        for number in range(cell.warmup):
            on_stage(f"warm-up pass {number + 1} of {cell.warmup}")
            run()
        on_stage(f"timing {cell.repeat} passes")
        latency_ms = latencies_ms(run, device=device, repeat=cell.repeat)
        on_stage(f"profiling {cell.repeat} passes")
        with annotate(loaded.model):
            record_trace(run, trace, device=device, repeat=cell.repeat)
    return latency_ms


def forward_pass(loaded: LoadedModel, cell: Cell, device: torch.device) -> Callable[[], object]:
    """One pass of a cell as a callable.

    A prefill makes its cache and only the last position's logits, as generation does. A decode step runs
    one token on the cache that a prefill of `seqlen` tokens left.
    """
    model = loaded.model
    generator = torch.Generator().manual_seed(cell.seed)
    shape = (cell.batch, cell.seqlen)
    tokens = torch.randint(model.config.vocab_size, shape, generator=generator).to(device)
    if cell.mode == "prefill":
        return lambda: model(tokens, use_cache=True, logits_to_keep=1)
    cache = model(tokens, use_cache=True, logits_to_keep=1).cache_params
    token = tokens[:, -1:].contiguous()
    return lambda: model(token, cache_params=cache, use_cache=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: torch and Python have a class for it, CUDA's libraries only a text."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its class if it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def free_memory(device: torch.device) -> None:
    """Give back what nothing refers to."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _with_costs(result: CellResult, loaded: LoadedModel, folder: Path) -> CellResult:
    """The result with what its trace holds, as means over the profiled passes."""
    trace = read_trace(trace_path(folder, result.cell))
    missing = missing_from(trace, passes=result.cell.repeat, on_gpu=result.cell.device == "cuda")
    if missing:
        return replace(result, status="incomplete", error=missing)
    breakdown = break_down(trace, by="component")
    counts = _counts(loaded, result.cell)
    costs = (*breakdown.rows, breakdown.other, breakdown.unattributed)
    passes = result.cell.repeat
    element_bytes = loaded.model.dtype.itemsize

    def component_cost(cost: Cost, counted: Count | None) -> ComponentCost:
        return ComponentCost(
            component=cost.label,
            launches=cost.launches / passes,
            time_ns=cost.time_ns / passes,
            union_ns=cost.union_ns / passes,
            allocated_bytes=cost.allocated_bytes / passes,
            peak_bytes=cost.peak_bytes,
            growth_bytes=cost.growth_bytes,
            flops=counted.flops if counted else None,
            io_bytes=counted.moved_bytes(element_bytes=element_bytes) if counted else None,
        )

    return replace(
        result,
        components=tuple(component_cost(cost, counts.get(cost.label)) for cost in costs if cost is not None),
        total=component_cost(breakdown.total, sum(counts.values(), start=Count()) if counts else None),
        notes=breakdown.notes,
    )


def _counts(loaded: LoadedModel, cell: Cell) -> dict[str, Count]:
    """FLOPs and traffic by component; empty for a model whose shapes are not known to the counter."""
    if loaded.model.config.model_type not in COUNTED_MODELS:
        return {}
    sizes = dimensions(loaded.model.config)
    return count(sizes, batch=cell.batch, seqlen=cell.seqlen, mode=cell.mode).totals()
