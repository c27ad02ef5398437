"""Calls that are shorter than their launches, on a simulated CPU and GPU with a clock each."""

import types
from dataclasses import dataclass, field

import pytest

from benchmarks.meter.measure import clocks
from benchmarks.meter.measure.clocks import CudaClock
from benchmarks.meter.measure.launches import FullQueue

US = 1e-6
DEPTH = 1000
"""Commands that the queue has room for; the CPU waits to add another."""
NEWS_S = 6 * US
"""Until the CPU learns that an event is over."""


@dataclass
class Machine:
    """A CPU that takes 5 us for a launch, and a GPU that does one thing after the other."""

    now: float = 0.0
    launch_s: float = 5 * US
    ends: list[float] = field(default_factory=list)
    """When the GPU is done with each command."""
    waits: int = 0

    @property
    def idle_from(self):
        return self.ends[-1] if self.ends else 0.0

    def queue(self, work_s, launch_s):
        self.now += launch_s
        if len(self.ends) >= DEPTH:
            self.now = max(self.now, self.ends[-DEPTH])
        self.ends.append(max(self.idle_from, self.now) + work_s)

    def call(self, kernels, work_s):
        """A call of so many kernels, each of which takes the GPU so long."""

        def call():
            for _ in range(kernels):
                self.queue(work_s, self.launch_s)

        return call

    def spin(self, cycles):
        self.queue(cycles / 2e9, self.launch_s)

    def synchronize(self):
        self.waits += 1
        self.now = max(self.now, self.idle_from)

    def event(self):
        return SimulatedEvent(self)


class SimulatedEvent:
    def __init__(self, machine):
        self.machine = machine

    def record(self):
        self.machine.queue(0.0, 1 * US)
        self.at = self.machine.idle_from

    def query(self):
        return self.at + NEWS_S <= self.machine.now

    def elapsed_time(self, end):
        return (end.at - self.at) * 1e3


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    monkeypatch.setattr(clocks, "time", types.SimpleNamespace(perf_counter=lambda: made.now))
    return made


def as_it_comes(machine, flush=None):
    return CudaClock(machine.event, machine.synchronize, flush)


def full(machine):
    return CudaClock(machine.event, machine.synchronize, None, queue=FullQueue(machine.spin))


def test_a_short_call_shows_its_launch_and_says_so(machine):
    clock = as_it_comes(machine)
    assert clock.seconds([machine.call(1, 2 * US)] * 100) == pytest.approx([7 * US] * 100)
    assert clock.launches == {"queue": "as it comes", "host_bound": True}


def test_a_full_queue_shows_what_a_short_call_takes_the_gpu(machine):
    clock = full(machine)
    call = machine.call(1, 2 * US)
    clock.seconds([call])
    assert clock.seconds([call] * 1000) == pytest.approx([2 * US] * 1000)
    assert clock.launches == {"queue": "full", "host_bound": False}


def test_a_full_queue_is_not_filled_beyond_its_room(machine):
    clock = full(machine)
    clock.seconds([machine.call(1, 2 * US)])
    machine.waits = 0
    clock.seconds([machine.call(1, 2 * US)] * 1000)
    assert machine.waits == 5


def test_calls_of_many_launches_are_queued_in_fewer_at_once(machine):
    """Forty of these fill the queue, so the first batches start before all is queued; later ones do not."""
    clock = full(machine)
    call = machine.call(23, 2 * US)
    assert clock.seconds([call] * 2000)[-1000:] == pytest.approx([46 * US] * 1000)
    assert not clock.queue.host_bound


def test_a_first_call_that_compiles_holds_no_later_batch_up(machine):
    def compiles():
        machine.now += 60

    clock = full(machine)
    clock.seconds([compiles])
    begin, machine.waits = machine.now, 0
    clock.seconds([machine.call(1, 2 * US)] * 300)
    assert machine.now - begin < 0.12
    assert machine.waits == 3


def test_a_call_that_waits_for_the_gpu_cannot_be_queued_and_says_so(machine):
    def waits():
        machine.queue(2 * US, 5 * US)
        machine.synchronize()

    clock = full(machine)
    clock.seconds([waits] * 50)
    assert clock.queue.host_bound


def test_a_long_call_is_not_bound_by_its_launches(machine):
    clock = as_it_comes(machine)
    assert clock.seconds([machine.call(20, 50 * US)] * 100) == pytest.approx([1e-3] * 100, rel=0.01)
    assert clock.launches["host_bound"] is False


def test_a_call_that_the_gpu_does_almost_as_slowly_as_it_is_queued_is_late(machine):
    clock = as_it_comes(machine)
    assert clock.seconds([machine.call(1, 6 * US)] * 100)[1:] == pytest.approx([7 * US] * 99)
    assert clock.queue.host_bound


def test_one_long_call_alone_is_not_late_though_the_gpu_was_idle(machine):
    clock = as_it_comes(machine)
    clock.seconds([machine.call(1, 1e-3)])
    assert not clock.queue.host_bound


def test_what_flushes_the_cache_hides_the_launches(machine):
    """As long as the GPU needs more time for it than the CPU for the launches."""
    clock = as_it_comes(machine, flush=machine.call(1, 60 * US))
    assert clock.seconds([machine.call(1, 2 * US)] * 100) == pytest.approx([2 * US] * 100)
    assert not clock.queue.host_bound


def test_a_cpu_that_waits_for_room_in_the_queue_is_not_late(machine):
    """Each launch beyond the queue's room takes as long as the GPU does; yet the GPU never waits."""
    clock = as_it_comes(machine)
    assert clock.seconds([machine.call(3000, 50 * US)] * 20) == pytest.approx([0.15] * 20, rel=0.001)
    assert not clock.queue.host_bound


def test_warm_ups_one_by_one_do_not_decide(machine):
    clock = as_it_comes(machine)
    call = machine.call(2, 8 * US)
    for _ in range(10):
        clock.seconds([call])
    assert clock.queue.host_bound
    clock.seconds([call] * 100)
    assert not clock.queue.host_bound
