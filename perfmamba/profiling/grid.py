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

from perfmamba.errors import InputError
from perfmamba.files import make_folder
from perfmamba.models import load_model, model_name, resolve_dtype
from perfmamba.profiling.counts import Mode
from perfmamba.profiling.results import Cell, CellResult, read_result, result_path
from perfmamba.profiling.runs import run_cell

Existing = Literal["refuse", "resume", "overwrite"]


@dataclass(frozen=True)
class Job:
    """A cell and the model source, as the user gave it, that it needs."""

    source: str
    cell: Cell


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
) -> tuple[Job, ...]:
    """Every cell of the grid, model by model, small lengths first.

    Raises:
        InputError: if a number is out of range, or two models have the same name.
        ModelError: if a source is no model.
    """
    for option, value, least in (
        *(("--seqlen", seqlen, 1) for seqlen in seqlens),
        ("--batch", batch, 1),
        ("--repeat", repeat, 1),
        ("--warmup", warmup, 0),
    ):
        if value < least:
            raise InputError(f"{option} {value}: give a number of at least {least}")
    names = [model_name(source, layers=layers) for source in sources]
    if len(set(names)) < len(names):
        raise InputError(f"two of these models have the same name: {', '.join(names)}; profile them apart")
    return tuple(
        Job(source, Cell(name, mode, seqlen, batch, dtype, device.type, layers, warmup, repeat, seed))
        for source, name in zip(sources, names, strict=True)
        for mode in dict.fromkeys(modes)
        for seqlen in sorted(set(seqlens))
    )


def pending_jobs(jobs: Sequence[Job], folder: Path, existing: Existing) -> tuple[Job, ...]:
    """The jobs still to run in a folder, which is made if it is missing.

    Args:
        jobs: the whole grid.
        folder: where the results go.
        existing: `resume` skips cells that have a result of the same settings, `overwrite` measures
            them again, `refuse` raises if there is any.

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
    done = {job for job in present if _is_done(job, folder)}
    return tuple(job for job in jobs if job not in done)


def _is_done(job: Job, folder: Path) -> bool:
    try:
        return read_result(result_path(folder, job.cell)).cell == job.cell
    except InputError:
        return False


def run_jobs(jobs: Sequence[Job], folder: Path, *, device: torch.device) -> Iterator[CellResult]:
    """Run jobs in order, loading each model once, and yield each result once it is written.

    Raises:
        ModelError: if a model cannot be loaded.
        InputError: if a file cannot be written.
    """
    for source, of_model in groupby(jobs, key=lambda job: job.source):
        cells = [job.cell for job in of_model]
        first = cells[0]
        loaded = load_model(
            source, layers=first.layers, device=device, dtype=resolve_dtype(first.dtype), seed=first.seed
        )
        for cell in cells:
            yield run_cell(loaded, cell, folder)
