"""A grid of profiling runs: what to do first, what can be skipped, and what survives an interruption.

In: the sources of models and the values of each axis. Out: one result per cell, each written as soon as it
is measured, so that an interrupted grid keeps its finished cells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import torch

from perfmamba.environment import capture_environment
from perfmamba.errors import InputError, PerfMambaError
from perfmamba.files import make_folder
from perfmamba.models import PUBLISHED_SHAPES, LoadedModel, load_model, model_name, resolve_dtype
from perfmamba.profiling.counts import Mode
from perfmamba.profiling.results import (
    ProfileCell,
    ProfileResult,
    read_result,
    remove_files,
    result_path,
    write_result,
)
from perfmamba.profiling.runs import OnStage, failed, free_memory, run_cell

_LARGEST = 2**63 - 1
Existing = Literal["refuse", "resume", "overwrite"]


@dataclass(frozen=True)
class Job:
    """A cell and the model source, as the user gave it, that it needs."""

    source: str
    cell: ProfileCell


def make_jobs(
    sources: Sequence[str],
    *,
    modes: Sequence[Mode],
    seqlens: Sequence[int],
    batch: int,
    dtype: str,
    device: torch.device,
    layers: int | None,
    warmup: int,
    repeat: int,
    seed: int,
    backends: Sequence[str | None] = (None,),
) -> tuple[Job, ...]:
    """Every cell of the grid, model by model, small lengths first, the backends of a length together.

    Raises:
        InputError: if a number is out of range, or two models have the same name.
        ModelError: if a source is no model.
    """
    for option, values in (("MODELS", sources), ("--mode", modes), ("--seqlen", seqlens)):
        if not values:
            raise InputError(f"{option}: give at least one value")
    for option, value, least in (
        *(("--seqlen", seqlen, 1) for seqlen in seqlens),
        ("--batch", batch, 1),
        ("--repeat", repeat, 1),
        ("--warmup", warmup, 0),
        ("--seed", seed, 0),
    ):
        if not least <= value <= _LARGEST:
            raise InputError(f"{option} {value}: give a number from {least} to {_LARGEST}")
    names = [model_name(source, layers=layers) for source in sources]
    if len(set(names)) < len(names):
        raise InputError(f"two of these models have the same name: {', '.join(names)}; profile them apart")
    return tuple(
        Job(
            source,
            ProfileCell(name, mode, seqlen, batch, dtype, device.type, layers, warmup, repeat, seed, backend),
        )
        for source, name in zip(sources, names, strict=True)
        for mode in dict.fromkeys(modes)
        for seqlen in sorted(set(seqlens))
        for backend in dict.fromkeys(backends)
    )


def pending_jobs(
    jobs: Sequence[Job], folder: Path, existing: Existing, *, device: torch.device
) -> tuple[Job, ...]:
    """The jobs still to run in a folder, which is made if it is missing.

    Args:
        jobs: the whole grid.
        folder: where the results go.
        existing: `resume` skips cells that were measured with the same settings on the same machine,
            `overwrite` measures all again, `refuse` raises if any has a result.
        device: where they are to run.

    Raises:
        InputError: if results are in the way, or the folder cannot be made.
    """
    make_folder(folder)
    present = [job for job in jobs if result_path(folder, job.cell).exists()]
    if present and existing == "refuse":
        raise InputError(
            f"{folder} already holds results of {len(present)} of these {len(jobs)} cells; "
            "--resume keeps them and does the rest, --overwrite measures them again"
        )
    if existing == "overwrite":
        return tuple(jobs)
    done = {job for job in present if _is_done(job, folder, device)}
    return tuple(job for job in jobs if job not in done)


def _is_done(job: Job, folder: Path, device: torch.device) -> bool:
    """Whether the cell was measured: with the same settings, weights of the same kind, on this machine."""
    try:
        result = read_result(result_path(folder, job.cell))
    except InputError:
        return False
    now = capture_environment(device)
    is_random = result.facts is not None and result.facts.weights.startswith("random")
    return (
        result.status == "ok"
        and result.cell == job.cell
        and is_random == (job.source in PUBLISHED_SHAPES)
        and (result.environment.device, result.environment.cpu_threads) == (now.device, now.cpu_threads)
    )


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    *,
    device: torch.device,
    trust_remote_code: bool = False,
    on_stage: OnStage = str,
) -> Iterator[ProfileResult]:
    """Run jobs in order, loading each model once, and yield each result once it is written.

    Raises:
        ModelError: if a model cannot be loaded.
        InputError: if a file cannot be written.
    """
    for source, of_model in groupby(jobs, key=lambda job: job.source):
        cells = [job.cell for job in of_model]
        on_stage("loading the model")
        loaded = _load(source, cells[0], device, trust_remote_code=trust_remote_code)
        for cell in cells:
            if isinstance(loaded, LoadedModel):
                yield run_cell(loaded, cell, folder, on_stage=on_stage)
            else:
                yield _without_model(cell, folder, device, loaded)
        del loaded  # before the next is loaded
        free_memory(device)


def _load(
    source: str, cell: ProfileCell, device: torch.device, *, trust_remote_code: bool
) -> LoadedModel | Exception:
    """The model that a cell needs; else what went wrong, unless the user can act on it."""
    try:
        return load_model(
            source,
            layers=cell.layers,
            device=device,
            dtype=resolve_dtype(cell.dtype),
            seed=cell.seed,
            trust_remote_code=trust_remote_code,
        )
    except PerfMambaError:
        raise
    except Exception as error:  # noqa: BLE001  # the other models can still be measured
        return error


def _without_model(cell: ProfileCell, folder: Path, device: torch.device, error: Exception) -> ProfileResult:
    remove_files(folder, cell)
    result = failed(ProfileResult(cell, "ok", capture_environment(device)), error)
    write_result(folder, result)
    return result
