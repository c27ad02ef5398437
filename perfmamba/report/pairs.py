"""What asv measured of pruned models against the dense one, from its result files.

In: a folder of results as `asv run` or `nox -s bench` leaves them (`results/asv`), or one machine's within
it. Out: a `PrunedPair` for each model, length, ratio and quantity: the newest of each.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from perfmamba.errors import InputError
from perfmamba.report.asv_results import (
    DEFINITIONS_FILE,
    Combination,
    NewestResult,
    ResultHistory,
    git_order,
    read_definitions,
    read_histories,
)
from perfmamba.report.result_entries import legend

Measure = Literal["time", "memory"]
NO_DIFFERENCE = "no difference seen"
"""The verdict in the results on a pair whose interval holds no difference that matters."""

_SUITE = "pruning."
_PARAMETERS = {"model", "backend", "configuration", "batch", "seqlen", "ratio"}


@dataclass(frozen=True)
class Setting:
    """What is the same for a pruned model and the dense one that it was measured beside.

    Attributes:
        model: as the suite calls it: `mamba2-130m`, or `mamba2-130m-2layers` for two blocks of it.
        backend: what ran the convolutions and scans.
        configuration: `pruned` (states removed), `masked` (states zeroed), or `lstsq` or `balanced` (states
            removed, and the others read through that bridge).
        mode: `prefill` or `decode`.
        batch: sequences at once.
        seqlen: tokens of the prompt.
    """

    model: str
    backend: str
    configuration: str
    mode: str
    batch: int
    seqlen: int


@dataclass(frozen=True)
class PrunedPair:
    """A quantity of a smaller model over that of the dense one, measured in turns in one process.

    Attributes:
        setting: what they have in common.
        ratio: share of the states that is gone.
        measure: `time` of a pass, or `memory` at its peak, weights included.
        relative: pruned / dense, without a unit; without a recorded pair the quotient of the two medians of
            one commit; None where either has no value.
        low, high: bounds of its interval; None without a recorded pair.
        confidence: of the interval.
        is_undecided: whether the interval holds no difference that matters.
        result: the pruned model's own, with its median in seconds or bytes.
        dense_value: the median of the dense model at the same commit; None if asv has none.
        benchmark: asv's name of it.
        parameters: its parameters by name, as asv writes them.
    """

    setting: Setting
    ratio: float
    measure: Measure
    relative: float | None
    low: float | None
    high: float | None
    confidence: float | None
    is_undecided: bool
    result: NewestResult
    dense_value: float | None
    benchmark: str
    parameters: Mapping[str, str]

    @property
    def commit(self) -> str:
        """The hash of the commit that was measured."""
        return self.result.source.commit

    @property
    def value(self) -> float | None:
        """The pruned model's own median, in seconds or bytes; None if asv has none."""
        return self.result.value


def read_pairs(folder: Path, machine: str | None = None) -> tuple[PrunedPair, ...]:
    """Read every pair of one machine, by the newest commit that has it.

    Where a machine has results of several settings (other hardware, another Python), those of the setting
    that was measured last are read.

    Args:
        folder: `results/asv`, or the folder of one machine in it.
        machine: a folder's name there; None if there is only one.

    Raises:
        InputError: if there is no such folder, no pair in it, several machines to choose from, or a file
            that cannot be read.
    """
    of_machine = _machine_folder(folder, machine)
    histories = read_histories(of_machine, read_definitions(of_machine), git_order(of_machine))
    found = [pairs for history in histories if (pairs := measured_pairs(pairs_of(history)))]
    if not found:
        raise InputError(
            f"{of_machine} has no results of pruned models; measure some with "
            "`python -m benchmarks.meter.run HEAD --bench pruning`"
        )
    return max(found, key=lambda pairs: max(pair.result.source.recency for pair in pairs))


def measured_pairs(pairs: Sequence[PrunedPair]) -> tuple[PrunedPair, ...]:
    """The pairs without those that cannot be measured, such as a bridge on transformers' own code."""
    return tuple(pair for pair in pairs if not pair.result.skipped)


def pairs_of(history: ResultHistory) -> tuple[PrunedPair, ...]:
    """The newest pair of each setting, ratio and quantity; those that failed or were skipped say so."""
    return tuple(
        pair
        for benchmark, definition in history.definitions.items()
        if benchmark.startswith(_SUITE) and set(definition["param_names"]) >= _PARAMETERS
        for combination in history.combinations(benchmark)
        if (pair := _pair(history, benchmark, combination)) and pair.ratio > 0
    )


def pair_notes(pairs: Sequence[PrunedPair], value: str, *of_the_table: str) -> tuple[str, ...]:
    """What stands below a table of pairs: what r and the interval are, and what was measured.

    Args:
        pairs: all that the table shows.
        value: what the interval is of.
        of_the_table: notes on its other columns.
    """
    levels = sorted({pair.confidence for pair in pairs if pair.confidence})
    confidence = ", ".join(f"{level:.0%}" for level in levels)
    commits = ", ".join(sorted({pair.commit[:12] for pair in pairs}))
    return (
        "r: share of the states that is gone; each model was measured in turns with the dense one (r = 0).",
        *([f"low, high: the interval of {value} in one process, {confidence} confidence."] if levels else []),
        "Another process may be some percent off.",
        *of_the_table,
        *legend([pair.result for pair in pairs]),
        f"Measured at commit {commits}.",
    )


def _machine_folder(folder: Path, machine: str | None) -> Path:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; give the one that holds asv's results, such as results/asv"
        )
    if machine is None and (folder / DEFINITIONS_FILE).is_file():
        return folder
    machines = sorted(path.parent.name for path in folder.glob(f"*/{DEFINITIONS_FILE}"))
    if machine is None and len(machines) == 1:
        return folder / machines[0]
    if machine in machines:
        return folder / machine
    found = f"it has {', '.join(machines)}" if machines else "it has none"
    wanted = f"no results of machine {machine!r}" if machine else "choose a machine with --machine"
    raise InputError(f"{folder}: {wanted}; {found}")


def _pair(history: ResultHistory, benchmark: str, combination: Combination) -> PrunedPair | None:
    result = history.result(benchmark, combination)
    if result is None:
        return None
    definition = history.definitions[benchmark]
    parameters = dict(zip(definition["param_names"], combination, strict=True))
    values = {name: text.strip("'") for name, text in parameters.items()}
    note = _note(result, benchmark, combination)
    dense = _dense_value(result, benchmark, parameters)
    quotient = result.value / dense if result.value is not None and dense else None
    return PrunedPair(
        setting=Setting(
            model=values["model"],
            backend=values["backend"],
            configuration=values["configuration"],
            mode=values.get("mode", "prefill"),
            batch=int(values["batch"]),
            seqlen=int(values["seqlen"]),
        ),
        ratio=float(values["ratio"]),
        measure=note.get("measure") or ("memory" if definition.get("unit") == "bytes" else "time"),
        relative=note.get("ratio", quotient),
        low=note.get("low"),
        high=note.get("high"),
        confidence=note.get("confidence"),
        is_undecided=note.get("verdict") == NO_DIFFERENCE,
        result=result,
        dense_value=dense,
        benchmark=benchmark,
        parameters=parameters,
    )


def _note(result: NewestResult, benchmark: str, combination: Combination) -> Mapping[str, Any]:
    """What was noted of the pair when it was measured; empty without a note, or without a value."""
    if result.value is None:
        return {}
    note = result.source.notes.get(("pair", benchmark, combination), {})
    return note if note.get("variant_axis") == "ratio" else {}


def _dense_value(result: NewestResult, benchmark: str, parameters: Mapping[str, str]) -> float | None:
    """The median of the dense model at the commit of a result."""
    cells = result.source.values.get(benchmark, {})
    place = list(parameters).index("ratio")
    others = [*parameters.values()]
    for cell, value in cells.items():
        if float(cell[place]) == 0 and [*cell[:place], others[place], *cell[place + 1 :]] == others:
            return value if value is not None and math.isfinite(value) else None
    return None
