"""Launches: whether the GPU had to wait for them, and how to hold it back until they are queued.

In: how long the CPU took to launch each call of a batch. Out: how many calls to queue at once, and whether
the times are those of the GPU or of the launches. If a kernel is shorter than its launch, the GPU runs out of
work, and events around the kernel time its launch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

QueueName = Literal["as it comes", "full"]

_QUEUED_CALLS = 200
"""The queue has room for about 1000 commands. A call takes at least four: two events, a kernel, and the
kernel that flushes the cache."""

_SHORTEST_HOLD_S, _LONGEST_HOLD_S = 1e-3, 0.1
_SAFETY = 2
_CYCLES_PER_S = 2.0e9
"""About the clock of the fastest GPUs of today; a slower one is held back longer."""

_NOTICEABLE = 0.1
"""The share of a call's time from which its launch matters. A call cannot wait for its launch longer than the
CPU takes for it."""

_FILLS_QUEUE_S, _PREVAILING = 1e-3, 0.9
"""Launches that take the CPU longer than the first may fill the queue; then the CPU waits for the GPU, not
the GPU for the CPU. Such a call counts as late only if the CPU took at least the second as a share of its
time. If the queue was full the share is smaller, unless the call fills the queue ten times."""


@dataclass(frozen=True)
class CallLaunch:
    """How the CPU launched one call.

    Attributes:
        seconds: from before the first event of the call was queued until after the last one was.
        close: whether the GPU was less than two calls behind when the last event was queued, so that it may
            have waited for a part of the call. (Less than one call would be sharper, but the CPU learns of an
            event some microseconds late.)
    """

    seconds: float
    close: bool


@dataclass(frozen=True)
class Batch:
    """The calls between two waits for the GPU.

    Attributes:
        launches: one for each call.
        queuing_s: seconds that it took to queue all calls.
        first_s: the first call's time on the GPU. The queue was empty then, so the CPU's time for that call
            includes no wait for room in the queue.
    """

    launches: Sequence[CallLaunch]
    queuing_s: float
    first_s: float


class Queue:
    """The queue of a stream as it comes: the GPU works on the first calls while the others are queued."""

    name: QueueName = "as it comes"

    def __init__(self) -> None:
        self._calls = 0
        self._late = 0

    @property
    def host_bound(self) -> bool:
        """Whether most calls so far took as long as their launch, not as long as the GPU's work."""
        return 2 * self._late > self._calls

    def room(self, calls: int) -> int:
        """Return how many of the calls to queue before the next wait; at least one."""
        return calls

    def hold(self, calls: int) -> None:
        """Hold the GPU back while so many calls are queued; this queue does not."""

    def add(self, batch: Batch) -> None:
        """Count the calls of a batch that is over."""
        launches = batch.launches
        close = sum(launch.close for launch in launches)
        self._calls += len(launches)
        own_s = launches[0].seconds
        share = _NOTICEABLE if own_s < _FILLS_QUEUE_S else _PREVAILING
        if 2 * close > len(launches) and own_s >= share * batch.first_s:
            self._late += len(launches)


class FullQueue(Queue):
    """A queue on which the GPU starts when a whole batch of calls is in it; for calls of a few launches.

    How long it takes to queue a batch is learned from the batch before. If the GPU started too early, the
    next batch has half as many calls.
    """

    name: QueueName = "full"

    def __init__(self, spin: Callable[[int], object]) -> None:
        """Take `spin`, which queues a kernel that lasts for a number of the GPU's clock cycles."""
        super().__init__()
        self._spin = spin
        self._most = _QUEUED_CALLS
        self._call_s = 0.0

    def room(self, calls: int) -> int:
        needed_s = _SAFETY * self._call_s
        held = math.floor(_LONGEST_HOLD_S / needed_s) if needed_s else calls
        return max(1, min(calls, self._most, held))

    def hold(self, calls: int) -> None:
        """Keep the GPU busy for as long as it takes to queue the calls, and a little longer."""
        seconds = min(_SHORTEST_HOLD_S + _SAFETY * self._call_s * calls, _LONGEST_HOLD_S)
        self._spin(int(seconds * _CYCLES_PER_S))

    def add(self, batch: Batch) -> None:
        """Count the calls of a batch that is over; late is each call that the GPU was too close to."""
        launches = batch.launches
        self._calls += len(launches)
        self._late += sum(launch.close for launch in launches)
        self._call_s = batch.queuing_s / len(launches)
        if launches[-1].close and len(launches) > 1:
            self._most = len(launches) // 2
