"""Peaks of memory; the allocator of CUDA is asked by test_on_device.py."""

import mmap
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from benchmarks.meter.measure import memory
from benchmarks.meter.measure.memory import (
    Peak,
    UnavailableError,
    allocated_peak,
    peak_probe,
    release,
    resident_peak,
)

ROOT = Path(__file__).parents[4]
MIB = 2**20
SLACK = MIB
"""What the C library and the interpreter may take beside a tensor, and what the kernel has not summed up."""


@pytest.fixture
def resident(monkeypatch):
    """The probe of a CPU, after a first call, which also loads code."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    probe = peak_probe()
    try:
        probe(lambda: torch.ones(MIB, dtype=torch.int8))
    except UnavailableError as error:
        pytest.skip(str(error))
    return probe


@pytest.mark.parametrize("mebibytes", [8, 33, 200])
def test_resident_growth_is_the_size_of_a_tensor(resident, mebibytes):
    for _ in range(2):
        peak = resident(lambda: torch.ones(mebibytes * MIB, dtype=torch.int8))
        assert peak.growth == pytest.approx(mebibytes * MIB, abs=SLACK)
        assert peak.total > peak.growth


def test_the_peak_counts_though_it_is_over_when_the_call_ends(resident):
    def call():
        torch.ones(64 * MIB, dtype=torch.int8)
        torch.ones(16 * MIB, dtype=torch.int8)

    assert resident(call).growth == pytest.approx(64 * MIB, abs=SLACK)


def test_what_is_there_before_is_no_growth(resident):
    kept = torch.ones(64 * MIB, dtype=torch.int8)
    peak = resident(lambda: torch.ones(8 * MIB, dtype=torch.int8))
    assert peak.growth == pytest.approx(8 * MIB, abs=SLACK)
    assert peak.total > kept.nbytes


def test_pages_never_written_take_nothing(resident):
    assert resident(lambda: mmap.mmap(-1, 256 * MIB).close()).growth <= SLACK


AFTER_A_BLOCK_THAT_DID_NOT_FIT = """
from benchmarks.meter.measure.memory import peak_probe

probe, size = peak_probe(), 10 * 2**20
try:
    bytearray(10**15)
except MemoryError:
    print(*[probe(lambda: b"x" * size).growth for _ in range(6)])
"""


@pytest.mark.usefixtures("resident")
def test_memory_that_a_heap_would_keep_counts_each_time():
    """Where malloc fails, glibc goes on with a second heap, which it would not shrink."""
    script = AFTER_A_BLOCK_THAT_DID_NOT_FIT
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    growths = [int(growth) for growth in done.stdout.split()]
    assert growths == [pytest.approx(10 * MIB, abs=SLACK)] * 6


def test_a_kernel_that_counts_no_peak_is_said_to(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    with pytest.raises(UnavailableError, match=r"cannot reset the peak of resident memory: .*No such file"):
        resident_peak(lambda: None)


class FakeAllocator:
    """torch.cuda's counters, and calls that hand out and take back bytes."""

    def __init__(self):
        self.live = self.peak = 0
        self.pending = 0

    def allocate(self, size):
        self.pending += size

    def free(self, size):
        self.synchronize()
        self.live -= size

    def synchronize(self):
        self.live += self.pending
        self.peak = max(self.peak, self.live)
        self.pending = 0

    def reset_peak_memory_stats(self):
        self.peak = self.live

    def memory_allocated(self):
        return self.live

    def max_memory_allocated(self):
        return self.peak


def test_the_allocator_is_reset_before_each_call_and_waited_for(monkeypatch):
    cuda = FakeAllocator()
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    cuda.allocate(1000)
    cuda.synchronize()

    def call():
        cuda.allocate(500)
        cuda.free(500)
        cuda.allocate(200)

    assert allocated_peak(call) == Peak(total=1500, growth=500)
    assert allocated_peak(lambda: cuda.allocate(10)) == Peak(total=1210, growth=10)


@pytest.mark.parametrize(("count", "probe"), [(0, resident_peak), (1, allocated_peak)])
def test_the_allocator_is_asked_where_there_is_a_gpu(monkeypatch, count, probe):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert peak_probe() is probe


def test_release_empties_the_cache_of_a_gpu_in_use_only(monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    release()
    assert emptied == []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    release()
    assert emptied == [1]
