"""The types that ask NVML, with a scripted device in its place; test_nvml.py tests how NVML is asked."""

import json
import types

import pytest
import torch
from asv_runner.benchmarks.mark import SkipNotImplemented

from benchmarks.meter.asv_plugins.notes import NOTES_VARIABLE
from benchmarks.meter.gpu.nvml import Memory, Throttle
from benchmarks.meter.types import measured
from benchmarks.meter.types import nvml as nvml_types
from benchmarks.meter.types.nvml import Energy, NvmlMemory

GIB = 2**30
TOTAL = 80 * GIB
BEFORE = 3 * GIB
CONTEXT = GIB // 2


class ScriptedGpu:
    """Holds what it is told to; the energy counter goes up by half a joule each time that it is read."""

    available = True

    def __init__(self):
        self.used = BEFORE
        self.joules = 1000.0
        self.has_energy = True

    def memory(self):
        return Memory(TOTAL, 0, self.used, TOTAL - self.used)

    def energy_j(self):
        self.joules += 0.5
        return self.joules if self.has_energy else None

    def power_w(self):
        return 300.0

    def sm_clock_mhz(self):
        return 1410

    def throttle(self):
        return Throttle.POWER_CAP

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        pass


@pytest.fixture
def gpu(monkeypatch):
    """The only GPU of this machine, as torch, the driver's tool and NVML tell."""
    gpu = ScriptedGpu()
    monkeypatch.setattr(nvml_types, "device", lambda: "cuda")
    monkeypatch.setattr(nvml_types, "first_device", lambda: types.SimpleNamespace(uuid="GPU-1"))
    monkeypatch.setattr(nvml_types, "open_device", lambda uuid: {"GPU-1": gpu}[uuid])
    monkeypatch.setattr(nvml_types, "open_cuda_device", lambda index: {0: gpu}[index])
    monkeypatch.setattr(measured, "device_name", lambda: "NVIDIA A100-SXM4-80GB")
    for name, stand_in in {
        "current_device": lambda: 0,
        "synchronize": lambda: None,
        "empty_cache": lambda: setattr(gpu, "used", min(gpu.used, BEFORE + CONTEXT)),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return gpu


@pytest.fixture
def notes(tmp_path, monkeypatch):
    path = tmp_path / "notes.jsonl"
    monkeypatch.setenv(NOTES_VARIABLE, str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


def run(kind, function, setup=None):
    """The samples of a benchmark without parameters, as asv_runner gets them; none if it is n/a."""
    benchmark = kind("suite.x", function, [types.SimpleNamespace(setup=setup)] if setup else [])
    benchmark.set_cache(None)
    if benchmark.do_setup():
        return []
    try:
        return benchmark.do_run()["samples"]
    except SkipNotImplemented:
        return []


def test_memory_holds_context_weights_and_reserve_above_what_was_there(gpu, notes):
    def load():
        gpu.used += CONTEXT

    def call():
        gpu.used += 4 * GIB  # stays with torch's allocator, which keeps it in reserve

    assert run(NvmlMemory, call, setup=load) == [CONTEXT + 4 * GIB] * 6
    (note,) = notes()
    assert (note["baseline_bytes"], note["clock"]) == (BEFORE, "NVML")
    assert (note["throttle"], note["marked"]) == (["power cap"], False)


def test_memory_that_the_device_shares_with_the_host_is_n_a(gpu, notes, monkeypatch):
    monkeypatch.setattr(gpu, "memory", lambda: None)
    assert run(NvmlMemory, lambda: None) == []
    assert notes()[0]["reason"] == "this GPU does not report its memory in use"


@pytest.fixture
def window_of_four(monkeypatch):
    monkeypatch.setattr(nvml_types, "calls_in", lambda seconds, _call, _wait: int(2 * seconds))
    monkeypatch.setattr(nvml_types, "_ENERGY_PERIOD_S", 0.001)


@pytest.mark.usefixtures("window_of_four")
def test_energy_is_that_of_the_window_over_its_calls(gpu, notes):
    ends = []

    def call():
        """Lasts until the counter was read five times more."""
        end = gpu.joules + 2.5
        while gpu.joules < end:
            pass
        ends.append(gpu.joules)

    samples = run(Energy, call)
    assert len(samples) >= 6
    assert len(ends) == 4 * len(samples)
    for sample, last in zip(samples, ends[3::4], strict=True):
        assert (sample * 4) % 0.5 == 0
        assert 10 <= sample * 4 <= last - 1000
    (note,) = notes()
    assert (note["calls"], note["mean_power_w"], note["iterations"]) == (4, 300.0, len(samples))


@pytest.mark.usefixtures("window_of_four")
def test_a_device_without_an_energy_counter_is_n_a(gpu, notes):
    gpu.has_energy = False
    assert run(Energy, lambda: None) == []
    assert notes()[0]["reason"] == "this GPU does not report its energy over two seconds"


def test_energy_is_not_taken_from_a_window_too_short_for_its_steps(gpu, notes, monkeypatch):
    monkeypatch.setattr(nvml_types, "calls_in", lambda *_: 1)
    monkeypatch.setattr(gpu, "energy_j", lambda: 1000.0)
    assert run(Energy, lambda: None) == []
    assert notes()[0]["reason"] == "this GPU does not report its energy over two seconds"
