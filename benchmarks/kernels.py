"""The kernels one by one: every backend in turn with the others, against transformers' own functions.

Operations are those of a layer of the 130m models. All backends of a cell are held against the sequential
reference in float64, on a short sequence, and against each other on the whole one, before any is timed. Like
the models, they run on one thread of a CPU, in float32; on a GPU in bfloat16.
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.meter.measure.clocks import device
from benchmarks.workload import CHOICE
from benchmarks.workload import MISSING as MISSING_MODELS

try:
    import torch

    from benchmarks.kernel_table.cases import MAMBA1, MAMBA2, Case
    from benchmarks.kernel_table.contenders import contenders
    from benchmarks.kernel_table.measuring import Checked, check
except ImportError as error:
    MISSING = str(error)
else:
    MISSING = MISSING_MODELS


@dataclass(frozen=True)
class Grid:
    """Sizes to measure.

    Attributes:
        batches: sequences that are scanned.
        step_batches: sequences that decode.
        seqlens: positions of a scanned sequence.
        mamba2_states: N of Mamba-2.
        mamba1_states: N of Mamba-1.
        repeat: least and most samples, and seconds of them for each backend.
        timeout: seconds for a cell with all its backends, compilation included.
    """

    batches: tuple[int, ...]
    step_batches: tuple[int, ...]
    seqlens: tuple[int, ...]
    mamba2_states: tuple[int, ...]
    mamba1_states: tuple[int, ...]
    repeat: tuple[int, int, float]
    timeout: float


GRID = {
    "quick": Grid(
        batches=(1,),
        step_batches=(8,),
        seqlens=(256,),
        mamba2_states=(128, 12),
        mamba1_states=(16,),
        repeat=(6, 50, 0.3),
        timeout=120,
    ),
    "paper": Grid(
        batches=(8,),
        step_batches=(1, 8, 64, 256, 1024),
        seqlens=(2048, 4096, 8192, 16384),
        mamba2_states=(128, 89, 64, 38, 12),
        mamba1_states=(16, 11, 4),
        repeat=(10, 100, 2.0),
        timeout=600,
    ),
}[os.environ.get(CHOICE, "quick")]

BACKENDS = (
    ("hf", "torch", "triton", *filter(find_spec, ["mamba_ssm"])) if device() == "cuda" else ("hf", "torch")
)
CONV_STATES = (128,)
"""Of the published Mamba-2: it convolves B and C as well."""

OURS = "triton" if device() == "cuda" else "torch"
KERNELS = {
    **{
        f"{operation} N={states}": (operation, batches[0], seqlen, states)
        for operation, batches, seqlen in (
            ("ssd", GRID.batches, GRID.seqlens[0]),
            ("ssd_update", GRID.step_batches[-1:], 1),
        )
        for states in (GRID.mamba2_states[0], GRID.mamba2_states[-1])
    },
    **{
        operation: (operation, batches[0], seqlen, states)
        for operation, batches, seqlen, states in (
            ("selective_scan", GRID.batches, GRID.seqlens[0], GRID.mamba1_states[0]),
            ("selective_state_update", GRID.step_batches[-1:], 1, GRID.mamba1_states[0]),
            ("causal_conv1d", GRID.batches, GRID.seqlens[0], CONV_STATES[0]),
            ("causal_conv1d_update", GRID.step_batches[-1:], 1, CONV_STATES[0]),
        )
    },
}
"""The arguments of `checked_calls` by what the parameter `kernel` says."""


class _Kernel:
    param_names = ("operation", "backend", "batch", "seqlen", "states")
    version = "1"
    variant = "backend"
    baseline = "hf"
    repeat = GRID.repeat
    warmup_time = 0.1
    timeout = GRID.timeout
    queue = "full"
    compared = False  # between commits: `OurKernel` is

    def setup(self, *_group):
        if MISSING:
            raise NotImplementedError(MISSING)
        torch.set_num_threads(1)

    def paired_time(self, operation, batch, seqlen, states):
        return checked_calls(operation, batch, seqlen, states)


class _Scan(_Kernel):
    def paired_memory(self, operation, batch, seqlen, states):
        """Peak above the inputs, outputs included."""
        return checked_calls(operation, batch, seqlen, states)

    paired_memory.measure = "memory"
    paired_memory.repeat = (6, 6, 10.0)


class Ssd(_Scan):
    """Mamba-2's scan."""

    params = (("ssd",), BACKENDS, GRID.batches, GRID.seqlens, GRID.mamba2_states)


class SelectiveScan(_Scan):
    """Mamba-1's scan."""

    params = (("selective_scan",), BACKENDS, GRID.batches, GRID.seqlens, GRID.mamba1_states)


class CausalConv(_Kernel):
    """The convolution before Mamba-2's scan."""

    params = (("causal_conv1d",), BACKENDS, GRID.batches, GRID.seqlens, CONV_STATES)


class SsdUpdate(_Kernel):
    """A decode step of Mamba-2."""

    params = (("ssd_update",), BACKENDS, GRID.step_batches, (1,), GRID.mamba2_states)


class SelectiveStateUpdate(_Kernel):
    """A decode step of Mamba-1."""

    params = (("selective_state_update",), BACKENDS, GRID.step_batches, (1,), GRID.mamba1_states)


class CausalConvUpdate(_Kernel):
    """A decode step of Mamba-2's convolution."""

    params = (("causal_conv1d_update",), BACKENDS, GRID.step_batches, (1,), CONV_STATES)


class OurKernel:
    """Each kernel by the backend that this machine uses: what a comparison of commits looks at."""

    params = (tuple(KERNELS),)
    param_names = ("kernel",)
    version = "1"
    repeat = GRID.repeat
    warmup_time = 0.1
    timeout = GRID.timeout
    queue = "full"

    def setup(self, kernel):
        if MISSING:
            raise NotImplementedError(MISSING)
        torch.set_num_threads(1)
        self.call = checked_calls(*KERNELS[kernel])[OURS]

    def cudatime_call(self, _kernel):
        self.call()


def checked_calls(operation: str, batch: int, seqlen: int, states: int):
    """A call for each backend that runs here, what does not fit into memory apart.

    Raises:
        AssertionError: if a backend fails, or gives other numbers than the reference.
    """
    model = MAMBA1 if operation.startswith("selective") else MAMBA2
    dtype = "bfloat16" if device() == "cuda" else "float32"
    case = Case(operation, model, batch, seqlen, states, dtype)
    makers = contenders(case, device())
    calls = {}
    for backend, outcome in check(case, {name: makers[name] for name in BACKENDS if name in makers}):
        if isinstance(outcome, Checked):
            calls[backend] = outcome.call
        assert isinstance(outcome, Checked) or outcome.skipped, f"{backend}: {outcome.failed}"
    return calls
