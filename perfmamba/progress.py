"""A grid of profiling runs on the terminal: a progress bar, and one line for each cell that is done."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from perfmamba.profiling.grid import Job, run_jobs
from perfmamba.profiling.results import CellResult


def show_progress(jobs: Sequence[Job], *, total: int, folder: Path, device: torch.device) -> None:
    """Run the jobs and show how far they are, on stderr.

    Ctrl-C ends the run; what was finished stays and a line says how to do the rest.

    Args:
        jobs: what is still to do.
        total: cells of the whole grid; those not in `jobs` are done already.
        folder: where the results go.
        device: where the models run.
    """
    console = Console(stderr=True)
    done = total - len(jobs)
    if done:
        console.print(f"{done} of {total} cells are done already", highlight=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, completed=done)
        results = run_jobs(jobs, folder, device=device)
        try:
            for job in jobs:
                progress.update(task, description=job.cell.name)
                progress.console.print(_line(next(results)), highlight=False, soft_wrap=True)
                progress.advance(task)
                done += 1
        except KeyboardInterrupt:
            progress.console.print(f"interrupted: {done} of {total} cells are done; --resume does the rest")
            raise


def _line(result: CellResult) -> str:
    cell = result.cell
    what = f"{cell.model} {cell.mode} length {cell.seqlen} batch {cell.batch}"
    if result.status == "out_of_memory":
        return f"[red]{what}: out of memory[/red]"
    return f"{what}: {median(result.latency_ms):,.2f} ms a pass"
