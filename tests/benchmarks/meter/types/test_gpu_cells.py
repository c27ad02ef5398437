"""Cells on a GPU, or for lack of one."""

import math
import types

import pytest
import torch

from benchmarks.meter.gpu.errors import DriverNotLoadedError
from benchmarks.meter.gpu.nvml import Throttle
from benchmarks.meter.types import measured
from benchmarks.meter.types import nvml as nvml_types
from benchmarks.meter.types.nvml import Energy, NvmlMemory, calls_in
from benchmarks.meter.types.paired import Paired
from benchmarks.meter.types.register import CudaTime
from tests.benchmarks.meter.types.cells import SumVariants, TimedSuite, made, run


@pytest.mark.usefixtures("fake_clock")
def test_a_cell_measured_while_the_gpu_was_too_hot_is_marked(notes):
    run(made(CudaTime, TimedSuite, "cudatime_x", repeat=3, warmup_time=0, l2="hot"))
    (note,) = notes()
    assert (note["marked"], note["throttle"], note["l2"]) == (True, ["idle", "hw thermal"], "hot")


@pytest.mark.parametrize(("kind", "method"), [(CudaTime, "cudatime_x"), (Paired, "paired_x")])
def test_a_cell_notes_the_clock_and_how_calls_got_to_the_gpu(notes, fake_clock, kind, method):
    class Queued(TimedSuite if kind is CudaTime else SumVariants):
        queue = "full"

        def paired_x(self, _size):
            return {0: lambda: None}

    run(made(kind, Queued, method, repeat=3, warmup_time=0))
    (note,) = notes()
    assert fake_clock == [("cold", "full")]
    assert (note["queue"], note["host_bound"], note["sm_mhz"]) == ("full", True, [1100, 1410])


def test_a_driver_that_fails_to_tell_costs_no_number(monkeypatch):
    def gone():
        raise DriverNotLoadedError("throttle reasons")

    monkeypatch.setattr(measured, "device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(measured, "open_cuda_device", lambda *_, **__: types.SimpleNamespace(throttle=gone))
    watch = measured.ThrottleWatch()
    watch.look()
    watch.look()
    assert watch.seen == Throttle(0)


@pytest.mark.parametrize("kind", [NvmlMemory, Energy])
def test_what_needs_a_gpu_is_n_a_without_one(notes, monkeypatch, kind):
    monkeypatch.setattr(nvml_types, "first_device", lambda: None)
    assert math.isnan(run(made(kind, TimedSuite, "cudatime_x")))
    assert "GPU" in notes()[0]["reason"]


def test_an_energy_window_holds_as_many_calls_as_fill_it(monkeypatch):
    """A device that takes 3 ms for each call, and shows it only when it is waited for."""
    now, queued = [0.0], []
    monkeypatch.setattr(nvml_types, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))

    def wait():
        now[0] += 0.003 * len(queued)
        queued.clear()

    assert calls_in(2.0, lambda: queued.append(1), wait) == pytest.approx(2.0 / 0.003, abs=1)
