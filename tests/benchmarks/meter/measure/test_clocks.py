"""The clocks; that of CUDA by fakes that record the order of things (test_on_device.py asks a real GPU)."""

import gc
import sys
import time
import types
from dataclasses import dataclass, field

import pytest
import torch

from benchmarks.meter.measure import clocks
from benchmarks.meter.measure.clocks import CpuClock, CudaClock, clock, device, device_name, threads
from benchmarks.meter.measure.launches import FullQueue


@dataclass
class FakeStream:
    """A device that is 2 ms into a flush or 5 ms into a call when the next thing is put on its stream."""

    order: list[str] = field(default_factory=list)
    milliseconds: float = 0.0
    waited: bool = False

    def flush(self):
        self.order.append("flush")
        self.milliseconds += 2

    def call(self):
        self.order.append("call")
        self.milliseconds += 5

    def synchronize(self):
        self.order.append("synchronize")
        self.waited = True

    def event(self):
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, stream):
        self.stream = stream

    def record(self):
        self.stream.order.append("event")
        self.at = self.stream.milliseconds

    def query(self):
        return self.stream.waited

    def elapsed_time(self, end):
        assert self.stream.waited, "an event must be over before it is asked"
        return end.at - self.at


def test_a_cold_clock_flushes_before_each_pair_of_events_and_waits_once():
    stream = FakeStream()
    cold = CudaClock(stream.event, stream.synchronize, stream.flush, look=lambda: stream.order.append("look"))
    assert cold.seconds([stream.call] * 3) == pytest.approx([0.005] * 3)
    assert stream.order == ["flush", "event", "call", "event"] * 3 + ["look", "synchronize"]
    assert cold.l2 == "cold"


def test_a_full_queue_holds_the_device_back_once_a_batch():
    stream = FakeStream()
    queue = FullQueue(lambda cycles: stream.order.append(f"hold {cycles > 0}"))
    cold = CudaClock(
        stream.event, stream.synchronize, stream.flush, lambda: stream.order.append("look"), queue=queue
    )
    assert cold.seconds([stream.call] * 3) == pytest.approx([0.005] * 3)
    assert stream.order == ["hold True", *["flush", "event", "call", "event"] * 3, "look", "synchronize"]


def test_a_hot_clock_does_not_flush():
    stream = FakeStream()
    hot = CudaClock(stream.event, stream.synchronize, flush=None)
    assert hot.seconds([stream.call] * 2) == pytest.approx([0.005] * 2)
    assert stream.order == ["event", "call", "event"] * 2 + ["synchronize"]
    assert hot.l2 == "hot"


@pytest.fixture
def fake_cuda(monkeypatch):
    """torch.cuda of a machine with one GPU, as far as the clock uses it; buffers come from the CPU."""
    stream = FakeStream()
    buffers = []

    class Buffer:
        def __init__(self, size, **kind):
            buffers.append((size, kind))

        def zero_(self):
            stream.flush()

    cuda = types.SimpleNamespace(
        device_count=lambda: 1,
        is_initialized=lambda: True,
        current_device=lambda: 0,
        Event=lambda *, enable_timing: enable_timing and stream.event(),
        synchronize=stream.synchronize,
        get_device_properties=lambda _index: types.SimpleNamespace(L2_cache_size=40 * 2**20),
        get_device_name=lambda: "NVIDIA A100-SXM4-80GB",
        _sleep=lambda _cycles: stream.order.append("hold"),
    )
    fake = types.SimpleNamespace(
        cuda=cuda, empty=Buffer, int8=torch.int8, get_num_threads=lambda: 8, version=torch.version
    )
    monkeypatch.setitem(sys.modules, "torch", fake)
    return types.SimpleNamespace(stream=stream, buffers=buffers)


def test_a_gpu_gets_events_and_a_buffer_of_twice_its_cache(fake_cuda):
    made = clock()
    assert made.seconds([fake_cuda.stream.call]) == pytest.approx([0.005])
    assert fake_cuda.stream.order == ["flush", "event", "call", "event", "synchronize"]
    assert fake_cuda.buffers == [(80 * 2**20, {"dtype": torch.int8, "device": "cuda"})]
    assert made.name == "CUDA events"
    assert device_name() == "NVIDIA A100-SXM4-80GB"
    assert threads() == 8


def test_a_hot_gpu_needs_no_buffer(fake_cuda):
    assert clock("hot").flush is None
    assert fake_cuda.buffers == []


def test_a_gpu_is_held_back_where_the_queue_is_to_be_full(fake_cuda):
    made = clock("hot", queue="full")
    made.seconds([fake_cuda.stream.call])
    assert fake_cuda.stream.order == ["hold", "event", "call", "event", "synchronize"]
    assert made.launches == {"queue": "full", "host_bound": False}


@pytest.mark.parametrize("place", ["no_gpu", "fake_cuda"])
def test_a_queue_that_there_is_not_is_an_error_everywhere(request, place):
    request.getfixturevalue(place)
    with pytest.raises(ValueError, match=r"queue is 'empty', but must be one of \['as it comes', 'full'\]"):
        clock(queue="empty")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_the_wall_clock_is_used():
    assert isinstance(clock(), CpuClock)
    assert (clock().name, clock("cold").l2, device_name()) == ("perf_counter", "hot", "cpu")
    assert threads() == torch.get_num_threads()


def test_without_torch_there_is_no_gpu_and_one_thread(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert (device(), device_name(), threads()) == ("cpu", "cpu", 1)


def test_the_wall_clock_times_each_call_alone(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clocks, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))

    def taking(seconds):
        return lambda: now.__setitem__(0, now[0] + seconds)

    assert CpuClock().seconds([taking(1), taking(0.25), taking(1)]) == [1, 0.25, 1]


def test_the_wall_clock_agrees_with_the_process_clock():
    """A call that computes for 20 ms of this process's time takes no less on the wall."""

    def busy():
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass

    assert CpuClock().seconds([busy])[0] >= 0.02


@pytest.mark.parametrize("made", [CpuClock(), CudaClock(FakeStream().event, FakeStream().synchronize, None)])
@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_between_batches_only(made, enabled):
    seen = []
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError):
            made.seconds([lambda: seen.append(gc.isenabled()), lambda: 1 / 0])
        assert (seen, gc.isenabled()) == ([False], enabled)
    finally:
        (gc.enable if was_enabled else gc.disable)()
