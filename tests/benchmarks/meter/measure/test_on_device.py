"""The parts of the meter that need a GPU to be tested for real."""

import json
import statistics
import time
import types

import pytest
import torch
from asv_runner.benchmarks.mark import SkipNotImplemented

from benchmarks.meter.asv_plugins.notes import NOTES_VARIABLE
from benchmarks.meter.gpu.nvml import NvmlError, open_cuda_device
from benchmarks.meter.host import is_out_of_memory
from benchmarks.meter.measure.clocks import CudaClock, clock
from benchmarks.meter.measure.memory import Peak, allocated_peak, release
from benchmarks.meter.types.nvml import Energy, NvmlMemory
from benchmarks.meter.types.paired import Paired
from benchmarks.meter.types.register import CudaTime, DeviceMemory

MIB = 2**20

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_events_agree_with_the_wall_clock_on_long_calls():
    matrix = torch.randn(8192, 8192, device="cuda")
    hot = clock("hot")
    assert isinstance(hot, CudaClock)
    hot.seconds([lambda: matrix @ matrix] * 3)
    start = time.perf_counter()
    events = hot.seconds([lambda: matrix @ matrix] * 10)
    wall = time.perf_counter() - start
    assert 0.8 * wall < sum(events) <= wall


def test_a_cold_cache_makes_reading_slower():
    """16 MiB fit into the L2 cache of an A100 or H100; no launch is in the way, as all are queued before."""
    source = torch.ones(4 * MIB, device="cuda")
    medians = {}
    for l2 in ("cold", "hot"):
        used = clock(l2, queue="full")
        used.seconds([source.sum] * 20)
        medians[l2] = statistics.median(used.seconds([source.sum] * 200))
        assert not used.queue.host_bound
    assert medians["cold"] > 1.1 * medians["hot"]


def test_a_full_queue_keeps_the_launch_out_of_a_short_call():
    small = torch.ones(1024, device="cuda")
    medians = {}
    for queue in ("as it comes", "full"):
        used = clock("hot", queue=queue)
        used.seconds([small.zero_] * 20)
        medians[queue] = statistics.median(used.seconds([small.zero_] * 200))
        assert used.launches == {"queue": queue, "host_bound": queue == "as it comes"}
    assert 0 < medians["full"] < medians["as it comes"]


def test_the_allocator_counts_a_tensor_exactly():
    kept = torch.ones(3 * MIB, dtype=torch.int8, device="cuda")
    live = torch.cuda.memory_allocated()
    peak = allocated_peak(lambda: torch.ones(64 * MIB, dtype=torch.int8, device="cuda"))
    assert peak == Peak(total=live + 64 * MIB, growth=64 * MIB)
    assert kept.nbytes <= live


def test_after_a_tensor_that_does_not_fit_the_next_one_does():
    free, total = torch.cuda.mem_get_info()
    with pytest.raises(RuntimeError) as error:
        torch.empty(2 * total, dtype=torch.int8, device="cuda")
    assert is_out_of_memory(error.value)
    release()
    torch.empty(free // 2, dtype=torch.int8, device="cuda")


@pytest.fixture
def notes(tmp_path, monkeypatch):
    path = tmp_path / "notes.jsonl"
    monkeypatch.setenv(NOTES_VARIABLE, str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


def samples(kind, function, index=None, **attributes):
    """What a cell gives to asv; none if it is n/a."""
    benchmark = kind("suite.x", function, [types.SimpleNamespace(**attributes)])
    if index is not None:
        benchmark.set_param_idx(index)
    benchmark.set_cache(None)
    if benchmark.do_setup():
        return []
    try:
        return benchmark.do_run()["samples"]
    except SkipNotImplemented:
        return []


@pytest.fixture
def nvml():
    """Skips where NVML is out of reach, as in a container without the driver's library."""
    try:
        with open_cuda_device() as opened:
            yield opened
    except NvmlError as error:
        pytest.skip(str(error))


def test_a_cell_takes_the_paper_s_iterations_by_events(notes):
    vector = torch.ones(2**20, device="cuda")
    taken = samples(CudaTime, vector.sum, relative_error=1.0)
    assert len(taken) == 100
    assert 1e-6 < sorted(taken)[50] < 1e-3
    (note,) = notes()
    assert (note["clock"], note["l2"], note["iterations"]) == ("CUDA events", "cold", 100)
    assert note["device"] == torch.cuda.get_device_name()


def test_the_memory_of_a_cell_holds_the_weights(notes):
    weights = torch.ones(16 * MIB, dtype=torch.int8, device="cuda")
    live = torch.cuda.memory_allocated()
    assert samples(DeviceMemory, weights.clone) == [live + 16 * MIB] * 6
    assert notes()[0]["growth_bytes"] == 16 * MIB


def test_variants_go_on_without_the_one_that_does_not_fit(notes):
    _, total = torch.cuda.mem_get_info()

    def group():
        return {size: lambda size=size: torch.ones(size, dtype=torch.int8, device="cuda") for size in sizes}

    sizes = [256 * MIB, 64 * MIB, 2 * total]
    suite = {"params": [sizes], "param_names": ["size"], "variant": "size", "baseline": sizes[0]}
    assert samples(Paired, group, index=2, **suite) == []
    assert len(samples(Paired, group, index=1, **suite)) >= 6
    skipped, _, pair = notes()
    assert "out of memory" in skipped["reason"]
    assert pair["verdict"] == "faster"
    assert samples(Paired, group, index=1, measure="memory", **suite) == [64 * MIB] * 6


@pytest.mark.usefixtures("nvml")
def test_nvml_sees_at_least_what_the_allocator_hands_out(notes):
    taken = samples(NvmlMemory, lambda: torch.ones(1024 * MIB, dtype=torch.int8, device="cuda"))
    assert min(taken) >= 1024 * MIB
    assert notes()[0]["clock"] == "NVML"


@pytest.mark.usefixtures("nvml")
def test_energy_of_a_call_is_power_times_time(notes):
    matrix = torch.randn(8192, 8192, device="cuda")
    taken = samples(Energy, lambda: matrix @ matrix)
    if not taken:
        pytest.skip(notes()[0]["reason"])
    seconds = sorted(clock("hot").seconds([lambda: matrix @ matrix] * 20))[10]
    assert sorted(taken)[len(taken) // 2] == pytest.approx(notes()[0]["mean_power_w"] * seconds, rel=0.5)
