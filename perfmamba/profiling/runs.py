"""Profiling runs: a cell of the grid model x mode x length, from the model to its result.

In: a loaded model and a `Cell`. Out: a `CellResult` and the trace it was computed from, both written.
"""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from perfmamba.environment import capture_environment
from perfmamba.models import LoadedModel, annotate
from perfmamba.profiling import Cost, break_down, read_trace
from perfmamba.profiling.counts import Count, count, dimensions
from perfmamba.profiling.recording import latencies_ms, record_trace
from perfmamba.profiling.results import Cell, CellResult, ComponentCost, trace_path, write_result


def run_cell(loaded: LoadedModel, cell: Cell, folder: Path) -> CellResult:
    """Measure one cell, write its trace and its result into a folder, and return the result.

    Raises:
        InputError: if a file cannot be written.
    """
    device = next(loaded.model.parameters()).device
    result = CellResult(
        cell=cell,
        status="out_of_memory",
        environment=capture_environment(device),
        generation=2 if hasattr(loaded.model.config, "n_groups") else 1,
        weights=loaded.weights,
        full_layers=loaded.full_layers,
    )
    try:
        latency_ms = _measure(loaded, cell, trace_path(folder, cell), device)
        result = _measured(result, loaded, trace_path(folder, cell), latency_ms)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        result = replace(result, error=str(error).splitlines()[0])
        trace_path(folder, cell).unlink(missing_ok=True)  # of an earlier run that had more memory
    finally:
        _free_memory(device)
    write_result(folder, result)
    return result


def _measure(loaded: LoadedModel, cell: Cell, trace: Path, device: torch.device) -> tuple[float, ...]:
    """Warm up, time the passes without the profiler, then write the trace of as many with it."""
    with torch.inference_mode():
        run = forward_pass(loaded, cell, device)
        for _ in range(cell.warmup):
            run()
        latency_ms = latencies_ms(run, device=device, repeat=cell.repeat)
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
    """Whether an allocation failed: a class of its own on a GPU, a RuntimeError's text on a CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        text in str(error) for text in ("DefaultCPUAllocator", "out of memory")
    )


def _free_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _measured(
    result: CellResult, loaded: LoadedModel, trace: Path, latency_ms: tuple[float, ...]
) -> CellResult:
    """The result with what its trace holds, as means over the profiled passes."""
    breakdown = break_down(read_trace(trace), by="component")
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
            allocated_bytes=None if cost.allocated_bytes is None else cost.allocated_bytes / passes,
            peak_bytes=cost.peak_bytes,
            growth_bytes=cost.growth_bytes,
            flops=counted.flops if counted else None,
            io_bytes=counted.moved_bytes(element_bytes=element_bytes) if counted else None,
        )

    return replace(
        result,
        status="ok",
        latency_ms=latency_ms,
        components=tuple(component_cost(cost, counts.get(cost.label)) for cost in costs if cost is not None),
        total=component_cost(breakdown.total, sum(counts.values(), start=Count()) if counts else None),
        notes=breakdown.notes,
    )


def _counts(loaded: LoadedModel, cell: Cell) -> dict[str, Count]:
    """FLOPs and traffic by component; empty for a model whose shapes are not known to the counter."""
    if loaded.model.config.model_type not in {"mamba", "mamba2"}:
        return {}
    sizes = dimensions(loaded.model.config)
    return count(sizes, batch=cell.batch, seqlen=cell.seqlen, mode=cell.mode).totals()
