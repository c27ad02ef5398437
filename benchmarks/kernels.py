"""The kernels one by one: every backend in turn with the others, against transformers' own functions.

Operations are those of a layer of the 130m models. All backends of a cell are held against the sequential
reference in float64, on a short sequence, and against each other on the whole one, before any is timed. Like
the models, they run on one thread of a CPU, in float32; on a GPU in bfloat16.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.kernel_table.operation import BF16, F32, Case
from benchmarks.kernel_table.registry import OPERATIONS
from benchmarks.meter.measure.clocks import device
from benchmarks.workload import CHOICE
from benchmarks.workload import MISSING as MISSING_MODELS

try:
    import torch

    from benchmarks.kernel_table.contenders import contenders
    from benchmarks.kernel_table.measuring import Checked, check
except ImportError as error:
    MISSING = str(error)
else:
    MISSING = MISSING_MODELS


Calls = dict[str, Callable[[], object]]
"""By backend."""


@dataclass(frozen=True)
class KernelProfile:
    """Sizes to measure all operations at; N is in the registry.

    Attributes:
        batches: sequences that are scanned.
        step_batches: sequences that decode.
        seqlens: positions of a scanned sequence.
        repeat: least and most samples, and seconds of them for each backend.
        timeout: seconds for a cell with all its backends, compilation included.
    """

    batches: tuple[int, ...]
    step_batches: tuple[int, ...]
    seqlens: tuple[int, ...]
    repeat: tuple[int, int, float]
    timeout: float


NAME = os.environ.get(CHOICE, "quick")
PROFILE = {
    "quick": KernelProfile(batches=(1,), step_batches=(8,), seqlens=(256,), repeat=(6, 50, 0.3), timeout=120),
    "paper": KernelProfile(
        batches=(8,),
        step_batches=(1, 8, 64, 256, 1024),
        seqlens=(2048, 4096, 8192, 16384),
        repeat=(10, 100, 2.0),
        timeout=600,
    ),
}[NAME]

BACKENDS = (
    ("hf", "torch", "triton", *filter(find_spec, ["mamba_ssm"])) if device() == "cuda" else ("hf", "torch")
)
OURS = "triton" if device() == "cuda" else "torch"


def grid_of(operation: str) -> tuple[tuple[object, ...], ...]:
    """The parameters of an operation's benchmarks."""
    states = OPERATIONS[operation].suite_states[NAME]
    if OPERATIONS[operation].updates:
        return (operation,), BACKENDS, PROFILE.step_batches, (1,), states
    return (operation,), BACKENDS, PROFILE.batches, PROFILE.seqlens, states


def compared_kernels() -> dict[str, tuple[str, int, int, int]]:
    """The arguments of `checked_calls` by what the parameter `kernel` says."""
    kernels = {}
    for name, operation in OPERATIONS.items():
        step = PROFILE.step_batches[-1], 1
        batch, seqlen = step if operation.updates else (PROFILE.batches[0], PROFILE.seqlens[0])
        for states in operation.compared_states:
            several = len(operation.compared_states) > 1
            kernels[f"{name} N={states}" if several else name] = (name, batch, seqlen, states)
    return kernels


KERNELS = compared_kernels()


class _Kernel:
    param_names = ("operation", "backend", "batch", "seqlen", "states")
    version = "1"
    variant = "backend"
    baseline = "hf"
    repeat = PROFILE.repeat
    warmup_time = 0.1
    timeout = PROFILE.timeout
    queue = "full"
    compared = False  # between commits: `OurKernel` is

    def setup(self, *_group: object) -> None:
        if MISSING:
            raise NotImplementedError(MISSING)
        torch.set_num_threads(1)

    def paired_time(self, operation: str, batch: int, seqlen: int, states: int) -> Calls:
        return checked_calls(operation, batch, seqlen, states)


class _Scan(_Kernel):
    def paired_memory(self, operation: str, batch: int, seqlen: int, states: int) -> Calls:
        """Peak above the inputs, outputs included."""
        return checked_calls(operation, batch, seqlen, states)

    # asv looks for attributes at the function first
    paired_memory.measure = "memory"
    paired_memory.repeat = (6, 6, 10.0)


class Ssd(_Scan):
    """Mamba-2's scan."""

    params = grid_of("ssd")


class SelectiveScan(_Scan):
    """Mamba-1's scan."""

    params = grid_of("selective_scan")


class CausalConv(_Kernel):
    """The convolution before Mamba-2's scan."""

    params = grid_of("causal_conv1d")


class SsdUpdate(_Kernel):
    """A decode step of Mamba-2."""

    params = grid_of("ssd_update")


class SelectiveStateUpdate(_Kernel):
    """A decode step of Mamba-1."""

    params = grid_of("selective_state_update")


class CausalConvUpdate(_Kernel):
    """A decode step of Mamba-2's convolution."""

    params = grid_of("causal_conv1d_update")


class OurKernel:
    """Each kernel by the backend that this machine uses: what a comparison of commits looks at."""

    params = (tuple(KERNELS),)
    param_names = ("kernel",)
    version = "1"
    repeat = PROFILE.repeat
    warmup_time = 0.1
    timeout = PROFILE.timeout
    queue = "full"

    def setup(self, kernel: str) -> None:
        if MISSING:
            raise NotImplementedError(MISSING)
        torch.set_num_threads(1)
        self.call = checked_calls(*KERNELS[kernel])[OURS]

    def cudatime_call(self, _kernel: str) -> None:
        self.call()


def checked_calls(operation: str, batch: int, seqlen: int, states: int) -> Calls:
    """A call for each backend that runs here, without those that do not fit into memory.

    Raises:
        AssertionError: if a backend fails, or gives other numbers than the reference.
    """
    # of the convolutions, that of Mamba-2 does the most
    model = OPERATIONS[operation].models[-1]
    case = Case(operation, model, batch, seqlen, states, BF16 if device() == "cuda" else F32)
    makers = contenders(case, device())
    calls: Calls = {}
    for backend, outcome in check(case, {name: makers[name] for name in BACKENDS if name in makers}):
        if isinstance(outcome, Checked):
            calls[backend] = outcome.call
        else:
            assert outcome.skipped, f"{backend}: {outcome.failed}"
    return calls
