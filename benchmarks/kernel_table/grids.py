"""Which cases the command measures: one list for a CPU, one for a GPU, the most telling first.

Out: cases. On a GPU a time limit may leave out the end of the list.
"""

from collections.abc import Iterable
from itertools import product

from benchmarks.kernel_table.cases import MAMBA1, MAMBA2, Case

F32, BF16 = "float32", "bfloat16"
PUBLISHED_STATES = {MAMBA1: 16, MAMBA2: 128}


def grid(device: str, *, quick: bool = False) -> list[Case]:
    """The cases for a device, "cpu" or "cuda"; `quick` takes the shortest and the least of each kind."""
    if device == "cpu":
        return [*_cpu(lengths=(512,), states=(128, 12), batches=(1,))] if quick else [*_cpu()]
    return [*_gpu_quick()] if quick else [*_gpu()]


def _cpu(
    lengths: tuple[int, ...] = (512, 2048, 4096),
    states: tuple[int, ...] = (128, 64, 12),
    batches: tuple[int, ...] = (1, 8, 64),
) -> Iterable[Case]:
    yield from _scans("ssd", [1], lengths, states, [F32])
    # a second a pass in transformers at 2048
    yield from _scans("selective_scan", [1], [length for length in lengths if length <= 2048], [16], [F32])
    yield from _convolutions([1], lengths, [F32])
    yield from _steps("ssd_update", batches, states, [F32])
    yield from _steps("selective_state_update", batches, [16], [F32])
    yield from _convolution_steps(batches, [F32])


def _gpu() -> Iterable[Case]:
    lengths, states = (2048, 4096, 8192, 16384), (128, 89, 64, 38, 12)
    batches = (64, 1, 8, 256, 1024)
    yield from _scans("ssd", [8], lengths, states, [BF16])
    yield from _steps("ssd_update", batches, states, [BF16])
    yield from _scans("selective_scan", [8], (2048, 16384), (16, 11, 4), [BF16])
    yield from _steps("selective_state_update", batches, (16, 4), [BF16])
    yield from _scans("ssd", [1], (2048, 16384), (128, 38), [BF16])
    yield from _convolutions([8], (2048, 16384), [BF16])
    yield from _convolution_steps((64, 1, 1024), [BF16])
    yield from _scans("ssd", [8], (2048, 16384), (128, 38, 12), [F32])
    yield from _scans("selective_scan", [8], (2048,), (16, 11, 4), [F32])
    yield from _steps("ssd_update", (64, 1024), (128, 12), [F32])
    yield from _convolutions([8], (2048,), [F32])


def _gpu_quick() -> Iterable[Case]:
    yield from _scans("ssd", [8], (2048,), (128, 38), [BF16])
    yield from _scans("selective_scan", [8], (2048,), (16,), [BF16])
    yield from _steps("ssd_update", (64,), (128, 12), [BF16])
    yield from _steps("selective_state_update", (64,), (16,), [BF16])
    yield from _convolutions([8], (2048,), [BF16])
    yield from _convolution_steps((64,), [BF16])
    yield from _scans("ssd", [8], (2048,), (128,), [F32])


def _scans(
    operation: str,
    batches: Iterable[int],
    lengths: Iterable[int],
    states: Iterable[int],
    dtypes: Iterable[str],
) -> Iterable[Case]:
    model = MAMBA2 if operation == "ssd" else MAMBA1
    for dtype, batch, length, size in product(dtypes, batches, lengths, states):
        yield Case(operation, model, batch, length, size, dtype)


def _steps(
    operation: str, batches: Iterable[int], states: Iterable[int], dtypes: Iterable[str]
) -> Iterable[Case]:
    model = MAMBA2 if operation == "ssd_update" else MAMBA1
    for dtype, batch, size in product(dtypes, batches, states):
        yield Case(operation, model, batch, 1, size, dtype)


def _convolutions(batches: Iterable[int], lengths: Iterable[int], dtypes: Iterable[str]) -> Iterable[Case]:
    for dtype, batch, length, (model, size) in product(dtypes, batches, lengths, PUBLISHED_STATES.items()):
        yield Case("causal_conv1d", model, batch, length, size, dtype)


def _convolution_steps(batches: Iterable[int], dtypes: Iterable[str]) -> Iterable[Case]:
    for dtype, batch, (model, size) in product(dtypes, batches, PUBLISHED_STATES.items()):
        yield Case("causal_conv1d_update", model, batch, 1, size, dtype)
