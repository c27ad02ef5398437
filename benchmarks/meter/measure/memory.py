"""Memory: how much a call needs at its peak, by torch's allocator on a GPU, by the kernel on a processor.

In: a call. Out: bytes. The allocator counts the blocks that it handed out, not what it keeps in reserve: a
block is its tensor's size rounded up to 512 bytes, or a free one that is up to 1 MiB larger. The kernel
counts pages that were touched (a tensor never written takes nothing), and sums them up in batches: it may be
off by some 100 KiB for each processor that the process ran on.
"""

import ctypes
import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.meter.measure.clocks import device
from benchmarks.meter.measure.sampling import Call

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""See the kernel's Documentation/filesystems/proc.rst."""

# glibc's malloc.h
_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES = -3, 128 * 1024
_MMAP_MAX, _MAPPED_BLOCKS = -4, 65536

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Returns freed memory to the system; glibc has it."""


class UnavailableError(Exception):
    """This machine cannot measure what was asked; the text says why."""


@dataclass(frozen=True)
class Peak:
    """The most memory in use at any time during a call, in bytes.

    Attributes:
        total: with all that was there before: weights, inputs, on a processor the whole process.
        growth: above what was in use when the call began.
    """

    total: int
    growth: int


def peak_probe() -> Callable[[Call], Peak]:
    """What measures the peak of a call where torch would compute.

    To be asked before anything large is allocated: on a processor, it has large blocks allocated in a way
    that gives them back when they are freed.
    """
    if device() == "cuda":
        return allocated_peak
    _map_large_blocks()
    return resident_peak


def allocated_peak(call: Call) -> Peak:
    """The peak of what torch's allocator handed out on the current GPU."""
    from torch import cuda

    cuda.synchronize()
    before = cuda.memory_allocated()
    cuda.reset_peak_memory_stats()
    call()
    cuda.synchronize()
    total = cuda.max_memory_allocated()
    return Peak(total, total - before)


def resident_peak(call: Call) -> Peak:
    """The peak of the process's resident memory; get it from `peak_probe`.

    Raises:
        UnavailableError: where the kernel cannot count a peak anew (Linux can, if built to).
    """
    if _trim:
        _trim(0)
    _reset_peak()
    before = _status_bytes("VmRSS")
    call()
    total = _status_bytes("VmHWM")
    return Peak(total, max(0, total - before))


def release() -> None:
    """Give back what the failed call left, once its error is forgotten: its frames hold tensors."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _map_large_blocks() -> None:
    """Have glibc map each large block by itself, so that the system has it back as soon as it is freed.

    By default it takes blocks of up to 32 MiB from its heaps once one of that size was freed, and a heap
    other than the first (a thread's, or the one it goes on with after it ran out of memory) is not trimmed.
    """
    if _trim:
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, _MAPPED_BLOCKS)
        library.mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def _reset_peak() -> None:
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError as error:
        message = f"cannot reset the peak of resident memory: {error}"
        raise UnavailableError(message) from error


def _status_bytes(field: str) -> int:
    _, _, rest = _STATUS.read_text().partition(f"{field}:")
    return int(rest.split()[0]) * 1024
