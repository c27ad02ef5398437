"""`perfmamba profile`: a trace and a result for every cell of a grid of models, modes and lengths."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from perfmamba.commands.choices import Mode
from perfmamba.commands.options import (
    Backends,
    Batch,
    Device,
    Dtype,
    Layers,
    Models,
    Seed,
    Several,
    Switch,
    TrustRemoteCode,
)
from perfmamba.errors import InputError
from perfmamba.terminal import progress_bar, show, tell

if TYPE_CHECKING:
    from perfmamba.profiling.grid import Job
    from perfmamba.profiling.results import ProfileCell, ProfileResult
    from perfmamba.profiling.runs import OnStage


def profile(
    models: Models,
    /,
    *,
    seqlen: Annotated[tuple[int, ...], Several] = (64, 512, 2048),
    batch: Batch = 8,
    mode: Annotated[tuple[Mode, ...], Several] = ("prefill",),
    backend: Backends = (),
    device: Device = None,
    dtype: Dtype = "float32",
    layers: Layers = None,
    warmup: int = 3,
    repeat: int = 3,
    seed: Seed = 0,
    threads: int | None = None,
    out: Path,
    resume: Annotated[bool, Switch] = False,
    overwrite: Annotated[bool, Switch] = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Profile models by component: a trace and a result for every model, mode and length.

    Args:
        seqlen: Prompt lengths in tokens.
        mode: prefill (the prompt at once), decode (single tokens after it), or both.
        warmup: Passes before anything is measured.
        repeat: Passes timed without the profiler, then as many with it.
        threads: CPU threads that torch computes with; by default torch chooses.
        out: Folder for the results.
        resume: Keep the results that the folder has, and measure the rest.
        overwrite: Measure again what the folder has.
    """
    import torch

    from perfmamba.models import resolve_device, resolve_dtype
    from perfmamba.profiling.grid import make_jobs, pending_jobs, run_jobs

    existing = _existing(resume=resume, overwrite=overwrite)
    if threads is not None:
        if threads < 1:
            raise InputError(f"--threads {threads}: give a number of at least 1")
        torch.set_num_threads(threads)
    resolve_dtype(dtype)
    resolved = resolve_device(device)
    jobs = make_jobs(
        models,
        modes=mode,
        seqlens=seqlen,
        batch=batch,
        dtype=dtype,
        device=resolved,
        layers=layers,
        warmup=warmup,
        repeat=repeat,
        seed=seed,
        backends=backend or (None,),
    )
    pending = pending_jobs(jobs, out, existing, device=resolved)
    run = partial(run_jobs, folder=out, device=resolved, trust_remote_code=trust_remote_code)
    failed = _run_with_bar(run, pending, total=len(jobs))
    if failed == len(jobs):
        raise InputError(f"none of the {failed} cells could be measured; the results in {out} say why")
    show(f"Results in {out}. Next: perfmamba table 1 {out}")


def _existing(*, resume: bool, overwrite: bool) -> Literal["refuse", "resume", "overwrite"]:
    """What to do with results that are there."""
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other; give one")
    if resume:
        return "resume"
    return "overwrite" if overwrite else "refuse"


class _Run(Protocol):
    """Measures jobs and yields a result for each; `on_stage` hears what comes next."""

    def __call__(self, jobs: "Sequence[Job]", *, on_stage: "OnStage") -> Iterator["ProfileResult"]: ...


def _run_with_bar(run: _Run, jobs: "Sequence[Job]", *, total: int) -> int:
    """Run the jobs with a progress bar, and a line for each cell that is done.

    After Ctrl-C the finished cells stay, and a line says how to do the rest.

    Args:
        run: measures the jobs.
        jobs: what is still to do.
        total: cells of the whole grid; those not in `jobs` are done already.

    Returns:
        The number of cells that could not be measured.
    """
    done, failed = total - len(jobs), 0
    if done:
        tell(f"{done} of {total} cells are done already")
    with progress_bar("", total, done=done, keep=True) as bar:
        results = run(jobs, on_stage=bar.note)
        try:
            for job in jobs:
                bar.describe(_what(job.cell))
                result = next(results)
                done += 1
                failed += result.status != "ok"
                bar.tell(_line(result), style="" if result.status == "ok" else "red")
                bar.advance()
                bar.note("")
        except KeyboardInterrupt:
            bar.tell(f"interrupted: {done} of {total} cells are done; --resume does the rest")
            raise
    if failed:
        tell(f"{failed} of {total} cells could not be measured")
    return failed


def _line(result: "ProfileResult") -> str:
    what = f"{_what(result.cell)} batch {result.cell.batch}"
    if result.status != "ok":
        return f"{what}: {result.status.replace('_', ' ')} ({result.error})"
    return f"{what}: {median(result.latency_ms):,.2f} ms a pass"


def _what(cell: "ProfileCell") -> str:
    backend = f" {cell.backend}" if cell.backend else ""
    return f"{cell.model}{backend} {cell.mode} length {cell.seqlen}"
