"""What commands print: results on stdout, everything else on stderr, and the progress bar.

rich is imported when something is drawn, so that `perfmamba --help` stays quick.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perfmamba.errors import InputError, PerfMambaError
from perfmamba.table import Table, TableFormat, render, terminal_width

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EXIT_INPUT = 2
_EXIT_INTERRUPTED = 130
_BAR_WIDTH = 24


def show(text: str) -> None:
    """Print a result to stdout.

    A reader that has closed the pipe is no error.

    Raises:
        InputError: if stdout cannot be written, because the disk is full for example.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # Otherwise Python tries to write once more at exit, and complains once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"cannot write the output: {error.strerror}") from error


def show_table(table: Table, table_format: TableFormat = "text") -> None:
    """Print a table to stdout, as wide and as colorful as the terminal; errors as `show`."""
    show(render(table, table_format, color=in_color(), width=terminal_width()))


def tell(message: str) -> None:
    """Print a message to stderr."""
    print(message, file=sys.stderr)


def in_color() -> bool:
    """Whether stdout is a terminal, and the user has not turned colors off with NO_COLOR."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


@contextmanager
def exit_codes(program: str, *, on_interrupt: Callable[[], str] = lambda: "interrupted") -> Iterator[None]:
    """Exit as a command should, if the block raises.

    An error that a user can act on is one line on stderr and exit code 2. Ctrl-C is exit code 130.

    Args:
        program: what the line begins with.
        on_interrupt: gives what to print after Ctrl-C.
    """
    try:
        yield
    except PerfMambaError as error:
        tell(f"{program}: {' '.join(str(error).split())}")
        sys.exit(_EXIT_INPUT)
    except KeyboardInterrupt:
        tell(on_interrupt())
        sys.exit(_EXIT_INTERRUPTED)


class ProgressBar:
    """The bar that `progress_bar` shows."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress = progress
        self._task = task

    def advance(self, count: int = 1) -> None:
        """Move on by `count`."""
        self._progress.update(self._task, advance=count)

    def reach(self, done: int) -> None:
        """Move on to `done`."""
        self._progress.update(self._task, completed=done)

    def describe(self, what: str) -> None:
        """Change the text before the bar."""
        self._progress.update(self._task, description=what)

    def note(self, text: str) -> None:
        """Change the text behind the bar: what happens now, or how it goes."""
        self._progress.update(self._task, note=text)

    def tell(self, line: str, *, style: str = "") -> None:
        """Print a line above the bar, in one of rich's styles."""
        from rich.text import Text

        self._progress.console.print(Text(line, style=style), soft_wrap=True)


@contextmanager
def progress_bar(what: str, total: int, *, done: int = 0, keep: bool = False) -> Iterator[ProgressBar]:
    """Show on stderr how much of `total` is done while the block runs.

    The terminal is left clean, on errors and Ctrl-C too. Where stderr is no terminal, only the lines of
    `ProgressBar.tell` are printed, and the last state of a bar that is kept.

    Args:
        what: the text before the bar.
        total: how much there is to do.
        done: how much of it was done before.
        keep: leave the bar on the terminal when the block ends.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(_BAR_WIDTH),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=not keep) as progress:
        bar = ProgressBar(progress, progress.add_task(what, total=total, completed=done, note=""))
        yield bar
        bar.reach(total)
