"""Trials: two commits, known to be alike or to differ by so much, and what each method says of them.

In: how many trials of each kind. Out: one JSON line a trial, written as it ends, so that a stopped experiment
goes on where it was.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiments.verdict import planting, stock
from benchmarks.meter.compare.builds import build
from benchmarks.meter.compare.duel import BUDGET_S, MIN_EFFECT, ComparedCell, Comparison

EQUAL = 0.0
PLANTED = (0.03, 0.05, 0.1, 0.2)
CELLS = {
    "ssm": ("components.ComponentLatency", {"'mamba2-130m-2layers'", "'ssm'"}),
    "norm": ("components.ComponentLatency", {"'mamba2-130m-2layers'", "'norm'"}),
    "decode": ("latency.Latency", {"'mamba2-130m-2layers'", "'decode'", "64"}),
}
"""What is measured: the start of the benchmark's name, and parameters that the cell has. 130, 2 and 20 ms."""


@dataclass(frozen=True)
class Trial:
    """One comparison to be made: a method ("meter" or "asv") and a planted slow-down (`EQUAL` is none)."""

    method: str
    planted: float


def schedule(trials: dict[Trial, int], done: Counter[Trial], seed: int = 0) -> list[Trial]:
    """The trials still to be made, shuffled, so that drifts of the machine meet all kinds alike."""
    left = [trial for trial, count in trials.items() for _ in range(count - done[trial])]
    random.Random(seed).shuffle(left)
    return left


def read(path: Path) -> list[dict[str, Any]]:
    """The trials made so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(trials: list[Trial], clone: Path) -> Iterator[dict[str, Any]]:
    """Make the trials, one after the other, in a clone of this repository."""
    branches = {fraction: planting.planted(clone, fraction) for fraction in (EQUAL, *PLANTED)}
    stock.add_suite(clone)
    methods = {"meter": _meter, "asv": stock.continuous}
    for trial in trials:
        began = time.time()
        said = methods[trial.method](clone, "HEAD", branches[trial.planted])
        yield {
            "method": trial.method,
            "planted": trial.planted,
            "said": said,
            "seconds": round(time.time() - began, 1),
        }


def _meter(clone: Path, base: str, head: str) -> dict[str, dict[str, str]]:
    with chdir(clone):
        commits = build(base), build(head)
        suites = (clone / "benchmarks").resolve()
        comparison = Comparison(
            *commits, suites, min_effect=MIN_EFFECT, budget_s=BUDGET_S, seed=time.time_ns()
        )
        comparison.run(_chosen, _Silent())
    said = {}
    for name, cell in CELLS.items():
        (result,) = (result for known, result in comparison.results.items() if _is(known, *cell))
        verdict = result.verdict(MIN_EFFECT)
        said[name] = verdict if verdict in ("slower", "faster") else ""
    return {str(1 + MIN_EFFECT): said}


def _chosen(benchmarks: Any) -> list[ComparedCell]:
    cells = [cell for benchmark in benchmarks for cell in ComparedCell.of(benchmark)]
    return [cell for cell in cells if any(_is(cell, *wanted) for wanted in CELLS.values())]


def _is(cell: ComparedCell, benchmark: str, params: set[str]) -> bool:
    return cell.benchmark.startswith(benchmark) and params <= set(cell.params)


class _Silent:
    """A `duel.ComparisonProgress` that tells nobody: the experiment has a bar of its own."""

    def expect(self, count: int) -> None:
        """Nothing."""

    def start(self, name: str) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""
