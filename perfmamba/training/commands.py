"""What every training command does besides training: a bar, Ctrl-C, errors in one line."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from perfmamba.errors import InputError, PerfMambaError


@contextmanager
def reporting(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show a bar on stderr; the block gets a function that takes how much of `total` is done, and news."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[news]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, news="")
        yield lambda completed, news: bar.update(task, completed=completed, news=news)
        bar.update(task, completed=total)


def training_command(run: Callable[[], None], *, out: Path, threads: int) -> None:
    """Run a training into a folder that is new or empty, and exit as a command should.

    The exit code is 130 after Ctrl-C, which keeps the last checkpoint, and 2 after an error.

    Args:
        run: trains, and writes checkpoints to `out` as they come.
        out: the folder.
        threads: CPU threads for torch.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"--out {out}: something is there already; name another folder")
        torch.set_num_threads(threads)
        run()
    except KeyboardInterrupt:
        kept = (out / "model.safetensors").exists()
        print(
            f"interrupted; {f'the last checkpoint is in {out}' if kept else 'nothing is kept'}",
            file=sys.stderr,
        )
        sys.exit(130)
    except PerfMambaError as error:
        print(f"training: {error}", file=sys.stderr)
        sys.exit(2)
