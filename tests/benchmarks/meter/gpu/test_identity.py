"""Which GPU is found, by stubs of `nvidia-smi`, of NVML and of the driver's files."""

import stat
import sys
import types

import pytest

from benchmarks.meter.gpu import identity

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


@pytest.fixture(autouse=True)
def proc(tmp_path, monkeypatch):
    """Where the driver's files are looked for; neither these nor NVML are there."""
    folder = tmp_path / "proc"
    monkeypatch.setattr(identity, "_PROC", folder)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    return folder


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
    assert identity.gpu_name({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == name


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
    assert identity.gpu_name({"CUDA_VISIBLE_DEVICES": visible}) == name


def test_no_gpu_without_a_driver_or_its_tool(nvidia_smi):
    assert identity.gpu_name({}) == "none"
    assert identity.driver_version() is None
    nvidia_smi({"-L": "Failed to initialize NVML: Driver/library version mismatch"}, status=18)
    assert identity.gpu_name({}) == "none"
    assert identity.driver_version() is None


def test_driver_is_told_once_for_all_gpus(nvidia_smi):
    nvidia_smi({"--query-gpu=driver_version": "575.57.08\n575.57.08\n"})
    assert identity.driver_version() == "575.57.08"


class PynvmlError(Exception):
    pass


class NotFoundError(PynvmlError):
    pass


class NoSuchQuantityError(PynvmlError):
    pass


def raising(error):
    def fail(*_arguments):
        raise error

    return fail


def fake_nvml(uses):
    """pynvml over a GPU that knows no slices, and one with a slice at position 1; handles are UUIDs.

    What starts and stops NVML counts in `uses`.
    """
    names = {
        "GPU-aaaa1111": "NVIDIA A100-SXM4-80GB",
        "GPU-cccc3333": "NVIDIA A100-SXM4-40GB",
        "MIG-dddd4444": "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
    }
    return types.SimpleNamespace(
        NVMLError=PynvmlError,
        NVMLError_NotFound=NotFoundError,
        NVMLError_NotSupported=NoSuchQuantityError,
        NVML_DEVICE_MIG_ENABLE=1,
        nvmlInit=lambda: uses.append(1),
        nvmlShutdown=uses.pop,
        nvmlSystemGetDriverVersion=lambda: "575.57.08",
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=["GPU-aaaa1111", "GPU-cccc3333"].__getitem__,
        nvmlDeviceGetUUID=lambda handle: handle,
        nvmlDeviceGetName=names.__getitem__,
        nvmlDeviceGetMigMode=lambda handle: (
            [1, 1] if handle == "GPU-cccc3333" else raising(NoSuchQuantityError)()
        ),
        nvmlDeviceGetMaxMigDeviceCount=lambda _handle: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=lambda _handle, position: (
            "MIG-dddd4444" if position == 1 else raising(NotFoundError)()
        ),
    )


@pytest.fixture
def nvml(monkeypatch, nvidia_smi):
    """NVML, on a machine without its tool."""
    uses = []
    fake = fake_nvml(uses)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    yield fake
    assert uses == []


@pytest.mark.usefixtures("nvml")
@pytest.mark.parametrize(
    ("visible", "device"),
    [
        ("0", identity.GpuIdentity("0", "GPU-aaaa1111", "NVIDIA A100-SXM4-80GB")),
        ("1", identity.GpuIdentity("1", "MIG-dddd4444", "NVIDIA A100-SXM4-40GB MIG 3g.20gb")),
        ("MIG-dddd", identity.GpuIdentity("1", "MIG-dddd4444", "NVIDIA A100-SXM4-40GB MIG 3g.20gb")),
        ("-1", None),
    ],
)
def test_without_the_tool_nvml_is_asked(visible, device):
    assert identity.first_device({"CUDA_VISIBLE_DEVICES": visible}) == device
    assert identity.driver_version() == "575.57.08"


def test_nvml_that_fails_is_no_answer(nvml, monkeypatch):
    for function in ("nvmlSystemGetDriverVersion", "nvmlDeviceGetCount"):
        monkeypatch.setattr(nvml, function, raising(PynvmlError("GPU is lost")))
    assert (identity.gpu_name({}), identity.driver_version()) == ("none", None)
    monkeypatch.setattr(nvml, "nvmlInit", raising(PynvmlError("Driver Not Loaded")))
    assert (identity.gpu_name({}), identity.driver_version()) == ("none", None)


@pytest.mark.parametrize(
    "version",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  575.57.08  Tue May 27 01:15:22 UTC 2025\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57.08  Release Build  (dvs-builder)\n",
    ],
)
@pytest.mark.usefixtures("nvidia_smi")
def test_without_nvml_either_the_driver_s_files_are_read(proc, version):
    for bus, model, uuid in (("0000:c1:00.0", "H100 80GB HBM3", "GPU-b"), ("0000:0f:00.0", "A100", "GPU-a")):
        file = proc / "gpus" / bus / "information"
        file.parent.mkdir(parents=True)
        file.write_text(
            f"Model: \t\t NVIDIA {model}\nIRQ:   \t\t 24\nGPU UUID: \t {uuid}\nBus Type: \t PCIe\n"
        )
    (proc / "version").write_text(version + "GCC version:  gcc version 13.3.0 (Ubuntu 13.3.0-6ubuntu2)\n")
    (proc / "gpus" / "0000:ff:00.0").mkdir()
    (proc / "gpus" / "0000:ff:00.0" / "information").write_text("Model: \t\t Unknown\n")
    assert identity.first_device({}) == identity.GpuIdentity("0", "GPU-a", "NVIDIA A100")
    assert identity.gpu_name({"CUDA_VISIBLE_DEVICES": "1"}) == "NVIDIA H100 80GB HBM3"
    assert identity.driver_version() == "575.57.08"
