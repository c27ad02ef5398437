"""What a person sees of a run: a line for each finished cell and, on a terminal, a bar over all of them.

Nothing is drawn while a cell is measured: the bar moves between cells, so that it costs them nothing.
"""

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

try:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
except ImportError:
    Progress = None


@dataclass(slots=True)
class State:
    """How far a run is.

    Attributes:
        total: steps (a step is one round of a cell), those that earlier runs did included.
        done: of these.
        outcomes: how many steps of this run were measured, n/a, failed.
        current: what is being measured.
        left: how long the rest will take, in words.
    """

    total: int
    done: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    current: str = ""
    left: str = ""

    @property
    def trouble(self) -> str:
        """The counts that are not as they should be."""
        return ", ".join(f"{self.outcomes[name]} {name}" for name in ("n/a", "failed") if self.outcomes[name])


class Display(Protocol):
    """Shows a run; entered while the cells of a commit are measured."""

    def begin(self) -> None:
        """Show what is being measured now."""

    def end(self, line: str) -> None:
        """Show what came of it."""

    def __enter__(self):
        """Start to show."""

    def __exit__(self, *_):
        """Leave the terminal as it was."""


class Lines:
    """A line for each cell: for logs."""

    def __init__(self, state: State):
        self._state = state

    def begin(self) -> None:
        """Print nothing: a log names a cell when it is done."""

    def end(self, line: str) -> None:
        """Print the line."""
        state = self._state
        done = f"{state.done:{len(str(state.total))}}/{state.total}"
        print(f"[{done}, {state.left}] {line}", flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Leave nothing open."""


class Bar:
    """A line for each cell, above a bar that names the current one."""

    def __init__(self, state: State):
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

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()


def display(state: State) -> Display:
    """A bar where there is a terminal and rich, else lines."""
    return Bar(state) if Progress and sys.stdout.isatty() else Lines(state)


def duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 7 min, 1 h 05 min."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
