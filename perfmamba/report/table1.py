"""Table 1 of the paper: what each component costs, for each length, the models side by side.

In: the results of a folder. Out: a `Table`, of the results alone (`table1`) or beside the numbers that the
paper prints (`table1_against_paper`).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from perfmamba.components import COMPONENTS, OTHER, PAPER_LABELS, UNATTRIBUTED
from perfmamba.errors import InputError
from perfmamba.profiling.results import ComponentProfile, ProfileResult
from perfmamba.report.paper import PaperCost, paper_table1
from perfmamba.table import Column, Table, Value

Memory = Literal["allocated", "peak", "growth"]

_MEMORY_MEANING: dict[Memory, str] = {
    "allocated": "sum of all allocations made in the component during one pass, freed or not",
    "peak": "highest live bytes at an allocation in the component; the total is the maximum. Counted are",
    "growth": "highest rise of live bytes above those at the component's entry; total: the window's entry",
}
_PEAK_COUNTS = {
    "cpu": "blocks allocated since profiling began, so no weights",
    "cuda": "all blocks of torch on the device, weights included",
}
_TOTAL = "total"
_UNPROFILED = "pass, not profiled"
_SLOWED = 1.3
_PAPER_WORKLOAD = (
    "Paper: mamba-130m and mamba2-130m, 24 layers, batch 8, one A100 40 GB. A ratio compares the numbers as "
    "they stand; it says something about the code only where the workload is the same."
)


@dataclass(frozen=True)
class _Metric:
    """One quantity of a component.

    Attributes:
        key: its name in CSV and JSON, with the unit of `value`.
        header: its name for people, with the unit that `unit` leads to.
        value: reads it off a cost, given the cost of the whole pass.
        unit: how many of the key's unit make one of the header's.
        paper: reads it off the paper's row, in the header's unit; None where the paper has no such column.
    """

    key: str
    header: str
    value: Callable[[ComponentProfile, ComponentProfile], float | None]
    unit: float
    paper: Callable[[PaperCost], float] | None = None


def table1(results: Sequence[ProfileResult], *, memory: Memory = "allocated") -> Table:
    """Costs of one forward pass by length and component, the models side by side.

    Args:
        results: at least one; of one mode, batch size, dtype and machine; any models and lengths.
        memory: which of the three memory figures.

    Raises:
        InputError: if they do not belong in one table.
    """
    grid = _Grid.of(results)
    metrics = _metrics(memory, grid)
    columns = [Column("seqlen", "Length", "d"), Column("component", "Component")]
    for metric in metrics:
        for label in grid.labels:
            key = f"{metric.key}_{_slug(label)}"
            columns.append(Column(key, f"{metric.header}\n{label}", ",.2f", metric.unit))
    rows: list[tuple[Value, ...]] = []
    sections = set()
    for seqlen in grid.seqlens:
        sections.add(len(rows))
        for component in grid.components(seqlen):
            costs = [grid.cost(label, seqlen, component) for label in grid.labels]
            cells = [_value(metric, pair) for metric in metrics for pair in costs]
            rows.append((seqlen, PAPER_LABELS.get(component, component), *cells))
        latencies = [grid.latency_ns(label, seqlen) for label in grid.labels]
        cells = [latency if metric.key == "time_ns" else None for metric in metrics for latency in latencies]
        rows.append((seqlen, _UNPROFILED, *cells))
    return Table(grid.title(), tuple(columns), tuple(rows), frozenset(sections), grid.notes(memory))


def table1_against_paper(results: Sequence[ProfileResult]) -> Table:
    """The same costs, a row a quantity, beside the paper's Table 1 and the ratio measured / paper.

    Values are in the paper's units. The paper's cells are empty for lengths and rows that it does not have.

    Args:
        results: of prefills, else as in `table1`.

    Raises:
        InputError: as `table1`.
    """
    grid = _Grid.of(results)
    paper: dict[tuple[int, str, int], PaperCost] = {(*row,): cost for row, cost in paper_table1().items()}
    columns = [
        Column("seqlen", "Length", "d"),
        Column("component", "Component"),
        Column("metric", "Quantity"),
    ]
    for label in grid.labels:
        for key, header in (("", "measured"), ("paper_", "paper"), ("ratio_", "ratio")):
            columns.append(Column(f"{key}{_slug(label)}", f"{header}\n{label}", ",.4g"))
    rows: list[tuple[Value, ...]] = []
    sections = set()
    for seqlen in grid.seqlens:
        for component in grid.components(seqlen):
            sections.add(len(rows))
            for metric in _metrics("allocated"):
                cells: list[Value] = []
                for label in grid.labels:
                    ours = _value(metric, grid.cost(label, seqlen, component), unit=metric.unit)
                    row = paper.get((seqlen, component, grid.generation(label) or 0))
                    theirs = metric.paper(row) if metric.paper and row else None
                    cells += [ours, theirs, ours / theirs if ours is not None and theirs else None]
                if metric.paper:
                    rows.append((seqlen, PAPER_LABELS.get(component, component), metric.header, *cells))
    notes = (*grid.notes("allocated"), _PAPER_WORKLOAD)
    return Table(
        f"{grid.title()}, against the paper", tuple(columns), tuple(rows), frozenset(sections), notes
    )


_GIGA = (1e9, "G")
_PREFIXES = (_GIGA, (1e6, "M"), (1e3, "k"))


def _metrics(memory: Memory, grid: "_Grid | None" = None) -> tuple[_Metric, ...]:
    """The quantities of the table, in units that suit the grid; in the paper's own without one."""
    flops_unit, flops_prefix = _prefix(grid.largest_total("flops")) if grid else _GIGA
    memory_unit, memory_prefix = _prefix(grid.largest_total(f"{memory}_bytes")) if grid else _GIGA
    return (
        _Metric(
            "flops",
            f"{flops_prefix}FLOP",
            lambda cost, _: cost.flops,
            flops_unit,
            lambda paper: paper.flops_g,
        ),
        _Metric(
            f"{memory}_bytes",
            f"{memory} {memory_prefix}B",
            lambda cost, _: getattr(cost, f"{memory}_bytes"),
            memory_unit,
            lambda paper: paper.memory_gb,
        ),
        _Metric("io_bytes_per_s", "I/O GB/s", _io_rate, 1e9, lambda paper: paper.io_gbps),
        _Metric("time_ns", "time ms", lambda cost, _: cost.time_ns, 1e6, lambda paper: paper.latency_ms),
        _Metric("share", "share %", lambda cost, total: cost.time_ns / total.time_ns, 1e-2),
    )


def _prefix(largest: float) -> tuple[float, str]:
    """The largest unit that leaves a number at least two digits before the point."""
    return next((prefix for prefix in _PREFIXES if largest >= 10 * prefix[0]), _PREFIXES[-1])


def _io_rate(cost: ComponentProfile, _: ComponentProfile) -> float | None:
    """Counted bytes over measured device time, in bytes/s."""
    return cost.io_bytes / cost.time_ns * 1e9 if cost.io_bytes is not None and cost.time_ns else None


def _value(
    metric: _Metric, costs: tuple[ComponentProfile, ComponentProfile] | None, *, unit: float = 1
) -> float | None:
    """A metric of (component, whole pass); None for a cell that was not measured."""
    if costs is None:
        return None
    value = metric.value(*costs)
    return None if value is None else value / unit


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")


@dataclass(frozen=True)
class _Grid:
    """Results that belong in one table, found by model label and length."""

    results: dict[tuple[str, int], ProfileResult]

    @classmethod
    def of(cls, results: Sequence[ProfileResult]) -> "_Grid":
        """Results as a grid.

        Raises:
            InputError: if they are of several modes, batch sizes, dtypes, devices or machines.
        """
        for axis in ("mode", "batch", "dtype", "device"):
            values = sorted({str(getattr(result.cell, axis)) for result in results})
            if len(values) > 1:
                raise InputError(
                    f"these results are of {axis} {' and '.join(values)}; "
                    f"choose one, such as --{axis} {values[0]}"
                )
        machines = sorted(
            {f"{result.environment.device} ({result.environment.cpu_threads} threads)" for result in results}
        )
        if len(machines) > 1:
            raise InputError(
                f"these results are of several machines: {', '.join(machines)}; "
                "keep one machine's in a folder, or measure again with --overwrite"
            )
        ordered = sorted(results, key=_place)
        return cls({(_label(result, ordered), result.cell.seqlen): result for result in ordered})

    @property
    def labels(self) -> tuple[str, ...]:
        """The models, Mamba-1 first."""
        return tuple(dict.fromkeys(label for label, _ in self.results))

    @property
    def seqlens(self) -> tuple[int, ...]:
        """The lengths, ascending."""
        return tuple(sorted({seqlen for _, seqlen in self.results}))

    def generation(self, label: str) -> int | None:
        """1 or 2; None for a model that could not be loaded."""
        return next(_generation(result) for (model, _), result in self.results.items() if model == label)

    def components(self, seqlen: int) -> tuple[str, ...]:
        """The rows of a length: the five, `other`, what is unattributed if anything is, the total."""
        unattributed = any(
            cost.component == UNATTRIBUTED and (cost.launches or cost.allocated_bytes)
            for (_, length), result in self.results.items()
            if length == seqlen
            for cost in result.components
        )
        return (*COMPONENTS, OTHER, *([UNATTRIBUTED] if unattributed else []), _TOTAL)

    def cost(
        self, label: str, seqlen: int, component: str
    ) -> tuple[ComponentProfile, ComponentProfile] | None:
        """A component's cost and that of its whole pass; None if the cell was not measured."""
        result = self.results.get((label, seqlen))
        if result is None or result.total is None:
            return None
        if component == _TOTAL:
            return result.total, result.total
        found = next((cost for cost in result.components if cost.component == component), None)
        return None if found is None else (found, result.total)

    def largest_total(self, quantity: str) -> float:
        """The largest value that a quantity has for a whole pass; 0 where it was not measured."""
        totals = [result.total for result in self.results.values() if result.total]
        return max((getattr(total, quantity) or 0 for total in totals), default=0)

    def latency_ns(self, label: str, seqlen: int) -> float | None:
        """Median time of a pass without the profiler; None if the cell was not measured."""
        result = self.results.get((label, seqlen))
        return median(result.latency_ms) * 1e6 if result and result.latency_ms else None

    def title(self) -> str:
        """What the table is of."""
        result = next(iter(self.results.values()))
        cell = result.cell
        what = (
            "one prefill pass" if cell.mode == "prefill" else "one decode step after a prefill of each length"
        )
        where = f"batch {cell.batch}, {cell.dtype}, {result.environment.device}"
        return f"Table 1: cost of {what} by component, {where}"

    def notes(self, memory: Memory) -> tuple[str, ...]:
        """Models, latencies without the profiler, definitions, remarks, machine."""
        results = list(self.results.items())
        cell = results[0][1].cell
        what = "self time of operators" if cell.device == "cpu" else "device time of kernels"
        meaning = _MEMORY_MEANING[memory]
        if memory == "peak":
            meaning = f"{meaning} {_PEAK_COUNTS[cell.device]}"
        failures = [
            f"{label} at length {seqlen}: {result.status.replace('_', ' ')} ({result.error})."
            for (label, seqlen), result in results
            if result.error
        ]
        passes = " or ".join(sorted({str(result.cell.repeat) for _, result in results}))
        return (
            *dict.fromkeys(f"{label}: {_model_text(result)}." for (label, _), result in results),
            *failures,
            f"time: {what} under the profiler, mean of {passes} passes.",
            f"{_UNPROFILED}: median latency of {passes} passes in a row, caches warm.",
            f"{memory}: {meaning}.",
            "FLOP: of the algorithm (Mamba-2's scan in chunks), whatever ran; 2 per multiply-add.",
            "I/O: least bytes, counted from shapes, over time.",
            *self._cautions(),
            *self._by_cell(lambda result: result.notes),
            *self._by_cell(lambda result: (f"Measured on {result.environment}.",)),
        )

    def _cautions(self) -> list[str]:
        """What keeps the shares of this table from being those of the models."""
        measured = [(key, result) for key, result in self.results.items() if result.total]
        cautions = []
        if any(result.cell.layers is not None for _, result in measured):
            cautions.append(
                "Layers are cut and other (embedding, lm_head) is not: its share is higher than the model's."
            )
        if slowed := [
            f"{label} at length {seqlen} ({result.total.time_ns / 1e6 / median(result.latency_ms):.1f}x)"
            for (label, seqlen), result in measured
            if result.total and result.total.time_ns / 1e6 > _SLOWED * median(result.latency_ms)
        ]:
            cautions.append(
                f"Slower under the profiler than without, so shares are rough: {', '.join(slowed)}."
            )
        if any(result.total.flops is None for _, result in measured if result.total):
            cautions.append("FLOPs and I/O are counted for models of type mamba and mamba2 only.")
        return cautions

    def _by_cell(self, notes_of: Callable[[ProfileResult], tuple[str, ...]]) -> list[str]:
        """Notes on single cells, with the cells they are on unless that is all of them."""
        cells_of: dict[str, list[str]] = {}
        for (label, seqlen), result in self.results.items():
            for note in notes_of(result):
                cells_of.setdefault(note, []).append(f"{label} at length {seqlen}")
        return [
            note if len(cells) == len(self.results) else f"{', '.join(cells)}: {note}"
            for note, cells in cells_of.items()
        ]


def _generation(result: ProfileResult) -> int | None:
    return result.facts.generation if result.facts else None


def _place(result: ProfileResult) -> tuple[int, str, str]:
    """Where a result's column belongs: Mamba-1 first, the backends of a model side by side."""
    return _generation(result) or 0, result.cell.model, result.cell.backend or ""


def _label(result: ProfileResult, results: Sequence[ProfileResult]) -> str:
    """`Mamba-1` or `Mamba-2` where that names one model of the table, else the model's own name."""
    generation = _generation(result)
    models = {(other.cell.model, other.cell.layers) for other in results if _generation(other) == generation}
    several_backends = len({other.cell.backend for other in results}) > 1
    backend = f" {result.cell.backend}" if result.cell.backend and several_backends else ""
    if generation and len(models) == 1:
        return f"Mamba-{generation}{backend}"
    depth = "" if result.cell.layers is None else f" ({result.cell.layers} layers)"
    return f"{result.cell.model}{depth}{backend}"


def _model_text(result: ProfileResult) -> str:
    if result.facts is None:
        return f"{result.cell.model}, which could not be loaded"
    layers, full_layers = result.cell.layers, result.facts.full_layers
    depth = f"all {full_layers} layers" if layers is None else f"{layers} of {full_layers} layers"
    backend = ", ".join(f"{component} by {package}" for component, package in result.facts.backend.items())
    return f"{result.cell.model}, {depth}, weights: {result.facts.weights}; {backend}"
