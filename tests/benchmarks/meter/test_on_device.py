"""The parts of the meter that need a GPU to be tested for real."""

import time

import pytest
import torch

from benchmarks.meter.clocks import CudaClock, clock
from benchmarks.meter.memory import Peak, allocated_peak, is_out_of_memory, release

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


def test_a_cold_cache_makes_a_small_copy_slower():
    """The two vectors fit into the L2 cache of an A100 or H100; from memory they take longer."""
    source = torch.ones(2**20, device="cuda")
    target = torch.empty_like(source)
    cold, hot = (sorted(clock(l2).seconds([lambda: target.copy_(source)] * 50)) for l2 in ("cold", "hot"))
    assert cold[25] > hot[25]


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
