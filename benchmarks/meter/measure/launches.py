"""Launches: whether the GPU had to wait for them, and how to hold it back until they are queued.

In: what the processor did for each call of a batch. Out: how many calls to queue at once, and a verdict.
A kernel that is shorter than its launch leaves the queue empty: events around it time the launch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

QueueName = Literal["as it comes", "full"]

_QUEUED_CALLS = 200
"""The queue has room for about 1000 commands, of which a call takes at least four: two events, one kernel,
and what flushes the cache."""

_SHORTEST_HOLD_S, _LONGEST_HOLD_S = 1e-3, 0.1
_SAFETY = 2
_CYCLES_PER_S = 2.0e9
"""About the fastest clock of today's GPUs; a slower one holds longer."""

_NOTICEABLE = 0.1
"""A call waits for its launches no longer than the processor takes for them: a smaller share is no matter."""

_FILLS_QUEUE_S, _PREVAILING = 1e-3, 0.9
"""Launches that take the processor longer than this may fill the queue, and then it waits for the device, not
the device for it. Such a call is late only if the processor took at least this share of its time; where the
queue was full it took less, unless the call fills it ten times."""


@dataclass(frozen=True)
class Launch:
    """What the processor did for one call.

    Attributes:
        seconds: from before its first event was queued to after its last one was.
        close: whether the device was less than two calls behind when the last event was queued, so that it
            may have waited for some of what is between the two. (Less than one would be sharper, but it takes
            some microseconds until the processor hears of an event.)
    """

    seconds: float
    close: bool


@dataclass(frozen=True)
class Batch:
    """Calls between two waits for the device.

    Attributes:
        launches: of each call.
        queuing_s: seconds that it took to queue them all.
        first_s: the first call's time on the device. The queue was empty then, so that the processor's time
            for it holds no wait for room.
    """

    launches: Sequence[Launch]
    queuing_s: float
    first_s: float


class Queue:
    """The queue of a stream as it comes: the device works on the first calls while the others are queued."""

    name: QueueName = "as it comes"

    def __init__(self) -> None:
        self._calls = 0
        self._late = 0

    @property
    def host_bound(self) -> bool:
        """Whether most calls so far show the launches' pace, not the device's."""
        return 2 * self._late > self._calls

    def room(self, calls: int) -> int:
        """How many of the calls to queue before the next wait; at least one."""
        return calls

    def hold(self, calls: int) -> None:
        """Hold the device back while so many calls are queued: not here."""

    def add(self, batch: Batch) -> None:
        """Count a batch that is over."""
        launches = batch.launches
        close = sum(launch.close for launch in launches)
        self._calls += len(launches)
        own_s = launches[0].seconds
        share = _NOTICEABLE if own_s < _FILLS_QUEUE_S else _PREVAILING
        if 2 * close > len(launches) and own_s >= share * batch.first_s:
            self._late += len(launches)


class FullQueue(Queue):
    """A queue that the device starts on when a whole batch of calls is in it.

    For calls of a few launches. How long that takes is learnt from the batch before; where the device was
    let go too early, the next batch is half as long.
    """

    name = "full"

    def __init__(self, spin: Callable[[int], object]) -> None:
        """Hold the device by `spin`, which queues work of so many of its clock's cycles."""
        super().__init__()
        self._spin = spin
        self._most = _QUEUED_CALLS
        self._call_s = 0.0

    def room(self, calls: int) -> int:
        needed_s = _SAFETY * self._call_s
        held = math.floor(_LONGEST_HOLD_S / needed_s) if needed_s else calls
        return max(1, min(calls, self._most, held))

    def hold(self, calls: int) -> None:
        """Have the device do nothing for as long as it takes to queue the calls, and a little longer."""
        seconds = min(_SHORTEST_HOLD_S + _SAFETY * self._call_s * calls, _LONGEST_HOLD_S)
        self._spin(int(seconds * _CYCLES_PER_S))

    def add(self, batch: Batch) -> None:
        """Count a batch that is over: each call that the device was too close to."""
        launches = batch.launches
        self._calls += len(launches)
        self._late += sum(launch.close for launch in launches)
        self._call_s = batch.queuing_s / len(launches)
        if launches[-1].close and len(launches) > 1:
            self._most = len(launches) // 2
