"""Clocks: the time that each of some calls takes, on the GPU where there is one.

In: calls. Out: seconds, one number a call. A call on the GPU is timed by events on its stream, so what the
processor does meanwhile does not count, except where the GPU has to wait for it: `launches` tells, and can
have all calls queued before the GPU starts.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from benchmarks.meter.gpu.count import device_count
from benchmarks.meter.host import without_gc
from benchmarks.meter.measure.launches import Batch, FullQueue, Launch, Queue, QueueName
from benchmarks.meter.measure.sampling import Call

L2 = Literal["cold", "hot"]


class Event(Protocol):
    """What is used of `torch.cuda.Event`."""

    def record(self) -> None:
        """Mark this point of the current stream."""

    def query(self) -> bool:
        """Whether the device has reached this event; does not wait."""

    def elapsed_time(self, end: "Event") -> float:
        """Milliseconds from this event to another, both of them over."""


@dataclass(frozen=True)
class CudaClock:
    """Event pairs around each call, and one wait at the end of a batch.

    The events are those of the current stream: work that a call leaves on another one is not seen.

    Attributes:
        event: makes an event that keeps time.
        synchronise: waits for the device.
        flush: fills the L2 cache with something else; called before each call, outside its events. None
            leaves the cache as the previous call left it.
        name: of the clock, for the record.
        look: called while the device still works on the last calls, after all events are on their way.
        queue: how calls get to the device; says how many go before a wait.
        batch: calls between two waits, unless time is short: as many as the paper's iterations.
    """

    event: Callable[[], Event]
    synchronise: Callable[[], None]
    flush: Call | None
    look: Call = lambda: None
    queue: Queue = field(default_factory=Queue)
    name: str = "CUDA events"
    batch: int = 100

    @property
    def l2(self) -> L2:
        """How a call finds the L2 cache."""
        return "cold" if self.flush else "hot"

    @property
    def launches(self) -> dict[str, Any]:
        """How the calls so far got to the device, for a note."""
        return {"queue": self.queue.name, "host_bound": self.queue.host_bound}

    def seconds(self, calls: Sequence[Call]) -> list[float]:
        """The time of each call on the device."""
        times: list[float] = []
        while len(times) < len(calls):
            end = len(times) + self.queue.room(len(calls) - len(times))
            times += self._batch(calls[len(times) : end])
        return times

    def _batch(self, calls: Sequence[Call]) -> list[float]:
        pairs = [(self.event(), self.event()) for _ in calls]
        earlier = [pairs[0], *pairs[:-1]]
        launches = []
        with without_gc():
            self.queue.hold(len(calls))
            begin = time.perf_counter()
            for call, (start, end), (start_before, _) in zip(calls, pairs, earlier, strict=True):
                if self.flush:
                    self.flush()
                before = time.perf_counter()
                start.record()
                call()
                end.record()
                launches.append(Launch(time.perf_counter() - before, start_before.query()))
            queuing_s = time.perf_counter() - begin
            self.look()
            self.synchronise()
        times = [start.elapsed_time(end) / 1e3 for start, end in pairs]
        self.queue.add(Batch(launches, queuing_s, times[0]))
        return times


@dataclass(frozen=True)
class CpuClock:
    """`time.perf_counter` around each call."""

    name: str = "perf_counter"
    l2: L2 = "hot"
    batch: int = 10

    @property
    def launches(self) -> dict[str, Any]:
        """Nothing: a processor starts at once."""
        return {}

    def seconds(self, calls: Sequence[Call]) -> list[float]:
        """The time of each call on the clock on the wall."""
        times = []
        with without_gc():
            for call in calls:
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
        return times


Clock = CudaClock | CpuClock


def clock(l2: L2 = "cold", look: Call = lambda: None, queue: QueueName = "as it comes") -> Clock:
    """The clock for this process: of the GPU that torch would use, of the processor without one.

    Args:
        l2: a "cold" cache of the GPU is written over before each call, with twice its size. On a processor
            every call finds the caches as the one before left them.
        look: see `CudaClock`; a processor is not looked at.
        queue: "full" holds the GPU back until many calls are queued, for calls shorter than their launch.

    Raises:
        ValueError: if there is no such queue.
    """
    if queue not in get_args(QueueName):
        message = f"queue is {queue!r}, but must be one of {list(get_args(QueueName))}"
        raise ValueError(message)
    return CpuClock() if device() == "cpu" else _cuda_clock(l2, look, queue)


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


def _cuda_clock(l2: L2, look: Call, queue: QueueName) -> CudaClock:
    import torch

    def event() -> Event:
        return torch.cuda.Event(enable_timing=True)

    flush = None
    if l2 == "cold":
        size = 2 * torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
        flush = torch.empty(size, dtype=torch.int8, device="cuda").zero_
    # torch has no public kernel that takes a given time and leaves memory and caches alone
    used = FullQueue(torch.cuda._sleep) if queue == "full" else Queue()  # noqa: SLF001 - see above
    return CudaClock(event, torch.cuda.synchronize, flush, look, used)
