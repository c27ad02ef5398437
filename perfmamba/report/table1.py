"""Table 1 of the paper: what each component costs, for each length, the models side by side.

In: the results of a folder. Out: a `Table`, of the results alone (`table1`), or beside the numbers that the
paper prints (`table1_against_paper`).
"""

from collections.abc import Sequence

from perfmamba.components import PAPER_LABELS
from perfmamba.profiling.results import ProfileResult
from perfmamba.report.component_costs import (
    KEY_COLUMNS,
    CostRow,
    Figures,
    MemoryKind,
    Quantity,
    cost_table,
    quantities,
    slug,
)
from perfmamba.report.paper import PaperCost, paper_table1
from perfmamba.report.profiled import ProfiledGrid
from perfmamba.table import Column, Entry, Table, number

_PAPER_WORKLOAD = (
    "Paper: mamba-130m and mamba2-130m, 24 layers, batch 8, one A100 40 GB. A ratio compares the numbers as "
    "they stand; it says something about the code only where the workload is the same."
)
_PAPER_FIGURES = {
    "flops": "flops_g",
    "allocated_bytes": "memory_gb",
    "io_bytes_per_s": "io_gbps",
    "time_ns": "latency_ms",
}
"""The field of `PaperCost` that has a quantity in the paper's unit; there are no shares in the paper."""


def table1(results: Sequence[ProfileResult], *, memory: MemoryKind = "allocated") -> Table:
    """Costs of one forward pass by length and component, the models side by side.

    Args:
        results: at least one; of one mode, batch size, dtype and machine; any models and lengths.
        memory: which of the three memory figures.

    Raises:
        InputError: if they do not belong in one table.
    """
    grid = ProfiledGrid.of(results)
    rows = []
    for seqlen in grid.seqlens:
        rows += [row for row in grid.rows(memory) if row.seqlen == seqlen]
        rows.append(grid.latencies(seqlen))
    return cost_table(grid.title(), grid.labels, rows, memory=memory, notes=grid.notes(memory))


def table1_against_paper(results: Sequence[ProfileResult]) -> Table:
    """The same costs, a row a quantity, beside the paper's Table 1 and the ratio measured / paper.

    Values are in the paper's units. The paper's entries are empty for lengths and rows that it does not have.

    Args:
        results: of prefills, else as in `table1`.

    Raises:
        InputError: as `table1`.
    """
    grid = ProfiledGrid.of(results)
    generations = [grid.generation(label) or 0 for label in grid.labels]
    compared = [quantity for quantity in quantities("allocated") if quantity.key in _PAPER_FIGURES]
    costs = grid.rows("allocated")
    return Table(
        f"{grid.title()}, against the paper",
        (*KEY_COLUMNS, Column("metric", "Quantity", is_key=True), *_columns(grid.labels)),
        tuple(_row(cost, quantity, generations) for cost in costs for quantity in compared),
        frozenset(range(0, len(costs) * len(compared), len(compared))),
        (*grid.notes("allocated"), _PAPER_WORKLOAD),
    )


def _columns(labels: Sequence[str]) -> list[Column]:
    return [
        Column(f"{key}{slug(label)}", f"{header}\n{label}", ",.4g", group=label, short=header)
        for label in labels
        for key, header in (("", "measured"), ("paper_", "paper"), ("ratio_", "ratio"))
    ]


def _row(row: CostRow, quantity: Quantity, generations: Sequence[int]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for figures, generation in zip(row.figures, generations, strict=True):
        measured = _measured(figures, quantity)
        printed = _printed(row, quantity, generation)
        entries += [measured, printed, measured / printed if measured is not None and printed else None]
    return row.seqlen, row.label, quantity.header, *entries


def _measured(figures: Figures, quantity: Quantity) -> float | None:
    value = number(quantity.entry(figures))
    return None if value is None else value / quantity.unit


def _printed(row: CostRow, quantity: Quantity, generation: int) -> float | None:
    """What the paper prints, where it has such a row."""
    paper: dict[tuple[int, str, int], PaperCost] = {(*place,): cost for place, cost in paper_table1().items()}
    found = paper.get((row.seqlen, row.component, generation))
    return None if found is None else getattr(found, _PAPER_FIGURES[quantity.key])


def printed_table1() -> Table:
    """Table 1 as the paper prints it."""
    costs = paper_table1()
    names = {1: "Mamba-1 130M", 2: "Mamba-2 130M"}
    printed = [quantity for quantity in quantities("allocated") if quantity.key in _PAPER_FIGURES]
    places = list(dict.fromkeys((place.seqlen, place.component) for place in costs))
    headers = {"allocated_bytes": "memory GB", "time_ns": "latency ms"}
    columns = [
        Column(
            f"{_PAPER_FIGURES[quantity.key]}_mamba{generation}",
            f"{headers.get(quantity.key, quantity.header)}\n{name}",
            ",g",
            group=name,
            short=headers.get(quantity.key, quantity.header),
        )
        for quantity in printed
        for generation, name in names.items()
    ]
    rows = tuple(
        (
            seqlen,
            PAPER_LABELS[component],
            *(
                _printed(CostRow(seqlen, component, ()), quantity, generation)
                for quantity in printed
                for generation in names
            ),
        )
        for seqlen, component in places
    )
    opening = frozenset(
        index for index, place in enumerate(places) if index == 0 or places[index - 1][0] != place[0]
    )
    return Table(
        "One prefill, batch 8, all 24 layers, one A100 40 GB; what the numbers are is in docs/paper.md",
        (*KEY_COLUMNS, *columns),
        rows,
        opening,
    )
