import json
import platform

import pytest
from asv.machine import Machine

from benchmarks.meter.asv_plugins import machine


@pytest.mark.parametrize(
    ("reported_gib", "installed_gib"),
    [(0, 1), (0.9, 1), (3.8, 4), (7.6, 8), (15.4, 16), (23.5, 24), (31.1, 32), (125.6, 128), (503.5, 512)],
)
def test_memory_is_what_is_installed_not_what_the_kernel_leaves(reported_gib, installed_gib):
    assert machine.nominal_gib(int(reported_gib * 2**30)) == installed_gib


def test_fields_name_hardware_only(monkeypatch):
    monkeypatch.setattr(machine, "gpu_name", lambda _: "NVIDIA A100-SXM4-80GB")
    monkeypatch.setattr(machine, "cpu_name", lambda: "AMD EPYC 7543 32-Core Processor")
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
