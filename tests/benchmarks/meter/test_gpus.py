"""Which GPU is found, by a stub `nvidia-smi`."""

import stat

import pytest

from benchmarks.meter import gpus

TWO_GPUS = """\
GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-aaaa1111-0000-0000-0000-000000000000)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb2222-0000-0000-0000-000000000000)
"""
SLICED_GPU = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-cccc3333-0000-0000-0000-000000000000)
  MIG 3g.20gb     Device  0: (UUID: MIG-dddd4444-0000-0000-0000-000000000000)
  MIG 1g.5gb      Device  1: (UUID: MIG-eeee5555-0000-0000-0000-000000000000)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-ffff6666-0000-0000-0000-000000000000)
"""


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A stub `nvidia-smi` on PATH, and nothing else there; call it with what each first argument prints."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(outputs, status=0):
        cases = "".join(f"{argument}) printf '%s' '{text}';;\n" for argument, text in outputs.items())
        script = tmp_path / "nvidia-smi"
        script.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}*) exit 6;;\nesac\nexit {status}\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    return install


@pytest.mark.parametrize(
    ("visible", "name"),
    [
        (None, "NVIDIA A100-SXM4-80GB"),
        ("1", "NVIDIA H100 80GB HBM3"),
        ("1,0", "NVIDIA H100 80GB HBM3"),
        ("GPU-bbbb", "NVIDIA H100 80GB HBM3"),
        ("7", "none"),
        ("-1", "none"),
        ("", "none"),
    ],
)
def test_gpu_is_the_first_that_cuda_may_see(nvidia_smi, visible, name):
    nvidia_smi({"-L": TWO_GPUS})
    assert gpus.gpu_name({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == name


@pytest.mark.parametrize(
    ("visible", "name"),
    [
        ("0", "NVIDIA A100-SXM4-40GB MIG 3g.20gb"),
        ("1", "NVIDIA A100-SXM4-40GB"),
        ("MIG-eeee5555", "NVIDIA A100-SXM4-40GB MIG 1g.5gb"),
    ],
)
def test_a_slice_of_a_gpu_is_named_as_a_slice(nvidia_smi, visible, name):
    nvidia_smi({"-L": SLICED_GPU})
    assert gpus.gpu_name({"CUDA_VISIBLE_DEVICES": visible}) == name


def test_no_gpu_without_a_driver_or_its_tool(nvidia_smi):
    assert gpus.gpu_name({}) == "none"
    assert gpus.driver_version() is None
    nvidia_smi({"-L": "Failed to initialize NVML: Driver/library version mismatch"}, status=18)
    assert gpus.gpu_name({}) == "none"
    assert gpus.driver_version() is None


def test_driver_is_told_once_for_all_gpus(nvidia_smi):
    nvidia_smi({"--query-gpu=driver_version": "575.57.08\n575.57.08\n"})
    assert gpus.driver_version() == "575.57.08"
