"""The paper's Tables 1 and 2 as data (PerfMamba, arXiv 2511.22849), as printed there.

In: CSV files under `results/paper` of the checkout, or their copies in an installed wheel. Out: one
`PaperCost` per length, component and model; one `PaperSaving` per length and ratio.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from perfmamba.components import COMPONENTS, PAPER_LABELS, Component, Generation
from perfmamba.errors import InputError


class PaperRow(NamedTuple):
    """What a cost of the paper is of: prefill of `seqlen` tokens, batch 8, the 130M model of a generation."""

    seqlen: int
    component: Component
    generation: Generation


@dataclass(frozen=True)
class PaperCost:
    """One component of one model in Table 1, by the paper's own accounting (see docs/paper.md).

    Attributes:
        flops_g: floating-point operations, 10^9.
        memory_gb: memory, GB.
        io_gbps: I/O, GB/s.
        latency_ms: latency, ms.
    """

    flops_g: float
    memory_gb: float
    io_gbps: float
    latency_ms: float


class PaperSaving(NamedTuple):
    """What removing states saves in Table 2: prefill of Mamba-2 130M, batch 8.

    Attributes:
        speedup: over the dense model.
        memory_percent: of what the dense model needs.
    """

    speedup: float
    memory_percent: float


@cache
def paper_table2() -> MappingProxyType[tuple[int, float], PaperSaving]:
    """The savings of the paper's Table 2, by length in tokens and pruning ratio.

    Raises:
        InputError: the installation lacks the file.
    """
    values: dict[tuple[int, float], dict[str, float]] = {}
    with _data_file("table2_pruning_efficiency.csv").open(encoding="utf-8", newline="") as file:
        for record in csv.DictReader(line for line in file if not line.startswith("#")):
            for name, value in record.items():
                if name.startswith("r"):
                    cell = values.setdefault((int(record["seqlen"]), float(name.removeprefix("r"))), {})
                    cell[record["metric"]] = float(value)
    savings = {
        place: PaperSaving(cell["speedup_x"], cell["memory_reduction_pct"]) for place, cell in values.items()
    }
    return MappingProxyType(savings)


@cache
def paper_table1() -> MappingProxyType[PaperRow, PaperCost]:
    """The costs of the paper's Table 1; a plain (seqlen, component, generation) tuple is a key.

    Raises:
        InputError: the installation lacks the file.
    """
    component_of = {PAPER_LABELS[component]: component for component in COMPONENTS}
    generations: tuple[Generation, ...] = (1, 2)
    with _data_file("table1_component_cost.csv").open(encoding="utf-8", newline="") as file:
        records = csv.DictReader(line for line in file if not line.startswith("#"))
        costs = {
            PaperRow(int(record["seqlen"]), component_of[record["component"]], generation): _cost(
                record, generation
            )
            for record in records
            for generation in generations
        }
    return MappingProxyType(costs)


def _cost(record: dict[str, str], generation: Generation) -> PaperCost:
    return PaperCost(
        flops_g=float(record[f"flops_g_mamba{generation}"]),
        memory_gb=float(record[f"memory_gb_mamba{generation}"]),
        io_gbps=float(record[f"io_gbps_mamba{generation}"]),
        latency_ms=float(record[f"latency_ms_mamba{generation}"]),
    )


def _data_file(name: str) -> Path:
    """The file beside this module (a wheel) or in the checkout (an editable install)."""
    here = Path(__file__).parent
    candidates = (here / "data" / name, here.parents[1] / "results" / "paper" / name)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    message = f"{name} is not part of this installation; reinstall perfmamba or run from a checkout"
    raise InputError(message)
