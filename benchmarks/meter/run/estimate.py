"""Estimates of how long the cells that are left will take.

In: how long cells took, in this run and in earlier ones. Out: seconds. Cells that failed are not counted,
because a cell that does not fail may take much longer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.meter.run.plan import Cell, Step

# A cell that never ran may be the largest: sizes often double from one cell to the next.
_LARGER = 4
_AT_LEAST_S = 60.0


@dataclass(slots=True)
class _Seen:
    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds
        self.longest = max(self.longest, seconds)


class Estimate:
    """Estimates that learn from the steps that were run.

    Args:
        known: the seconds that a round of each cell took in an earlier run.
    """

    def __init__(self, known: Mapping[Cell, float]) -> None:
        self._known = dict(known)
        self._all = _Seen()
        self._of_benchmark: dict[str, _Seen] = {}

    def learn(self, step: Step, seconds: float) -> None:
        """Learn how long a step took."""
        self._known[step.cell] = seconds
        self._all.add(seconds)
        self._of_benchmark.setdefault(step.cell.benchmark, _Seen()).add(seconds)

    def seconds(self, step: Step) -> float | None:
        """Return how long a step will take; None if nothing is known yet.

        This is the time of the same cell in its last run; or else the mean of the benchmark's cells in this
        run; or else the mean of all cells in this run.
        """
        if step.cell in self._known:
            return self._known[step.cell]
        seen = self._of_benchmark.get(step.cell.benchmark, self._all)
        return seen.seconds / seen.count if seen.count else None

    def careful(self, step: Step) -> float:
        """Return the seconds to set aside for a step, so that it surely ends in time.

        This is the longest known time of the cells that are measured together with it, because the first of
        them measures all. If none is known, it is four times the longest time of the benchmark's cells in
        this run (or of all cells), at least a minute, and at most the benchmark's timeout.
        """
        known = [self._known[cell] for cell in step.together if cell in self._known]
        if known:
            return max(known)
        seen = self._of_benchmark.get(step.cell.benchmark, self._all)
        timeout: float = step.benchmark["timeout"]
        return min(max(_LARGER * seen.longest, _AT_LEAST_S), timeout)

    def total(self, steps: Iterable[Step]) -> tuple[float | None, bool]:
        """Return how long the steps will take together (None if nothing is known yet), and if it is a guess.

        It is a guess if no cell of one of the benchmarks was run yet.
        """
        steps = list(steps)
        estimates = [self.seconds(step) for step in steps]
        known = [seconds for seconds in estimates if seconds is not None]
        guess = any(
            step.cell not in self._known and step.cell.benchmark not in self._of_benchmark for step in steps
        )
        return (sum(known) if len(known) == len(estimates) else None), guess
