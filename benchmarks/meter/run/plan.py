"""The cells of a suite, and the order in which those of a commit are run.

In: the benchmarks that asv discovered, and the records of their cells. Out: steps. A cell is one benchmark
with one value for each of its parameters; a step is one round of a cell.
"""

import itertools
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """One benchmark with one value for each of its parameters, written by `repr` as asv does."""

    benchmark: str
    params: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.benchmark}({', '.join(self.params)})" if self.params else self.benchmark


@dataclass(frozen=True, slots=True)
class CellRecord:
    """What is stored about a cell that was run.

    Attributes:
        outcome: "measured", "n/a" (the suite skipped it) or "failed".
        rounds: how many of its rounds are done.
        seconds: how long it ran, in all rounds together.
    """

    outcome: str
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Step:
    """One round of one cell.

    Attributes:
        benchmark: asv's description of the benchmark.
        index: the position of the cell in the grid of the benchmark's parameters.
        cell: which cell.
        round: which round, counted from 1.
        rounds: how many rounds the benchmark asks for.
    """

    benchmark: Mapping[str, Any]
    index: int
    cell: Cell
    round: int
    rounds: int

    @property
    def cache_key(self) -> str | None:
        """The key of the `setup_cache` that the cell reads; None if there is none."""
        key: str | None = self.benchmark.get("setup_cache_key")
        return key

    @property
    def together(self) -> tuple[Cell, ...]:
        """The cells that are measured together, by the first of them that is run (see `types.paired`).

        They differ in the value of the benchmark's `variant`. Without a `variant` it is this cell alone.
        """
        variant = self.benchmark.get("variant")
        if not variant:
            return (self.cell,)
        axis = self.benchmark["param_names"].index(variant)
        name, params = self.cell
        return tuple(
            Cell(name, (*params[:axis], value, *params[axis + 1 :]))
            for value in self.benchmark["params"][axis]
        )


def selected_cells(benchmarks: Any) -> Iterator[tuple[Mapping[str, Any], int, Cell]]:
    """Yield each selected cell with its benchmark and its position in the grid, sorted by benchmark.

    Args:
        benchmarks: asv's `Benchmarks`.
    """
    for name, benchmark in sorted(benchmarks.items()):
        selected = benchmarks.benchmark_selection.get(name)
        for index, params in enumerate(itertools.product(*benchmark["params"])):
            if selected is None or index in selected:
                yield benchmark, index, Cell(name, params)


def plan(benchmarks: Any, records: Mapping[Cell, CellRecord], held_back: Container[str]) -> list[Step]:
    """Return the steps still to do, in asv's order: by round, then by the `setup_cache` that cells share.

    Args:
        benchmarks: asv's `Benchmarks`.
        records: of the cells that were run.
        held_back: the outcomes after which a cell is not run again. Measured cells get the rounds they lack.
    """
    groups: dict[str | None, list[Step]] = {}
    for benchmark, index, cell in selected_cells(benchmarks):
        record = records.get(cell)
        if record and record.outcome in held_back:
            continue
        rounds = int(benchmark.get("rounds", 1))
        done = record.rounds if record and record.outcome == "measured" else 0
        steps = groups.setdefault(benchmark.get("setup_cache_key"), [])
        steps.extend(Step(benchmark, index, cell, n, rounds) for n in range(done + 1, rounds + 1))
    in_groups = list(itertools.chain.from_iterable(groups.values()))
    return sorted(in_groups, key=lambda step: step.round)
