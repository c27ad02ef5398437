"""The cells of a suite, and the order in which a commit's are run.

In: the benchmarks that asv discovered, and what is recorded of their cells. Out: steps. A cell is one
benchmark with one combination of parameters; a step is one round of a cell.
"""

import itertools
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """One benchmark with one combination of its parameters, each as asv writes it: its `repr`."""

    benchmark: str
    params: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.benchmark}({', '.join(self.params)})" if self.params else self.benchmark


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a cell that was run.

    Attributes:
        outcome: "measured", "n/a" (the suite skipped it) or "failed".
        rounds: how many of its rounds are done.
        seconds: what running it took, all rounds together.
    """

    outcome: str
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Step:
    """One round of one cell.

    Attributes:
        benchmark: asv's description of the benchmark.
        index: the cell's position in the grid of the benchmark's parameters.
        cell: its name.
        round: counted from 1.
        rounds: how many the benchmark asks for.
    """

    benchmark: Mapping[str, Any]
    index: int
    cell: Cell
    round: int
    rounds: int

    @property
    def cache_key(self) -> str | None:
        """Which `setup_cache` the cell reads; None without one."""
        return self.benchmark.get("setup_cache_key")

    @property
    def together(self) -> tuple[Cell, ...]:
        """The cells that the first of them measures, this one included (see `types.paired`).

        They differ in the benchmark's `variant` alone; where it has none, each cell is by itself.
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
    """Each selected cell: its benchmark, its position in the grid, its name; benchmarks by name.

    Args:
        benchmarks: asv's `Benchmarks`.
    """
    for name, benchmark in sorted(benchmarks.items()):
        selected = benchmarks.benchmark_selection.get(name)
        for index, params in enumerate(itertools.product(*benchmark["params"])):
            if selected is None or index in selected:
                yield benchmark, index, Cell(name, params)


def plan(benchmarks: Any, records: Mapping[Cell, Record], held_back: Container[str]) -> list[Step]:
    """The steps still to do, in asv's order: rounds outermost, then the cells that share a `setup_cache`.

    Args:
        benchmarks: asv's `Benchmarks`.
        records: what is known of the cells.
        held_back: the outcomes that need no further round; "measured" cells get the rounds they lack.
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
