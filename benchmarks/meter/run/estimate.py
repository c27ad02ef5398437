"""How long the cells still to do will take.

In: how long cells took, in this run and in earlier ones. Out: seconds. Cells that failed tell nothing: how
long one takes that does not is another matter.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.meter.run.plan import Cell, Step

# What was not seen yet may well be the largest: its size often doubles from one cell to the next.
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
    """Learns from the steps that were run.

    Args:
        known: seconds that a round of a cell took in an earlier run.
    """

    def __init__(self, known: Mapping[Cell, float]):
        self._known = dict(known)
        self._all = _Seen()
        self._of_benchmark: dict[str, _Seen] = {}

    def learn(self, step: Step, seconds: float) -> None:
        """Take in how long a step took."""
        self._known[step.cell] = seconds
        self._all.add(seconds)
        self._of_benchmark.setdefault(step.cell.benchmark, _Seen()).add(seconds)

    def seconds(self, step: Step) -> float | None:
        """How long a step will take; None while there is nothing to go by.

        That is what the same cell took when it was last run; else the mean of the benchmark's cells in this
        run; else the mean of all cells in this run.
        """
        if step.cell in self._known:
            return self._known[step.cell]
        seen = self._of_benchmark.get(step.cell.benchmark, self._all)
        return seen.seconds / seen.count if seen.count else None

    def careful(self, step: Step) -> float:
        """The seconds to set aside for a step.

        That is the longest that was seen of the cells that are measured together with it: which of them
        comes first measures for all. Of none seen, it is four times the longest of the benchmark's cells
        in this run (else of all cells), at least a minute, and no more than the benchmark's timeout.
        """
        known = [self._known[cell] for cell in step.together if cell in self._known]
        if known:
            return max(known)
        seen = self._of_benchmark.get(step.cell.benchmark, self._all)
        return min(max(_LARGER * seen.longest, _AT_LEAST_S), step.benchmark["timeout"])

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
