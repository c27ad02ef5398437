"""Clocks: how long each of some calls takes, on the GPU if there is one.

In: calls. Out: seconds, one number a call. A call on the GPU is timed by events on its stream, so the CPU's
time does not count unless the GPU has to wait for the CPU. `launches` finds out whether it had to, and can
queue all calls before the GPU starts.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from benchmarks.meter.gpu.count import device_count
from benchmarks.meter.host import without_gc
from benchmarks.meter.measure.launches import Batch, CallLaunch, FullQueue, Queue, QueueName
from benchmarks.meter.measure.sampling import Call

L2 = Literal["cold", "hot"]


class CudaEvent(Protocol):
    """The part of `torch.cuda.Event` that is used here."""

    def record(self) -> None:
        """Mark this point of the current stream."""

    def query(self) -> bool:
        """Whether the GPU has reached this event; does not wait."""

    def elapsed_time(self, end_event: Any) -> float:
        """Milliseconds from this event to another; the GPU has to have reached both."""


@dataclass(frozen=True)
class CudaClock:
    """A pair of events around each call, and one wait for the GPU at the end of a batch.

    The events are recorded on the current stream. Work that a call puts on another stream is not timed.

    Attributes:
        event: makes an event that keeps time.
        synchronize: waits for the GPU.
        flush: fills the L2 cache with other data; called before each call, outside its events. None leaves
            the cache as the previous call left it.
        look: called when all calls of a batch are queued and the GPU still works on the last ones.
        queue: how calls get to the GPU; it says how many may be queued before a wait.
        name: of the clock, for notes.
        batch: calls between two waits, unless time is short. It equals the paper's number of iterations.
    """

    event: Callable[[], CudaEvent]
    synchronize: Callable[[], None]
    flush: Call | None
    look: Call = lambda: None
    queue: Queue = field(default_factory=Queue)
    name: str = "CUDA events"
    batch: int = 100

    @property
    def l2(self) -> L2:
        """The state in which a call finds the L2 cache."""
        return "cold" if self.flush else "hot"

    @property
    def launches(self) -> dict[str, Any]:
        """How the calls so far got to the GPU, for a note."""
        return {"queue": self.queue.name, "host_bound": self.queue.host_bound}

    def seconds(self, calls: Sequence[Call]) -> list[float]:
        """Return the seconds that each call took on the GPU."""
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
                launches.append(CallLaunch(time.perf_counter() - before, start_before.query()))
            queuing_s = time.perf_counter() - begin
            self.look()
            self.synchronize()
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
        """Nothing to note: a CPU starts a call at once."""
        return {}

    def seconds(self, calls: Sequence[Call]) -> list[float]:
        """Return the seconds of wall time that each call took."""
        times = []
        with without_gc():
            for call in calls:
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
        return times


Clock = CudaClock | CpuClock


def clock(l2: L2 = "cold", look: Call = lambda: None, queue: QueueName = "as it comes") -> Clock:
    """Return the clock for this process: for the GPU that torch would use, or for the CPU without one.

    Args:
        l2: "cold" overwrites the GPU's cache before each call, with twice its size. On a CPU every call
            finds the caches as the previous call left them.
        look: see `CudaClock`; not called on a CPU.
        queue: "full" holds the GPU back until many calls are queued; for calls shorter than their launch.

    Raises:
        ValueError: if there is no such queue.
    """
    if queue not in get_args(QueueName):
        message = f"queue is {queue!r}, but must be one of {list(get_args(QueueName))}"
        raise ValueError(message)
    return CpuClock() if device() == "cpu" else _cuda_clock(l2, look, queue)


def device() -> Literal["cuda", "cpu"]:
    """Return where torch would compute. This never initializes CUDA."""
    return "cuda" if device_count() else "cpu"


def device_name() -> str:
    """Return the name of the current GPU, or "cpu". On a GPU this initializes CUDA."""
    if device() == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name()


def threads() -> int:
    """Return how many threads of the CPU an operation of torch may use; 1 without torch."""
    try:
        import torch
    except ImportError:
        return 1
    return torch.get_num_threads()


def _cuda_clock(l2: L2, look: Call, queue: QueueName) -> CudaClock:
    import torch

    def event() -> CudaEvent:
        return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch 2.13 lacks its type

    flush = None
    if l2 == "cold":
        size = 2 * torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
        flush = torch.empty(size, dtype=torch.int8, device="cuda").zero_
    # torch has no public kernel that lasts for a given time and leaves memory and caches alone
    used = FullQueue(torch.cuda._sleep) if queue == "full" else Queue()  # noqa: SLF001 - nothing public does
    return CudaClock(event, torch.cuda.synchronize, flush, look, used)
