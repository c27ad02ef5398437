"""Memory: how much a call needs at its peak, from torch's allocator on a GPU, from Linux on a CPU.

In: a call. Out: bytes. The allocator counts the blocks that tensors hold, not those that it keeps in reserve:
a block is as large as its tensor rounded up to 512 bytes, or a free block that is up to 1 MiB larger. Linux
counts the pages that were touched (a tensor that is never written takes none). It adds them up in batches, so
its count may be off by some 100 KiB for each CPU core that the process ran on.
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
    """This machine cannot measure the quantity; the message says why."""


@dataclass(frozen=True)
class Peak:
    """The most memory in use at any time during a call, in bytes.

    Attributes:
        total: with everything that was there before: weights and inputs; on a CPU, the whole process.
        growth: the part above what was in use when the call began.
    """

    total: int
    growth: int


def peak_probe() -> Callable[[Call], Peak]:
    """Return the function that measures the peak of a call on the device where torch would compute.

    Call this before anything large is allocated. On a CPU it makes glibc allocate large blocks in a way that
    gives them back to the system when they are freed.
    """
    if device() == "cuda":
        return allocated_peak
    _map_large_blocks()
    return resident_peak


def allocated_peak(call: Call) -> Peak:
    """Return the peak of the blocks that torch's allocator handed out on the current GPU."""
    from torch import cuda

    cuda.synchronize()
    before = cuda.memory_allocated()
    cuda.reset_peak_memory_stats()
    call()
    cuda.synchronize()
    total = cuda.max_memory_allocated()
    return Peak(total, total - before)


def resident_peak(call: Call) -> Peak:
    """Return the peak of the process's resident memory. Use it through `peak_probe`.

    Raises:
        UnavailableError: if the system cannot reset its count of the peak. Linux can, if built for it.
    """
    if _trim:
        _trim(0)
    _reset_peak()
    before = _status_bytes("VmRSS")
    call()
    total = _status_bytes("VmHWM")
    return Peak(total, max(0, total - before))


def release() -> None:
    """Free the memory that a failed call left. Drop its exception first: the traceback holds tensors."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _map_large_blocks() -> None:
    """Make glibc map each large block by itself, so that the system gets it back as soon as it is freed.

    By default glibc takes blocks of up to 32 MiB from its heaps after one of that size was freed. Heaps other
    than the first (a thread's, or the one that glibc uses after it ran out of memory) are not trimmed.
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
