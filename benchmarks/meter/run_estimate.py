"""How long the cells still to do will take.

In: how long cells took, in this run and in earlier ones. Out: seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.meter.run_plan import Cell, Step


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
    """Learns from the steps that were run.

    Args:
        known: seconds that cells took in earlier runs, all rounds together.
    """

    def __init__(self, known: Mapping[Cell, float]):
        self._known = known
        self._all = _Seen()
        self._of_benchmark: dict[str, _Seen] = {}

    def learn(self, step: Step, seconds: float) -> None:
        """Take in how long a step took."""
        self._all.add(seconds)
        self._of_benchmark.setdefault(step.cell.benchmark, _Seen()).add(seconds)

    def seconds(self, step: Step) -> float | None:
        """How long a step will take; None while there is nothing to go by.

        That is what the same cell took in an earlier run; else the mean of the benchmark's cells in this
        run; else the mean of all cells in this run.
        """
        if step.cell in self._known:
            return self._known[step.cell] / step.rounds
        seen = self._of_benchmark.get(step.cell.benchmark, self._all)
        return seen.seconds / seen.count if seen.count else None

    def longest(self, step: Step) -> float:
        """A careful estimate: as `seconds`, but the longest of the benchmark's cells, not the mean."""
        if step.cell in self._known or step.cell.benchmark not in self._of_benchmark:
            return self.seconds(step) or 0.0
        return self._of_benchmark[step.cell.benchmark].longest

    def total(self, steps: Iterable[Step]) -> tuple[float | None, bool]:
        """How long the steps will take together, None while there is nothing to go by.

        And True if that is a guess: nothing was seen yet of the benchmark of one of them.
        """
        steps = list(steps)
        each = [self.seconds(step) for step in steps]
        guess = any(
            step.cell not in self._known and step.cell.benchmark not in self._of_benchmark for step in steps
        )
        return None if None in each else sum(each), guess
