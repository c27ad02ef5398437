"""A grid of profiling runs on the terminal: a progress bar, and one line for each cell that is done."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from perfmamba.profiling.grid import Job
from perfmamba.profiling.results import ProfileCell, ProfileResult
from perfmamba.profiling.runs import OnStage


class Run(Protocol):
    """Measures jobs, a result for each, and says what it does next."""

    def __call__(self, jobs: Sequence[Job], *, on_stage: OnStage) -> Iterator[ProfileResult]:
        """Yield each result once it is written."""
        ...


def show_progress(run: Run, jobs: Sequence[Job], *, total: int) -> int:
    """Run the jobs and show how far they are, on stderr.

    Ctrl-C ends the run; what was finished stays and a line says how to do the rest.

    Args:
        run: measures the jobs.
        jobs: what is still to do.
        total: cells of the whole grid; those not in `jobs` are done already.

    Returns:
        The number of cells that could not be measured.
    """
    console = Console(stderr=True)
    done, failed = total - len(jobs), 0
    if done:
        console.print(f"{done} of {total} cells are done already", highlight=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[stage]}", style="dim"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, completed=done, stage="")
        results = run(jobs, on_stage=lambda stage: progress.update(task, stage=stage))
        try:
            for job in jobs:
                progress.update(task, description=_what(job.cell))
                result = next(results)
                done += 1
                failed += result.status != "ok"
                progress.console.print(_line(result), highlight=False, soft_wrap=True)
                progress.update(task, advance=1, stage="")
        except KeyboardInterrupt:
            progress.console.print(f"interrupted: {done} of {total} cells are done; --resume does the rest")
            raise
    if failed:
        console.print(f"{failed} of {total} cells could not be measured", highlight=False)
    return failed


def _line(result: ProfileResult) -> str:
    what = f"{_what(result.cell)} batch {result.cell.batch}"
    if result.status != "ok":
        return f"[red]{what}: {result.status.replace('_', ' ')} ({escape(str(result.error))})[/red]"
    return f"{what}: {median(result.latency_ms):,.2f} ms a pass"


def _what(cell: ProfileCell) -> str:
    backend = f" {cell.backend}" if cell.backend else ""
    return f"{cell.model}{backend} {cell.mode} length {cell.seqlen}"
