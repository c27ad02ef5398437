"""What asv measured of pruned models against the dense one, read from its result files.

In: a folder of results as `asv run` or `nox -s bench` leaves them (`results/asv`), or one machine's within
it. Out: a `PrunedPair` for each model, length, ratio and quantity: the newest of each.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from perfmamba.errors import InputError

Measure = Literal["time", "memory"]
NO_DIFFERENCE = "no difference seen"
"""The verdict in the results on a pair whose interval holds no difference that matters."""

_NOTES = ".notes.jsonl"
_DEFINITIONS = "benchmarks.definitions"
_SUITE = "pruning."


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
        relative: pruned / dense, without a unit.
        low, high: bounds of its interval.
        confidence: of the interval.
        is_undecided: whether the interval holds no difference that matters.
        commit: hash of the commit that was measured.
        value: the pruned model's own median, in seconds or bytes; None if asv has none.
        dense_value: the same of the dense model.
    """

    setting: Setting
    ratio: float
    measure: Measure
    relative: float
    low: float
    high: float
    confidence: float
    is_undecided: bool
    commit: str
    value: float | None = None
    dense_value: float | None = None


def read_pairs(folder: Path, machine: str | None = None) -> tuple[PrunedPair, ...]:
    """Read every pair of one machine, by the newest commit that has it.

    Args:
        folder: `results/asv`, or the folder of one machine in it.
        machine: a folder's name there; None if there is only one.

    Raises:
        InputError: if there is no such folder, no pair in it, several machines to choose from, or a file
            that cannot be read.
    """
    newest: dict[tuple[Setting, float, Measure], PrunedPair] = {}
    of_machine = _machine_folder(folder, machine)
    definitions = _json(of_machine / _DEFINITIONS)
    results = [(_json(_result_file(notes)), notes) for notes in of_machine.glob(f"*{_NOTES}")]
    for result, notes in sorted(results, key=lambda pair: int(pair[0]["date"])):
        for note in _notes(notes):
            benchmark = str(note["benchmark"])
            if benchmark.startswith(_SUITE) and benchmark in definitions:
                pair = _pair(note, definitions[benchmark]["param_names"], result)
                newest[pair.setting, pair.ratio, pair.measure] = pair
    if not newest:
        raise InputError(
            f"{of_machine} has no results of pruned models; measure some with "
            "`python -m benchmarks.meter.run HEAD --bench pruning`"
        )
    return tuple(newest.values())


def pair_notes(pairs: Sequence[PrunedPair], value: str, *of_the_table: str) -> tuple[str, ...]:
    """What stands below a table of pairs: what r and the interval are, and what was measured.

    Args:
        pairs: all that the table shows.
        value: what the interval is of.
        of_the_table: notes on its other columns.
    """
    confidence = ", ".join(f"{level:.0%}" for level in sorted({pair.confidence for pair in pairs}))
    commits = ", ".join(sorted({pair.commit[:12] for pair in pairs}))
    return (
        "r: share of the states that is gone; each model was measured in turns with the dense one (r = 0).",
        f"low, high: the interval of {value} in one process, {confidence} confidence.",
        "Another process may be some percent off.",
        *of_the_table,
        f"Measured at commit {commits}.",
    )


def _machine_folder(folder: Path, machine: str | None) -> Path:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; give the one that holds asv's results, such as results/asv"
        )
    if machine is None and (folder / _DEFINITIONS).is_file():
        return folder
    machines = sorted(path.parent.name for path in folder.glob(f"*/{_DEFINITIONS}"))
    if machine is None and len(machines) == 1:
        return folder / machines[0]
    if machine in machines:
        return folder / machine
    found = f"it has {', '.join(machines)}" if machines else "it has none"
    wanted = f"no results of machine {machine!r}" if machine else "choose a machine with --machine"
    raise InputError(f"{folder}: {wanted}; {found}")


def _result_file(notes: Path) -> Path:
    return notes.with_name(notes.name.removesuffix(_NOTES) + ".json")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _notes(path: Path) -> Iterator[dict[str, Any]]:
    """The pairs among the notes; a line cut short by a kill is passed over, as asv's plugin does."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            note = json.loads(line)
        except ValueError:
            continue
        if note.get("kind") == "pair" and note.get("variant_axis") == "ratio":
            yield note


def _pair(note: Mapping[str, Any], names: list[str], result: Mapping[str, Any]) -> PrunedPair:
    dense = [
        note["baseline"] if name == "ratio" else text
        for name, text in zip(names, note["params"], strict=True)
    ]
    values = {name: text.strip("'") for name, text in zip(names, note["params"], strict=True)}
    setting = Setting(
        model=values["model"],
        backend=values["backend"],
        configuration=values["configuration"],
        mode=values.get("mode", "prefill"),
        batch=int(values["batch"]),
        seqlen=int(values["seqlen"]),
    )
    return PrunedPair(
        setting=setting,
        ratio=float(values["ratio"]),
        measure=note["measure"],
        relative=note["ratio"],
        low=note["low"],
        high=note["high"],
        confidence=note["confidence"],
        is_undecided=note["verdict"] == NO_DIFFERENCE,
        commit=str(result["commit_hash"]),
        value=_value(result, note["benchmark"], note["params"]),
        dense_value=_value(result, note["benchmark"], dense),
    )


def _value(result: Mapping[str, Any], benchmark: str, params: list[str]) -> float | None:
    """A cell's median; asv keeps them in the order of the product of all parameters' values."""
    found = result.get("results", {}).get(benchmark)
    if not found:
        return None
    columns = dict(zip(result["result_columns"], found, strict=False))
    cells = list(product(*columns["params"]))
    place = cells.index((*params,)) if (*params,) in cells else None
    value = columns["result"][place] if place is not None and columns["result"] else None
    return value if isinstance(value, int | float) and math.isfinite(value) else None
