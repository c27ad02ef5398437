"""NVML on a real GPU: what a stub cannot tell, such as whether torch and NVML mean the same device."""

import pytest
import torch

from benchmarks.meter.gpu import identity
from benchmarks.meter.gpu.nvml import Sampler, open_cuda_device

MIB = 2**20
GIB = 2**30

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def device():
    pytest.importorskip("pynvml")
    torch.ones(1, device="cuda")  # the CUDA context is there before anything is counted
    with open_cuda_device() as opened:
        yield opened


@pytest.fixture
def whole_gpu(device):
    if device.is_slice:
        pytest.skip("NVML tells this of whole GPUs only")
    return device


def keep_until(sampler, samples, work):
    """Repeat the work until the sampler has so many samples; not for ever, should it have stopped."""
    for _ in range(1_000_000):
        work()
        torch.cuda.synchronize()
        if sampler.recording.samples >= samples:
            return
    pytest.fail("the sampler has stopped")


def test_torch_nvml_and_nvidia_smi_mean_the_same_gpu(whole_gpu):
    properties = torch.cuda.get_device_properties(0)
    assert whole_gpu.uuid == f"GPU-{properties.uuid}"
    assert whole_gpu.name == properties.name == identity.gpu_name()
    assert identity.first_device().uuid == whole_gpu.uuid
    assert identity.driver_version().split(".")[0].isdigit()


def test_memory_adds_up_and_a_tensor_is_in_it(device):
    before = device.memory()
    parts = before.reserved + before.used + before.free
    assert parts == pytest.approx(before.total, abs=16 * MIB)
    tensor = torch.empty(GIB, dtype=torch.int8, device="cuda")
    assert device.memory().used - before.used >= tensor.nbytes
    del tensor
    torch.cuda.empty_cache()


def test_a_tensor_that_came_and_went_is_in_the_peak_alone(device):
    with Sampler(device, period_s=0.001) as sampler:
        tensor = torch.empty(GIB, dtype=torch.int8, device="cuda")
        keep_until(sampler, sampler.recording.samples + 3, lambda: None)
        del tensor
        torch.cuda.empty_cache()
    recording = sampler.recording
    assert recording.peak_bytes - recording.used_bytes[0] >= GIB
    assert recording.used_bytes[-1] - recording.used_bytes[0] < GIB


def test_energy_agrees_with_power(whole_gpu):
    """Within a factor of two: the power that the driver tells is a mean over a second, or of a moment."""
    if whole_gpu.energy_j() is None:
        pytest.skip("this GPU does not count energy")
    matrix = torch.randn(8192, 8192, device="cuda")
    with Sampler(whole_gpu, period_s=0.02) as sampler:
        keep_until(sampler, 150, lambda: matrix @ matrix)
    recording = sampler.recording
    mean_w = recording.window_energy_j / recording.seconds[-1]
    assert 0.5 < mean_w / recording.mean_power_w < 2
    assert recording.sm_clock_mhz.min() > 0


def test_readings_have_plain_units(whole_gpu):
    assert 100 < whole_gpu.sm_clock_mhz() < 5000
    assert 5 < whole_gpu.power_w() < 2000
    assert isinstance(whole_gpu.throttle().names, tuple)
