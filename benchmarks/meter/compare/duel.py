"""Is a cell slower in one commit than in another? Turns, and a second opinion.

In: two builds and the cells to compare. Out: for each cell its samples of both, their ratio, a verdict.

A machine that other work shares drifts by tens of percent within seconds. So a *turn* takes a block of
samples from each commit, one right after the other, in an order that is drawn for each turn; what disturbs
both leaves their ratio alone. What a turn cannot see is what a process keeps for its life, such as where its
memory lies. So each *round* starts new processes, and a cell whose ratio stands out in the first rounds is
measured again in more of them, until it is clear: only what these confirm, by themselves and each of them, is
called a difference.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal, Protocol

from benchmarks.meter.compare.builds import Build
from benchmarks.meter.compare.errors import CellError
from benchmarks.meter.compare.servers import Benchmark, CellSampler, CommitWorker, CommitWorkers
from benchmarks.meter.measure.statistics import NO_DIFFERENCE, Ratio, ratio_interval, verdict

MIN_TURNS = 8
MAX_TURNS = 60
BLOCK_S = 0.02
"""How long a block of samples lasts at least, if one sample is shorter: long against waking a process up."""
MAX_BLOCK = 100

SCREENING_ROUNDS = 2
SCREENING_CONFIDENCE = 0.9
SUSPICIOUS = 0.05
"""A change that is worth a second look, however wide its interval is."""
CONFIRMING_CONFIDENCE = 0.99
FEWEST_ROUNDS = 2
"""To confirm what is far from the smallest difference worth a word; and to drop what is not."""
USUAL_ROUNDS = 4
"""To confirm what is close to it."""
MOST_ROUNDS = 8
"""After which a cell is `UNSETTLED` if its interval still holds both 1 and a difference worth a word."""
UNSETTLED = "unsettled"

MIN_EFFECT = 0.02
"""By default: less than this is what two starts of the same program may differ by."""
BUDGET_S = 1.5
"""By default."""


class ComparisonProgress(Protocol):
    """Who is told how far a comparison is."""

    def expect(self, count: int) -> None:
        """`count` more measurements will follow."""

    def start(self, name: str) -> None:
        """The next one is of this cell."""

    def finish(self) -> None:
        """It has ended."""


Outcome = Literal["measured", "skipped", "failed", "new", "lost"]


@dataclass(frozen=True)
class ComparedCell:
    """One parameter combination of a benchmark.

    Attributes:
        benchmark: its full name, as asv gives it.
        params: the repr of each parameter; empty if it has none.
        index: which combination this is; None if it has no parameters.
        unit: "seconds", "bytes", or whatever else the benchmark says.
    """

    benchmark: str
    params: tuple[str, ...]
    index: int | None
    unit: str

    @classmethod
    def of(cls, benchmark: Benchmark) -> "list[ComparedCell]":
        """Every cell of a benchmark."""
        name, unit, params = benchmark["name"], benchmark["unit"], benchmark["params"]
        if not params:
            return [cls(name, (), None, unit)]
        return [cls(name, values, index, unit) for index, values in enumerate(product(*params))]

    @property
    def name(self) -> str:
        """As asv writes a cell: `suite.Class.time_x('a', 64)`."""
        return f"{self.benchmark}({', '.join(self.params)})" if self.params else self.benchmark


@dataclass(frozen=True)
class CellComparison:
    """What is known about a cell.

    Attributes:
        cell: which.
        outcome: "measured" in both commits; "skipped" (n/a) or "failed" in both; "new" if the base alone has
            no value, "lost" if HEAD alone has none.
        reason: why there is no value; empty if measured.
        base: one value a turn, in the cell's unit, of the newest stage.
        head: the same of the other commit; `head[i]` was measured beside `base[i]`.
        blocks: the round of each turn.
        confirmed: whether these are the values of the second stage, and it is over for this cell.
        screened: the ratio that the first stage saw; None in the first stage.
    """

    cell: ComparedCell
    outcome: Outcome = "measured"
    reason: str = ""
    base: tuple[float, ...] = ()
    head: tuple[float, ...] = ()
    blocks: tuple[int, ...] = ()
    confirmed: bool = False
    screened: float | None = None

    @property
    def rounds(self) -> int:
        """In how many pairs of processes it was measured."""
        return len(set(self.blocks))

    def ratio(self, confidence: float = CONFIRMING_CONFIDENCE) -> Ratio:
        """HEAD over base, with its interval."""
        return ratio_interval(self.base, self.head, blocks=self.blocks, confidence=confidence)

    def is_settled(self, min_effect: float) -> bool:
        """Whether the ratio is known to be too close to 1 for more rounds to matter, or cannot be known."""
        if self.outcome != "measured":
            return True
        ratio = self.ratio()
        return 1 / (1 + min_effect) < ratio.low and ratio.high < 1 + min_effect

    def stands_out(self, min_effect: float) -> bool:
        """Whether the first stage saw enough to measure again: too much rather than too little."""
        if self.outcome != "measured":
            return False
        is_large = abs(math.log(self.ratio().value)) >= math.log1p(max(SUSPICIOUS, min_effect))
        return is_large or self._says(SCREENING_CONFIDENCE, min_effect / 2) != NO_DIFFERENCE

    def is_clear(self, min_effect: float) -> bool:
        """Whether the second stage, of which these are the values so far, needs no further round.

        One that contradicts another ends it, and so does an interval far on one side of 1, or near 1. What
        is close to the smallest difference takes more rounds to be believed: the interval of a few is known
        to be too narrow (see `ratio_interval`).
        """
        if self.outcome != "measured" or not self._all_agree():
            return True
        if self.rounds < FEWEST_ROUNDS:
            return False
        far = max(min_effect, MIN_EFFECT)
        ratio = self.ratio()
        if self.is_settled(min_effect) or ratio.low > 1 + far or ratio.high < 1 / (1 + far):
            return True
        return self.rounds >= USUAL_ROUNDS and self._says(CONFIRMING_CONFIDENCE, min_effect) != NO_DIFFERENCE

    def verdict(self, min_effect: float) -> str:
        """What `statistics.verdict` says of a confirmed ratio; no difference otherwise, or "unsettled".

        Confirmed is what each pair of processes found, in the direction that the first stage saw.
        """
        if not (self.confirmed and self._all_agree()):
            return NO_DIFFERENCE
        said = self._says(CONFIRMING_CONFIDENCE, min_effect)
        return UNSETTLED if said == NO_DIFFERENCE and not self.is_clear(min_effect) else said

    def _all_agree(self) -> bool:
        """Whether the median ratio of every round, and the first stage's, lies on the same side of 1."""
        ratios: dict[int, list[float]] = {}
        for base, head, block in zip(self.base, self.head, self.blocks, strict=True):
            ratios.setdefault(block, []).append(head / base)
        found = [statistics.median(of_round) for of_round in ratios.values()]
        found += [] if self.screened is None else [self.screened]
        return all(ratio > 1 for ratio in found) or all(ratio < 1 for ratio in found)

    def _says(self, confidence: float, min_effect: float) -> str:
        measure: Literal["time", "memory"] = "time" if self.cell.unit == "seconds" else "memory"
        return verdict(self.ratio(confidence), min_effect, measure)


class Comparison:
    """A comparison of two commits under way; `results` holds what is known so far, also after Ctrl-C.

    Args:
        base: the commit compared with.
        head: the commit in question.
        suites: the folder of the asv suites.
        min_effect: smallest difference worth a word, as a fraction.
        budget_s: seconds of samples for a cell in a round.
        seed: fixes the order within turns.
    """

    def __init__(
        self, base: Build, head: Build, suites: Path, *, min_effect: float, budget_s: float, seed: int = 0
    ):
        self._builds = (base, head)
        self._suites = suites
        self._min_effect = min_effect
        self._budget_s = budget_s
        self._draw = random.Random(seed)
        self._on_gpu: bool | None = None
        self.results: dict[ComparedCell, CellComparison] = {}

    def run(
        self, choose: Callable[[Iterable[Benchmark]], list[ComparedCell]], progress: ComparisonProgress
    ) -> None:
        """Measure every cell, then measure again, in new processes, those that stand out.

        Args:
            choose: picks the cells from the benchmarks that the suites define for either commit.
            progress: is told how far it is.

        Raises:
            CellError: if a commit's worker cannot start.
        """
        cells: list[ComparedCell] = []
        for number in range(SCREENING_ROUNDS):
            with self._workers() as workers:
                if not cells:
                    base, head = workers.running()
                    cells = choose({**base.benchmarks, **head.benchmarks}.values())
                    progress.expect(SCREENING_ROUNDS * len(cells))
                for cell in self._announced(cells, progress):
                    if cell in self.results and self.results[cell].is_settled(self._min_effect):
                        continue
                    result = self._measure(cell, workers, number, self._budget_s)
                    self.results[cell] = _joined(self.results.get(cell), result)
        doubtful = [cell for cell in cells if self.results[cell].stands_out(self._min_effect)]
        self._confirm(doubtful, progress)

    def _confirm(self, cells: Sequence[ComparedCell], progress: ComparisonProgress) -> None:
        """Measure cells once more, by themselves, until each is clear; those that are count after Ctrl-C."""
        confirming = {cell: CellComparison(cell, screened=self.results[cell].ratio().value) for cell in cells}
        for number in range(MOST_ROUNDS):
            left = [cell for cell in cells if not confirming[cell].confirmed]
            if not left:
                return
            progress.expect(len(left))
            with self._workers() as workers:
                for cell in self._announced(left, progress):
                    result = _joined(confirming[cell], self._measure(cell, workers, number, self._budget_s))
                    if result.is_clear(self._min_effect) or number == MOST_ROUNDS - 1:
                        result = self.results[cell] = replace(result, confirmed=True)
                    confirming[cell] = result

    def _workers(self) -> CommitWorkers:
        return CommitWorkers(self._builds, self._suites, self._draw)

    @staticmethod
    def _announced(cells: Sequence[ComparedCell], progress: ComparisonProgress) -> Iterator[ComparedCell]:
        for cell in cells:
            progress.start(cell.name)
            yield cell
            progress.finish()

    def _measure(
        self, cell: ComparedCell, workers: CommitWorkers, number: int, budget_s: float
    ) -> CellComparison:
        opened = self._opened(cell, workers.running())
        try:
            base, head = opened
            if isinstance(base, CellError) or isinstance(head, CellError):
                errors = [sampler if isinstance(sampler, CellError) else None for sampler in opened]
                return _without_values(cell, *errors)
            return self._sampled(cell, base, head, number, budget_s)
        finally:
            for sampler in opened:
                if isinstance(sampler, CellSampler):
                    sampler.close()

    def _sampled(
        self, cell: ComparedCell, base: CellSampler, head: CellSampler, number: int, budget_s: float
    ) -> CellComparison:
        try:
            turns = take_turns(base, head, budget_s, self._draw)
        except CellError as error:
            return _without_values(cell, _error_of(base, error), _error_of(head, error))
        of_base, of_head = (tuple(side) for side in zip(*turns, strict=True))
        return CellComparison(cell, base=of_base, head=of_head, blocks=(number,) * len(turns))

    def _opened(self, cell: ComparedCell, pair: Sequence[CommitWorker]) -> list[CellSampler | CellError]:
        """The cell in both commits, at once; in turn on a GPU, where tuning one would time the other too."""
        order = self._draw.sample(range(len(pair)), len(pair))
        with ThreadPoolExecutor(1 if self._is_on_gpu(pair) else len(pair)) as pool:
            opened = dict(zip(order, pool.map(lambda side: _opened(pair[side], cell), order), strict=True))
        return [opened[side] for side in range(len(pair))]

    def _is_on_gpu(self, pair: Sequence[CommitWorker]) -> bool:
        if self._on_gpu is None:
            self._on_gpu = pair[0].on_gpu
        return self._on_gpu


def take_turns(
    base: CellSampler, head: CellSampler, budget_s: float, draw: random.Random
) -> list[tuple[float, float]]:
    """The median of a block of base and of one of head, turn by turn, until the budget is used up.

    Raises:
        CellError: if a sample fails; it says of which sampler.
    """
    block = _block_size([base, head], draw)
    turns: list[tuple[float, float]] = []
    end = time.monotonic() + budget_s
    while len(turns) < MIN_TURNS or (len(turns) < MAX_TURNS and time.monotonic() < end):
        order = [base, head]
        draw.shuffle(order)
        taken = {sampler: statistics.median(sampler.sample(block)) for sampler in order}
        turns.append((taken[base], taken[head]))
    return turns


def _block_size(samplers: Sequence[CellSampler], draw: random.Random) -> int:
    began = time.monotonic()
    for sampler in draw.sample(samplers, len(samplers)):
        sampler.sample(1)
    one = (time.monotonic() - began) / len(samplers)
    return max(1, min(MAX_BLOCK, math.ceil(BLOCK_S / one)))


def _opened(worker: CommitWorker, cell: ComparedCell) -> CellSampler | CellError:
    try:
        return worker.open(cell.benchmark, cell.index)
    except CellError as error:
        return error


def _error_of(sampler: CellSampler, error: CellError) -> CellError | None:
    """What keeps a sampler from giving samples, when some sampler's error is known."""
    if error.sampler is sampler:
        return error
    try:
        sampler.sample(1)
    except CellError as own:
        return own
    return None


def _without_values(cell: ComparedCell, base: CellError | None, head: CellError | None) -> CellComparison:
    if base is None:
        return CellComparison(cell, "lost", f"no longer: {head}")
    if head is None:
        return CellComparison(cell, "new", f"not in the base: {base}")
    return CellComparison(cell, "skipped" if base.skipped and head.skipped else "failed", str(head))


def _joined(earlier: CellComparison | None, result: CellComparison) -> CellComparison:
    """The turns of both; a round without values makes the cell one without."""
    if earlier is None or result.outcome != "measured":
        return result
    if earlier.outcome != "measured":
        return earlier
    return replace(
        earlier,
        base=earlier.base + result.base,
        head=earlier.head + result.head,
        blocks=earlier.blocks + result.blocks,
    )
