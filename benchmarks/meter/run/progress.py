"""What is shown during a run: a line for each finished cell and, on a terminal, a bar over all of them.

Nothing is drawn while a cell is measured. The bar moves between cells, so it does not disturb them.
"""

import sys
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Protocol, Self


@dataclass(slots=True)
class State:
    """How far a run is.

    Attributes:
        total: steps (rounds of cells), with those of earlier runs.
        done: how many of these are done.
        outcomes: how many steps of this run were measured, n/a, or failed.
        current: the cell that is measured now.
        left: how long the rest will take, in words.
    """

    total: int
    done: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    current: str = ""
    left: str = ""

    @property
    def trouble(self) -> str:
        """How many steps were n/a or failed, in words; empty if none was."""
        return ", ".join(f"{self.outcomes[name]} {name}" for name in ("n/a", "failed") if self.outcomes[name])


class Display(Protocol):
    """Shows a run; a context manager, entered while the cells of a commit are measured."""

    def begin(self) -> None:
        """Show the cell that is measured now."""

    def end(self, line: str) -> None:
        """Show the line of a finished cell."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Lines:
    """Prints a line for each finished cell; for logs."""

    def __init__(self, state: State) -> None:
        self._state = state

    def begin(self) -> None:
        """Print nothing: a log has the cells that are finished."""

    def end(self, line: str) -> None:
        """Print the line."""
        state = self._state
        done = f"{state.done:{len(str(state.total))}}/{state.total}"
        print(f"[{done}, {state.left}] {line}", flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Bar:
    """Prints a line for each finished cell, above a bar that names the current one; needs rich."""

    def __init__(self, state: State) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._state = state
        columns = (
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state].left}", markup=False),
            TextColumn("{task.fields[state].trouble}", style="yellow", markup=False),
            TextColumn("{task.fields[state].current}", style="dim", markup=False),
        )
        self._progress = Progress(*columns, console=Console(), auto_refresh=False, transient=True)
        self._task = self._progress.add_task("", total=state.total, completed=state.done, state=state)

    def begin(self) -> None:
        """Move the bar and name the cell."""
        self._progress.update(self._task, completed=self._state.done, refresh=True)

    def end(self, line: str) -> None:
        """Print the line."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def display(state: State) -> Display:
    """Return a bar if there is a terminal and rich is installed, or else lines."""
    return Bar(state) if sys.stdout.isatty() and find_spec("rich") else Lines(state)


def duration(seconds: float) -> str:
    """Return seconds in words: 42 s, 7 min, 1 h 05 min."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
