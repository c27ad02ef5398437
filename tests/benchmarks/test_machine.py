import json
import platform
import stat

import pytest
from asv.machine import Machine

from benchmarks.meter import machine

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
    """A stub `nvidia-smi` on PATH, and nothing else there; call it with what it prints."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(listing, status=0):
        script = tmp_path / "nvidia-smi"
        script.write_text(f"#!/bin/sh\nprintf '%s' '{listing}'\nexit {status}\n")
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
    nvidia_smi(TWO_GPUS)
    assert machine.gpu_name({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == name


@pytest.mark.parametrize(
    ("visible", "name"),
    [
        ("0", "NVIDIA A100-SXM4-40GB MIG 3g.20gb"),
        ("1", "NVIDIA A100-SXM4-40GB"),
        ("MIG-eeee5555", "NVIDIA A100-SXM4-40GB MIG 1g.5gb"),
    ],
)
def test_a_slice_of_a_gpu_is_named_as_a_slice(nvidia_smi, visible, name):
    nvidia_smi(SLICED_GPU)
    assert machine.gpu_name({"CUDA_VISIBLE_DEVICES": visible}) == name


def test_no_gpu_without_a_driver_or_its_tool(nvidia_smi):
    assert machine.gpu_name({}) == "none"
    nvidia_smi("Failed to initialize NVML: Driver/library version mismatch", status=18)
    assert machine.gpu_name({}) == "none"


@pytest.mark.parametrize(
    ("reported_gib", "installed_gib"),
    [(0, 1), (0.9, 1), (3.8, 4), (7.6, 8), (15.4, 16), (23.5, 24), (31.1, 32), (125.6, 128), (503.5, 512)],
)
def test_memory_is_what_is_installed_not_what_the_kernel_leaves(reported_gib, installed_gib):
    assert machine.nominal_gib(int(reported_gib * 2**30)) == installed_gib


def test_fields_name_hardware_only(nvidia_smi, monkeypatch):
    nvidia_smi(TWO_GPUS)
    monkeypatch.setattr(machine.util, "get_cpu_info", lambda: "AMD EPYC 7543 32-Core Processor")
    monkeypatch.setattr(machine.util, "get_memsize", lambda: 503 * 2**30)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(platform, "uname", lambda: pytest.fail("uname tells the host name"))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert machine.machine_fields({}) == {
        "machine": "nvidia-a100-sxm4-80gb-amd-epyc-7543-64cpu-512gb",
        "os": "Linux",
        "arch": "x86_64",
        "cpu": "AMD EPYC 7543 32-Core Processor",
        "num_cpu": "64",
        "ram": "512GB",
        "gpu": "NVIDIA A100-SXM4-80GB",
    }


@pytest.fixture
def plugged(monkeypatch, tmp_path):
    """asv's machine class as the plugin leaves it, with a home directory to write to by mistake."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("load", "get_unique_machine_name"):
        monkeypatch.setattr(Machine, name, getattr(Machine, name))
    machine.setup()
    yield Machine
    assert list(tmp_path.iterdir()) == []


def test_asv_gets_the_fields_and_stores_them(plugged, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    loaded = plugged.load(machine_name=None, _path=None, interactive=True)
    assert vars(loaded) == machine.machine_fields()
    assert loaded.machine == plugged.get_unique_machine_name()
    loaded.save(results)
    stored = json.loads((results / loaded.machine / "machine.json").read_text())
    assert stored == {**machine.machine_fields(), "version": 1}


def test_a_name_given_by_the_user_wins(plugged):
    loaded = plugged.load(machine_name="our-a100", interactive=True)
    assert vars(loaded) == {**machine.machine_fields(), "machine": "our-a100"}


def test_asv_machine_shows_the_fields_and_stores_nothing(plugged, caplog):
    with caplog.at_level("INFO"):
        plugged.load(force_interactive=True, use_defaults=True)
    assert f"gpu: {machine.machine_fields()['gpu']}" in caplog.text
