"""What a run says of the machine beforehand; the checks of the GPU on instruments that are right or wrong."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks.meter.gpu.errors import PackageMissingError
from benchmarks.meter.gpu.identity import GpuIdentity
from benchmarks.meter.gpu.nvml import NullDevice
from benchmarks.meter.measure.memory import Peak
from benchmarks.meter.run import __main__ as run
from benchmarks.meter.run import checks, preflight
from benchmarks.meter.run.checks import CheckError, main
from benchmarks.meter.run.preflight import missing_packages, print_device_checks

UUID = "GPU-5b5f1f3e"
ABSENT = PackageMissingError("the Python package nvidia-ml-py is not installed")


@pytest.fixture(autouse=True)
def small_matrix(monkeypatch):
    monkeypatch.setattr(checks, "MATRIX_SIDE", 256)


class OpenDevice(NullDevice):
    """An H100, opened."""

    uuid = UUID
    name = "NVIDIA H100"


@pytest.fixture
def opened(monkeypatch):
    monkeypatch.setattr(checks, "open_cuda_device", lambda: OpenDevice(ABSENT))


@pytest.mark.usefixtures("opened")
def test_the_device_that_computes_must_be_the_one_that_results_are_filed_under(monkeypatch):
    monkeypatch.setattr(checks, "first_device", lambda: GpuIdentity("0", UUID, "NVIDIA H100"))
    assert checks.identity().endswith(f"mean one device: NVIDIA H100, {UUID}")
    monkeypatch.setattr(checks, "first_device", lambda: GpuIdentity("0", "GPU-other", "NVIDIA T4"))
    with pytest.raises(CheckError, match=r"computes on NVIDIA H100.*filed under NVIDIA T4, GPU-other"):
        checks.identity()
    monkeypatch.setattr(checks, "first_device", lambda: None)
    with pytest.raises(CheckError, match="filed under a machine without a GPU"):
        checks.identity()


def test_the_allocator_must_count_a_tensor_as_large_as_it_is(monkeypatch):
    def counted(share):
        return lambda call: Peak(total=2**40, growth=int(call().nbytes * share))

    monkeypatch.setattr(checks, "allocated_peak", counted(1))
    assert "counts 64 MiB" in checks.allocator()
    monkeypatch.setattr(checks, "allocated_peak", counted(0))
    with pytest.raises(CheckError, match=r"counts 0 bytes for a tensor of 67108864"):
        checks.allocator()


@pytest.mark.parametrize(("factor", "right"), [(1, True), (0.1, False), (3, False)])
def test_events_must_agree_with_the_wall_clock(monkeypatch, factor, right):
    wall = iter([10.0, 12.0])
    monkeypatch.setattr(checks.time, "perf_counter", lambda: next(wall))
    by_events = SimpleNamespace(name="CUDA events", seconds=lambda calls: [factor * 2 / 20] * len(calls))
    monkeypatch.setattr(checks, "clock", lambda _l2: by_events)
    if right:
        assert "2.0000 s by CUDA events, 2.0000 s on the wall" in checks.events()
    else:
        with pytest.raises(CheckError, match=r"by CUDA events, 2\.0000 s on the wall"):
            checks.events()


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_profile_must_hold_kernels(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("here a profile holds some")
    with pytest.raises(CheckError, match="holds no kernel"):
        checks.profiler()
    monkeypatch.setattr(torch.autograd, "DeviceType", SimpleNamespace(CUDA=DeviceType.CPU))
    assert "aten::mm" in checks.profiler()


def right():
    return "as it should be"


def wrong():
    raise CheckError("not so\nat all")


def broken():
    raise ABSENT


def test_a_line_for_each_check_and_a_failure_stops_none(monkeypatch, capsys):
    monkeypatch.setattr(checks, "device", lambda: "cuda")
    assert main([wrong, broken, right]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "device check FAILED: wrong: not so",
        f"device check FAILED: broken: {ABSENT}",
        "device check ok: as it should be",
    ]
    assert main([right]) == 0


def test_gpu_that_torch_does_not_use_is_a_failure(monkeypatch, capsys):
    monkeypatch.setattr(checks, "device", lambda: "cpu")
    assert main([right]) == 2
    assert capsys.readouterr().out == "device check FAILED: torch computes on the CPU\n"


def test_checks_that_crash_are_told_in_a_line(monkeypatch, tmp_path, capfd):
    for name, body in {
        "fine": "print('printed'); raise SystemExit(2)",
        "crash": "print('printed'); raise ValueError('why')",
        "killed": "import os; os.kill(os.getpid(), 9)",
    }.items():
        (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.chdir(tmp_path)
    print_device_checks("fine")
    assert capfd.readouterr().out == "printed\n"
    print_device_checks("crash")
    assert capfd.readouterr().out == "printed\ndevice check FAILED: ValueError: why\n"
    print_device_checks("killed")
    assert capfd.readouterr().out == "device check FAILED: it ended with status -9\n"


def test_checks_that_hang_are_ended(monkeypatch, capfd):
    monkeypatch.setattr(preflight, "_MOST_SECONDS", 0)
    print_device_checks()
    assert capfd.readouterr().out == "device check FAILED: no end within 0 s\n"


def test_missing_packages_are_the_declared_ones_that_are_not_installed(tmp_path):
    project = tmp_path / "pyproject.toml"
    assert missing_packages(project) == []
    project.write_text(
        '[project]\ndependencies = ["numpy>=1", "no-such-one[extra]>=2", "nor-this; python_version<\'3\'"]\n'
    )
    assert missing_packages(project) == ["no-such-one"]
    project.write_text("[tool.other]\n")
    assert missing_packages(project) == []


@pytest.mark.parametrize(("machine", "checked"), [({"gpu": "NVIDIA H100"}, 1), ({"gpu": "none"}, 0), ({}, 0)])
def test_the_gpu_is_checked_where_there_is_one(monkeypatch, tmp_path, capsys, machine, checked):
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["no-such-one", "nor-this"]\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "print_device_checks", lambda: print("checked"))
    run._introduce_machine(SimpleNamespace(machine=machine))
    told, *more = capsys.readouterr().out.splitlines()
    assert told == "not installed: no-such-one, nor-this; the cells that need them will be n/a"
    assert more == ["checked"] * checked


def test_asking_for_cuda_leaves_torch_out_of_this_process(monkeypatch):
    asked = []
    monkeypatch.setattr(preflight, "versions", lambda: {"cuda": "13.0"})

    def answer(command, **_options):
        asked.append(command[0])
        return SimpleNamespace(stdout="a plugin of torch says hello\ncuda\n")

    monkeypatch.setattr(preflight.subprocess, "run", answer)
    assert preflight.computes_on_cuda()
    monkeypatch.setattr(preflight, "versions", lambda: {"cuda": None})
    assert not preflight.computes_on_cuda()
    assert asked == [sys.executable], "torch that was built without CUDA is not asked"
