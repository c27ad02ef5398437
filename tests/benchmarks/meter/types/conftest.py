"""What every test of a benchmark type starts from: no GPU, no notes, no store but its own."""

import json
import types

import pytest
import torch

from benchmarks.meter.asv_plugins.notes import NOTES_VARIABLE
from benchmarks.meter.gpu.nvml import Throttle
from benchmarks.meter.measure.memory import peak_probe
from benchmarks.meter.measure.variants import STORE_VARIABLE
from benchmarks.meter.types import measured
from tests.benchmarks.meter.types.cells import SumVariants


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """On the CPU, with no notes and no store of whoever runs the tests."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    peak_probe()  # before a test allocates, as its docstring asks
    monkeypatch.delenv(NOTES_VARIABLE, raising=False)
    monkeypatch.delenv(STORE_VARIABLE, raising=False)


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Reads the notes written so far."""
    path = tmp_path / "notes.jsonl"
    path.touch()
    monkeypatch.setenv(NOTES_VARIABLE, str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


class FakeGpu:
    """A device of `nvml` that is slowed down by heat the second time it is looked at."""

    available = True

    def __init__(self):
        self.answers = iter([Throttle.IDLE, Throttle.HW_THERMAL, None])
        self.clocks = iter([1410, 1100, None])

    def throttle(self):
        return next(self.answers)

    def sm_clock_mhz(self):
        return next(self.clocks)


@pytest.fixture
def fake_clock(monkeypatch):
    """A GPU, and a clock that looks at it at each call; gives what the clock was asked for."""
    monkeypatch.setattr(measured, "device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(measured, "open_cuda_device", lambda _index, missing: missing == "null" and FakeGpu())
    asked = []

    def clock(l2, look, queue):
        asked.append((l2, queue))
        return types.SimpleNamespace(
            name="fake",
            l2=l2,
            batch=3,
            launches={"queue": queue, "host_bound": True},
            seconds=lambda calls: [look() or 1.0 for _ in calls],
        )

    monkeypatch.setattr(measured, "clock", clock)
    return asked


@pytest.fixture
def store(tmp_path, monkeypatch):
    folder = tmp_path / "store"
    monkeypatch.setenv(STORE_VARIABLE, str(folder))
    monkeypatch.setattr(SumVariants, "groups", ())
    return folder
