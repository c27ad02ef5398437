"""The results of `perfmamba profile` that belong in one table: their figures, their title and their notes.

In: the results of a folder. Out: a `ProfiledGrid`, which finds a result by model label and length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from perfmamba.components import COMPONENTS, OTHER, UNATTRIBUTED
from perfmamba.errors import InputError
from perfmamba.profiling.results import ProfileResult
from perfmamba.report.component_costs import TOTAL, CostRow, Figures, MemoryKind

UNPROFILED = "pass, not profiled"

_MEMORY_MEANING: dict[MemoryKind, str] = {
    "allocated": "sum of all allocations made in the component during one pass, freed or not",
    "peak": "highest live bytes at an allocation in the component; the total is the maximum. Counted are",
    "growth": "highest rise of live bytes above those at the component's entry; total: the window's entry",
}
_PEAK_COUNTS = {
    "cpu": "blocks allocated since profiling began, so no weights",
    "cuda": "all blocks of torch on the device, weights included",
}
_SLOWED = 1.3
# What results call `torch` is the code of transformers, which runs on plain torch.
_PACKAGE_NAMES = {"torch": "transformers (torch)"}


@dataclass(frozen=True)
class ProfiledGrid:
    """Results that belong in one table, found by model label and length."""

    results: dict[tuple[str, int], ProfileResult]

    @classmethod
    def of(cls, results: Sequence[ProfileResult]) -> "ProfiledGrid":
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

    def rows(self, memory: MemoryKind) -> tuple[CostRow, ...]:
        """Every length's components, `other`, what is unattributed if anything is, and the total."""
        return tuple(
            CostRow(
                seqlen,
                component,
                tuple(self._figures(label, seqlen, component, memory) for label in self.labels),
            )
            for seqlen in self.seqlens
            for component in self._components(seqlen)
        )

    def latencies(self, seqlen: int) -> CostRow:
        """The median time of a pass without the profiler."""
        results = [self.results.get((label, seqlen)) for label in self.labels]
        medians = [
            median(result.latency_ms) * 1e6 if result and result.latency_ms else None for result in results
        ]
        return CostRow(seqlen, UNPROFILED, tuple(Figures(time_ns=latency) for latency in medians))

    def _components(self, seqlen: int) -> tuple[str, ...]:
        unattributed = any(
            cost.component == UNATTRIBUTED and (cost.launches or cost.allocated_bytes)
            for (_, length), result in self.results.items()
            if length == seqlen
            for cost in result.components
        )
        return (*COMPONENTS, OTHER, *([UNATTRIBUTED] if unattributed else []), TOTAL)

    def _figures(self, label: str, seqlen: int, component: str, memory: MemoryKind) -> Figures:
        """A component's figures; nothing is known of a cell that was not measured."""
        result = self.results.get((label, seqlen))
        if result is None or result.total is None:
            return Figures()
        found = next((cost for cost in result.components if cost.component == component), None)
        cost = result.total if component == TOTAL else found
        if cost is None:
            return Figures()
        return Figures(
            time_ns=cost.time_ns,
            memory_bytes=getattr(cost, f"{memory}_bytes"),
            flops=cost.flops,
            io_bytes=cost.io_bytes,
            whole_ns=result.total.time_ns,
        )

    def title(self) -> str:
        """What a table of these results is of."""
        result = next(iter(self.results.values()))
        cell = result.cell
        what = (
            "one prefill pass" if cell.mode == "prefill" else "one decode step after a prefill of each length"
        )
        where = f"batch {cell.batch}, {cell.dtype}, {result.environment.device}"
        return f"Table 1: cost of {what} by component, {where}"

    def notes(self, memory: MemoryKind) -> tuple[str, ...]:
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
            f"{UNPROFILED}: median latency of {passes} passes in a row, caches warm.",
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
    backend = ", ".join(
        f"{component} by {_PACKAGE_NAMES.get(package, package)}"
        for component, package in result.facts.backend.items()
    )
    return f"{result.cell.model}, {depth}, weights: {result.facts.weights}; {backend}"
