"""The results of profiling runs: what a cell of the grid is, what was measured in it, and its file.

A folder of results holds, for each cell, `<cell>.json` and the `<cell>.trace.json.gz` that it was computed
from. A cell that could not be measured has a result too, which says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from perfmamba.components import Generation
from perfmamba.environment import Environment
from perfmamba.errors import InputError, reason
from perfmamba.files import replacing
from perfmamba.profiling.contention import CpuUse
from perfmamba.profiling.counts import Mode


@dataclass(frozen=True)
class ProfileCell:
    """What one profiling run measures.

    Attributes:
        model: name of the model, as `LoadedModel.name`.
        mode: `prefill` runs `seqlen` tokens into a new cache; `decode` runs one token after them.
        seqlen: tokens in the prompt.
        batch: sequences at once.
        dtype: name of the weights' dtype.
        device: `cpu` or `cuda`.
        layers: blocks kept of the model; None for all.
        warmup: unmeasured passes before anything is measured.
        repeat: passes timed without the profiler, and again as many profiled.
        seed: seeds the tokens, and the weights of a published shape.
        backend: what runs the convolutions and scans, as `use_backend` takes it.
    """

    model: str
    mode: Mode
    seqlen: int
    batch: int
    dtype: str
    device: str
    layers: int | None
    warmup: int
    repeat: int
    seed: int
    backend: str | None = None

    @property
    def name(self) -> str:
        """The stem of the cell's files."""
        depth = "" if self.layers is None else f"_l{self.layers}"
        model = self.model.replace("/", "--")
        backend = "" if self.backend is None else f"_{self.backend}"
        return f"{model}{depth}_{self.mode}_b{self.batch}_s{self.seqlen}_{self.dtype}_{self.device}{backend}"


@dataclass(frozen=True)
class ComponentProfile:
    """Time, memory and counts of one component in one forward pass, all layers together.

    Attributes:
        component: one of `COMPONENTS`, `other` or `unattributed`.
        launches: kernels (on a CPU: operators) launched.
        time_ns: sum of kernel durations (on a CPU: self time of operators), mean over the passes.
        union_ns: time with at least one of its kernels running, mean over the passes.
        allocated_bytes: sum of allocations, mean over the passes.
        peak_bytes: highest live bytes at an allocation in it: on a GPU all that torch has allocated, weights
            included; on a CPU what was allocated since profiling began.
        growth_bytes: highest rise of live bytes above those at the entry of one of its ranges.
        flops: counted from shapes; None where nothing is counted.
        io_bytes: least traffic, counted from shapes; None where nothing is counted.
    """

    component: str
    launches: float
    time_ns: float
    union_ns: float
    allocated_bytes: float
    peak_bytes: int
    growth_bytes: int
    flops: int | None
    io_bytes: int | None


@dataclass(frozen=True)
class ModelFacts:
    """What was loaded.

    Attributes:
        generation: 1 for Mamba-1, 2 for Mamba-2.
        weights: `random (seed N)`, `checkpoint`, or `checkpoint (revision R)` from the hub.
        full_layers: blocks of the whole model.
        backend: the package that ran `conv` and the one that ran `ssm`.
    """

    generation: Generation
    weights: str
    full_layers: int
    backend: dict[str, str]


@dataclass(frozen=True)
class ProfileResult:
    """A cell's measurement.

    Attributes:
        cell: what was measured.
        status: `ok`; without components are `out_of_memory`, `failed` (any other error) and `incomplete`
            (the profiler lost events).
        environment: what it was measured on.
        facts: what was loaded; None if the model or its backend could not be.
        latency_ms: each unprofiled pass.
        components: each component, `other` and `unattributed` among them.
        total: the whole trace; the components sum to it.
        notes: what a reader of the numbers must know: how far the trace could be attributed, and what
            disturbed the times.
        error: what happened, unless `ok`.
        schema: version of this layout.
        unprofiled_use: what the CPUs did during the unprofiled passes; None on a GPU and in older files.
        profiled_use: likewise during the profiled passes, the warm-up of the profiler included.
    """

    cell: ProfileCell
    status: Literal["ok", "out_of_memory", "failed", "incomplete"]
    environment: Environment
    facts: ModelFacts | None = None
    latency_ms: tuple[float, ...] = ()
    components: tuple[ComponentProfile, ...] = ()
    total: ComponentProfile | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    schema: Literal[1] = 1
    unprofiled_use: CpuUse | None = None
    profiled_use: CpuUse | None = None


def trace_path(folder: Path, cell: ProfileCell) -> Path:
    """Where a cell's trace is kept."""
    return folder / f"{cell.name}.trace.json.gz"


def result_path(folder: Path, cell: ProfileCell) -> Path:
    """Where a cell's result is kept."""
    return folder / f"{cell.name}.json"


def remove_files(folder: Path, cell: ProfileCell) -> None:
    """Remove a cell's trace and result, if there are any.

    Raises:
        InputError: if the operating system refuses.
    """
    for path in (result_path(folder, cell), trace_path(folder, cell)):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot replace {path}: {reason(error)}") from error


def write_result(folder: Path, result: ProfileResult) -> None:
    """Write a result beside its trace.

    Raises:
        InputError: if the file cannot be written.
    """
    with replacing(result_path(folder, result.cell)) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))


def read_result(path: Path) -> ProfileResult:
    """Read a result back.

    Raises:
        InputError: if the file is not a result of this version.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProfileResult)
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(
            f"{path}: not a profiling result: {reason(error)}; move it elsewhere or profile again"
        ) from error


def select(results: Sequence[ProfileResult], **wanted: str | int | None) -> tuple[ProfileResult, ...]:
    """The results whose cells have the wanted values, such as `batch=8`; None takes any.

    Raises:
        InputError: if there are none; the message says which values there are.
    """
    for axis, value in wanted.items():
        present = sorted({str(getattr(result.cell, axis)) for result in results})
        results = [result for result in results if value in {None, getattr(result.cell, axis)}]
        if not results:
            raise InputError(
                f"no results with --{axis} {value} here; there are some with {', '.join(present)}"
            )
    return tuple(results)


def read_results(folder: Path) -> tuple[ProfileResult, ...]:
    """Every result in a folder, in the order of their names.

    Raises:
        InputError: if there is no such folder, no result in it, or a file that is not a result.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that `perfmamba profile --out` wrote")
    results = tuple(read_result(path) for path in sorted(folder.glob("*.json")))
    if not results:
        raise InputError(f"{folder}: no profiling results here; run `perfmamba profile ... --out {folder}`")
    return results
