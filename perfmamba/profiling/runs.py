"""Profiling runs: a cell of the grid model x mode x length, from the model to its result.

In: a loaded model and a `ProfileCell`. Out: a `ProfileResult` and the trace that it was computed from, both
written.
"""

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from perfmamba.environment import capture_environment
from perfmamba.errors import InputError, PerfMambaError, reason
from perfmamba.models import LoadedModel, annotate, running_packages, use_backend
from perfmamba.profiling import BreakdownRow, break_down, read_trace
from perfmamba.profiling.completeness import missing_from
from perfmamba.profiling.contention import CpuWatch, cautions
from perfmamba.profiling.counts import COUNTED_MODELS, Count, count, dimensions
from perfmamba.profiling.recording import latencies_ms, record_trace
from perfmamba.profiling.results import (
    ComponentProfile,
    ModelFacts,
    ProfileCell,
    ProfileResult,
    remove_files,
    trace_path,
    write_result,
)

OnStage = Callable[[str], object]
"""Hears what a run does next, for a progress display."""

_OUT_OF_MEMORY = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")


def run_cell(
    loaded: LoadedModel, cell: ProfileCell, folder: Path, *, on_stage: OnStage = str
) -> ProfileResult:
    """Measure one cell, write its trace and its result into a folder, and return the result.

    A cell that cannot be measured has a result that says why, so that the rest of a grid can go on.

    Raises:
        InputError: if a file cannot be written.
    """
    device = next(loaded.model.parameters()).device
    remove_files(folder, cell)  # an old result beside a new trace would pass for its own
    result = ProfileResult(cell, "ok", capture_environment(device), _facts(loaded))
    try:
        use_backend(loaded.model, cell.backend)
        result = replace(result, facts=_facts(loaded))
        result = _with_passes(result, loaded, trace_path(folder, cell), on_stage)
        on_stage("reading the trace")
        result = _with_cautions(_with_components(result, loaded, folder))
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # the other cells can still be measured
        result = failed(result, error)
        trace_path(folder, cell).unlink(missing_ok=True)
    finally:
        free_memory(device)
    write_result(folder, result)
    return result


def failed(result: ProfileResult, error: Exception) -> ProfileResult:
    """The result of a cell that an error ended."""
    if is_out_of_memory(error):
        return replace(result, status="out_of_memory", error=reason(error))
    name = "" if isinstance(error, PerfMambaError) else f"{type(error).__name__}: "
    return replace(result, status="failed", error=f"{name}{reason(error)}")


def _facts(loaded: LoadedModel) -> ModelFacts:
    return ModelFacts(loaded.generation, loaded.weights, loaded.full_layers, running_packages(loaded.model))


def _with_passes(result: ProfileResult, loaded: LoadedModel, trace: Path, on_stage: OnStage) -> ProfileResult:
    """Warm up, time the passes without the profiler, then write the trace of as many with it."""
    cell, device = result.cell, loaded.model.device
    unprofiled, profiled = CpuWatch(), CpuWatch()
    with torch.inference_mode():
        run = forward_pass(loaded, cell, device)
        for number in range(cell.warmup):
            on_stage(f"warm-up pass {number + 1} of {cell.warmup}")
            run()
        on_stage(f"timing {cell.repeat} passes")
        with unprofiled:
            latency_ms = latencies_ms(run, device=device, repeat=cell.repeat)
        on_stage(f"profiling {cell.repeat} passes")
        with annotate(loaded.model):
            record_trace(profiled.around(run), trace, device=device, repeat=cell.repeat)
    result = replace(result, latency_ms=latency_ms)
    if device.type != "cpu":  # the device's own clock took the times
        return result
    return replace(result, unprofiled_use=unprofiled.use, profiled_use=profiled.use)


def forward_pass(loaded: LoadedModel, cell: ProfileCell, device: torch.device) -> Callable[[], object]:
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
    cache = cache_argument(model(tokens, use_cache=True, logits_to_keep=1))
    token = tokens[:, -1:].contiguous()
    return lambda: model(token, **cache, use_cache=True)


def cache_argument(output: Mapping[str, Any]) -> dict[str, Any]:
    """The cache in a model's output, as the argument that continues from it.

    Output and argument have the same name: `cache` since transformers 5.24; before, `cache_params` in Mamba
    models and `past_key_values` in hybrids.
    """
    name = next(name for name in ("cache", "cache_params", "past_key_values") if name in output)
    return {name: output[name]}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: torch and Python have a class for it, CUDA's libraries only a text."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    )


def free_memory(device: torch.device) -> None:
    """Give back what nothing refers to."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _with_components(result: ProfileResult, loaded: LoadedModel, folder: Path) -> ProfileResult:
    """The result with what its trace holds, as means over the profiled passes."""
    trace = read_trace(trace_path(folder, result.cell))
    missing = missing_from(trace, passes=result.cell.repeat, on_gpu=result.cell.device == "cuda")
    if missing:
        return replace(result, status="incomplete", error=missing)
    breakdown = break_down(trace, by="component")
    counts = _counts(loaded, result.cell)
    rows = (*breakdown.rows, breakdown.other, breakdown.unattributed)
    passes = result.cell.repeat
    element_bytes = loaded.model.dtype.itemsize

    def component_profile(row: BreakdownRow, counted: Count | None) -> ComponentProfile:
        return ComponentProfile(
            component=row.label,
            launches=row.launches / passes,
            time_ns=row.time_ns / passes,
            union_ns=row.union_ns / passes,
            allocated_bytes=row.allocated_bytes / passes,
            peak_bytes=row.peak_bytes,
            growth_bytes=row.growth_bytes,
            flops=counted.flops if counted else None,
            io_bytes=counted.moved_bytes(element_bytes=element_bytes) if counted else None,
        )

    return replace(
        result,
        components=tuple(component_profile(row, counts.get(row.label)) for row in rows if row is not None),
        total=component_profile(breakdown.total, sum(counts.values(), start=Count()) if counts else None),
        notes=breakdown.notes,
    )


def _counts(loaded: LoadedModel, cell: ProfileCell) -> dict[str, Count]:
    """FLOPs and traffic by component; empty for a model whose shapes are not known to the counter."""
    if loaded.model.config.model_type not in COUNTED_MODELS:
        return {}
    sizes = dimensions(loaded.model.config)
    return count(sizes, batch=cell.batch, seqlen=cell.seqlen, mode=cell.mode).totals()


def _with_cautions(result: ProfileResult) -> ProfileResult:
    """The result with a note if its passes did not have the CPU to themselves."""
    uses = [use for use in (result.unprofiled_use, result.profiled_use) if use is not None]
    if not uses or result.status != "ok":
        return result
    return replace(result, notes=(*result.notes, *cautions(uses, result.latency_ms)))
