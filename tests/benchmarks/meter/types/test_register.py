"""Which types and definitions asv knows of."""

import pytest
import torch
from asv_runner import benchmarks as asv_types

from benchmarks.meter.types.register import cuda_only, register


def test_types_are_registered_once_and_before_those_of_asv(monkeypatch):
    monkeypatch.setattr(asv_types, "benchmark_types", [*asv_types.benchmark_types[5:]])
    register()
    register()
    names = [kind.__name__ for kind in asv_types.benchmark_types]
    assert names[:5] == ["CudaTime", "DeviceMemory", "NvmlMemory", "Energy", "Paired"]
    assert len(set(names)) == len(names)
    first_match = {
        name: next(kind for kind in asv_types.benchmark_types if kind.name_regex.match(name))
        for name in ("cudatime_x", "devicemem_x", "nvmlmem_x", "energy_x", "paired_x", "time_x", "peakmem_x")
    }
    assert [kind.__name__ for kind in first_match.values()] == [
        *names[:5],
        "TimeBenchmark",
        "PeakMemBenchmark",
    ]


@pytest.mark.parametrize("count", [0, 1])
def test_cuda_only_leaves_definitions_out_without_a_gpu(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    @cuda_only
    def cudatime_x():
        pass

    @cuda_only
    class OnGpu:
        pass

    assert getattr(cudatime_x, "skip_benchmark", False) is (count == 0)
    assert isinstance(OnGpu, type) is (count == 1)
