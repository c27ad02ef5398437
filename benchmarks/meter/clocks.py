"""Clocks: the time that each of some calls takes, on the GPU where there is one.

In: calls. Out: seconds, one number a call. A call on the GPU is timed by events on its stream, so what the
processor does meanwhile does not count, except where the GPU has to wait for it.
"""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from benchmarks.meter.device_count import device_count
from benchmarks.meter.sampling import Call

L2 = Literal["cold", "hot"]


class Event(Protocol):
    """What is used of `torch.cuda.Event`."""

    def record(self) -> None:
        """Mark this point of the current stream."""

    def elapsed_time(self, end: "Event") -> float:
        """Milliseconds from this event to another, both of them over."""


@dataclass(frozen=True)
class CudaClock:
    """Event pairs around each call, and one wait at the end of all calls.

    The events are those of the current stream: work that a call leaves on another one is not seen.

    Attributes:
        event: makes an event that keeps time.
        synchronise: waits for the device.
        flush: fills the L2 cache with something else; called before each call, outside its events. None
            leaves the cache as the previous call left it.
        name: of the clock, for the record.
        look: called while the device still works on the last calls, after all events are on their way.
        batch: calls between two waits, unless time is short: as many as the paper's iterations.
    """

    event: Callable[[], Event]
    synchronise: Callable[[], None]
    flush: Call | None
    look: Call = lambda: None
    name: str = "CUDA events"
    batch: int = 100

    @property
    def l2(self) -> L2:
        """How a call finds the L2 cache."""
        return "cold" if self.flush else "hot"

    def seconds(self, calls: Sequence[Call]) -> list[float]:
        """The time of each call on the device."""
        pairs = [(self.event(), self.event()) for _ in calls]
        with _no_garbage_collection():
            for call, (start, end) in zip(calls, pairs, strict=True):
                if self.flush:
                    self.flush()
                start.record()
                call()
                end.record()
            self.look()
            self.synchronise()
        return [start.elapsed_time(end) / 1e3 for start, end in pairs]


@dataclass(frozen=True)
class CpuClock:
    """`time.perf_counter` around each call."""

    name: str = "perf_counter"
    l2: L2 = "hot"
    batch: int = 10

    def seconds(self, calls: Sequence[Call]) -> list[float]:
        """The time of each call on the clock on the wall."""
        times = []
        with _no_garbage_collection():
            for call in calls:
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
        return times


Clock = CudaClock | CpuClock


def clock(l2: L2 = "cold", look: Call = lambda: None) -> Clock:
    """The clock for this process: of the GPU that torch would use, of the processor without one.

    Args:
        l2: a "cold" cache of the GPU is written over before each call, with twice its size. On a processor
            every call finds the caches as the one before left them.
        look: see `CudaClock`; a processor is not looked at.
    """
    return CpuClock() if device() == "cpu" else _cuda_clock(l2, look)


def device() -> Literal["cuda", "cpu"]:
    """Where torch would compute; never initialises CUDA."""
    return "cuda" if device_count() else "cpu"


def device_name() -> str:
    """The name of the current GPU, or "cpu"; initialises CUDA."""
    if device() == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name()


def threads() -> int:
    """The threads that an operation of torch's may use on the processor; 1 without torch."""
    try:
        import torch
    except ImportError:
        return 1
    return torch.get_num_threads()


def _cuda_clock(l2: L2, look: Call) -> CudaClock:
    import torch

    def event() -> Event:
        return torch.cuda.Event(enable_timing=True)

    if l2 == "hot":
        return CudaClock(event, torch.cuda.synchronize, flush=None, look=look)
    size = 2 * torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
    buffer = torch.empty(size, dtype=torch.int8, device="cuda")
    return CudaClock(event, torch.cuda.synchronize, flush=buffer.zero_, look=look)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection takes longer than many calls; what has no reference left is freed all the same."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
