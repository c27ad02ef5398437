"""How far a comparison is: a bar on a terminal, a line now and then in a log."""

from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY = 10


class ComparisonBar:
    """A `duel.ComparisonProgress`; a context manager, which shows the bar while it is entered."""

    def __init__(self, console: Console):
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(TextColumn("{task.description}"), *columns, console=console, transient=True)
        self._console = console
        self._task = self._bar.add_task("starting", total=0)
        self._total = self._done = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def expect(self, count: int) -> None:
        """`count` more measurements will follow."""
        self._total += count
        self._bar.update(self._task, total=self._total)

    def start(self, name: str) -> None:
        """The next one is of this cell."""
        self._bar.update(self._task, description=escape(name))
        if not self._console.is_terminal and self._done % LINE_EVERY == 0:
            self._console.print(f"{self._done}/{self._total}: {escape(name)}", highlight=False)

    def finish(self) -> None:
        """It has ended."""
        self._done += 1
        self._bar.advance(self._task)
