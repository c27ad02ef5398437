"""The count of GPUs where NVML answers and where it does not, by stubs of what torch asks."""

import os
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.meter.gpu import count as module
from benchmarks.meter.gpu.count import COUNT_VARIABLE, device_count
from benchmarks.meter.measure.clocks import device


@pytest.fixture
def driver_calls(monkeypatch, tmp_path):
    """A process with torch's CUDA build that has not touched the driver, and what it asked the driver."""
    calls = []
    for name in ("_cuda_getDeviceCount", "_cuda_init"):
        monkeypatch.setattr(torch._C, name, lambda name=name: calls.append(name) or 3, raising=False)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "_initialized", False)
    monkeypatch.setattr(torch.cuda, "_cached_device_count", None)
    monkeypatch.setattr(module, "_DRIVER_FILES", (tmp_path,))
    # set and deleted, so that what a test exports is gone after it
    monkeypatch.setenv(COUNT_VARIABLE, "")
    monkeypatch.delenv(COUNT_VARIABLE)
    return calls


@pytest.fixture
def nvml(monkeypatch):
    def answers(count):
        monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: count)

    return answers


@pytest.fixture
def asked(monkeypatch):
    """How often another process was asked; it finds one GPU."""
    times = []
    monkeypatch.setattr(module, "_counted_elsewhere", lambda: times.append(1) or 1)
    return times


@pytest.mark.parametrize(("count", "place"), [(2, "cuda"), (0, "cpu")])
def test_nvml_is_asked_before_anything_else(driver_calls, nvml, asked, count, place):
    nvml(count)
    assert (device_count(), device()) == (count, place)
    assert driver_calls == asked == []
    assert COUNT_VARIABLE not in os.environ


def test_without_nvml_another_process_asks_the_driver_and_later_ones_need_not(driver_calls, nvml, asked):
    """A MIG slice, or no libnvidia-ml: torch's own count would initialize the driver before the fork."""
    nvml(-1)
    assert [device_count(), device_count(), device()] == [1, 1, "cuda"]
    assert driver_calls == []
    assert asked == [1]
    assert os.environ[COUNT_VARIABLE] == "1"


@pytest.mark.usefixtures("driver_calls")
def test_the_other_process_answers_what_torch_says_there(nvml, monkeypatch, tmp_path):
    torch_there = tmp_path / "torch.py"
    torch_there.write_text("import types\ncuda = types.SimpleNamespace(device_count=lambda: 5)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    nvml(-1)
    assert device_count() == 5


def test_a_machine_without_a_driver_asks_nobody(driver_calls, nvml, asked, monkeypatch, tmp_path):
    nvml(-1)
    monkeypatch.setattr(module, "_DRIVER_FILES", (tmp_path / "missing",))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device() == "cpu"
    assert driver_calls == asked == []


def test_the_tool_of_the_driver_is_a_sign_of_it(driver_calls, nvml, asked, monkeypatch, tmp_path):
    nvml(-1)
    monkeypatch.setattr(module, "_DRIVER_FILES", (Path(tmp_path, "missing"),))
    tool = tmp_path / "nvidia-smi"
    tool.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device() == "cuda"
    assert (driver_calls, asked) == ([], [1])


def test_once_cuda_is_initialised_torch_answers(driver_calls, nvml, asked, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "_initialized", True)
    nvml(-1)
    assert device_count() == 3
    assert (driver_calls, asked) == (["_cuda_getDeviceCount"], [])


@pytest.mark.parametrize("built_without", ["torch", "CUDA"])
def test_a_machine_without_torch_for_cuda_asks_nobody(driver_calls, nvml, asked, monkeypatch, built_without):
    nvml(-1)
    if built_without == "torch":
        monkeypatch.setitem(sys.modules, "torch", None)
    else:
        monkeypatch.setattr(torch.version, "cuda", None)
        monkeypatch.delattr(torch._C, "_cuda_getDeviceCount")
    assert device() == "cpu"
    assert driver_calls == asked == []
