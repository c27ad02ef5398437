"""NVML through the unmodified `pynvml`, over a stub library compiled from nvml_stub.c; no GPU is involved.

Each scenario is a process of its own: `pynvml` keeps the library and its functions.
"""

import csv
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
SOURCE = Path(__file__).with_name("nvml_stub.c")
LIBRARY = "libnvidia-ml.so.1"
MIB = 2**20

GPU = "GPU-aaaa0000-0000-0000-0000-000000000000"
SLICED = "GPU-bbbb0000-0000-0000-0000-000000000000"
SLICE = "MIG-cccc0000-0000-0000-0000-000000000000"

SCENARIO = """
import ctypes, json, os, sys, types
from benchmarks.meter.gpu import errors, nvml
from benchmarks.meter.gpu.nvml import Sampler, open_cuda_device, open_device

def calls(function):
    return ctypes.CDLL("{library}").stub_calls(function.encode())

def wait_for(function, count):
    while calls(function) < count:
        os.sched_yield()

def torch_finds(uuid):
    properties = types.SimpleNamespace(uuid=uuid)
    sys.modules["torch"] = types.ModuleType("torch")
    sys.modules["torch"].cuda = types.SimpleNamespace(get_device_properties=lambda index: properties)

try:
{code}
except errors.NvmlError as error:
    answer = {{"error": type(error).__name__, "message": str(error)}}
print(json.dumps(answer))
"""

if importlib.util.find_spec("pynvml") is None:
    pytest.skip("nvidia-ml-py is not installed", allow_module_level=True)


@dataclass(frozen=True)
class Stub:
    """A folder with the stub library, and what scripts it."""

    folder: Path

    def answer(self, code, **script):
        """What `answer` is after the code, in a new process."""
        indented = "".join(f"    {line}\n" for line in code.strip().splitlines())
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", SCENARIO.format(library=LIBRARY, code=indented)],
            env={**os.environ, "LD_LIBRARY_PATH": str(self.folder), "PYTHONPATH": str(ROOT), **script},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Call it with the compiler's flags."""
    compiler = shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the stub library is compiled by gcc on Linux")
    stubs = {}

    def build(*flags):
        if flags not in stubs:
            folder = tmp_path_factory.mktemp("nvml")
            shared = ["-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}", "-o", folder / LIBRARY]
            subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", *flags, *shared, SOURCE], check=True)
            stubs[flags] = Stub(folder)
        return stubs[flags]

    return build


@pytest.fixture
def stub(compiled):
    return compiled()


READ_ALL = """
with open_device("{uuid}") as device:
    memory = device.memory()
    answer = {{
        "name": device.name, "uuid": device.uuid, "slice": device.is_slice, "available": device.available,
        "memory": [memory.total, memory.reserved, memory.used, memory.free],
        "energy": device.energy_j(), "power": device.power_w(),
        "clock": device.sm_clock_mhz(),
        "throttle": device.throttle().names,
    }}
"""


def test_a_gpu_is_read_in_plain_units(stub):
    assert stub.answer(READ_ALL.format(uuid=GPU), NVML_STUB_THROTTLE="0x5") == {
        "name": "NVIDIA Stub 80GB",
        "uuid": GPU,
        "slice": False,
        "available": True,
        "memory": [81920 * MIB, 512 * MIB, 1000 * MIB, (81920 - 512 - 1000) * MIB],
        "energy": 1001.5,
        "power": 312.5,
        "clock": 1410,
        "throttle": ["idle", "power cap"],
    }


def test_a_slice_has_its_own_memory_and_the_rest_of_the_whole_gpu(stub):
    answer = stub.answer(READ_ALL.format(uuid=SLICE))
    assert answer["slice"]
    assert answer["name"] == "NVIDIA Stub 40GB MIG 1g.5gb"
    assert answer["memory"][0] == 4864 * MIB
    assert (answer["energy"], answer["power"], answer["clock"]) == (1001.5, 312.5, 1410)


@pytest.mark.parametrize(
    ("torch_uuid", "visible", "found"),
    [
        pytest.param(GPU, "", GPU, id="all visible"),
        pytest.param(GPU, "3", GPU, id="by index"),
        pytest.param(GPU, GPU[:9], GPU, id="by abbreviated UUID"),
        pytest.param(SLICE, SLICE, SLICE, id="slice by UUID"),
        pytest.param(SLICE, SLICE[:9], SLICE, id="slice by abbreviated UUID"),
        pytest.param(SLICED, SLICE, SLICE, id="slice by UUID, torch tells the whole GPU"),
        pytest.param(SLICED, "1", SLICE, id="sliced GPU by index, torch tells the whole GPU"),
        pytest.param(SLICE, "1", SLICE, id="sliced GPU by index"),
    ],
)
def test_the_device_of_cuda_is_found_by_uuid(stub, torch_uuid, visible, found):
    """Torch, here a stand-in, writes a UUID without its prefix."""
    code = f"torch_finds({torch_uuid[4:]!r})\nanswer = open_cuda_device(0).uuid"
    assert stub.answer(code, CUDA_VISIBLE_DEVICES=visible) == found


def test_the_second_visible_device_is_the_second_of_the_list(stub):
    code = f"torch_finds({GPU[4:]!r})\nanswer = open_cuda_device(1).uuid"
    assert stub.answer(code, CUDA_VISIBLE_DEVICES=f"{SLICE},{GPU}") == GPU


OPEN = f"answer = open_device({GPU!r}).memory().used"


@pytest.mark.parametrize(
    ("code", "error", "advice"),
    [
        (9, "DriverNotLoadedError", "load the NVIDIA kernel module"),
        (4, "NoPermissionError", "ask as root"),
        (18, "DriverMismatchError", "reboot"),
        (999, "NvmlError", "Unknown Error"),
        (77, "NvmlError", "Unheard Of"),
    ],
)
def test_what_keeps_nvml_from_starting_is_told_apart(stub, code, error, advice):
    answer = stub.answer(OPEN, NVML_STUB_FAIL=f"nvmlInitWithFlags:{code}")
    assert answer["error"] == error
    assert answer["message"].startswith("starting NVML: NVML answers")
    assert f"(code {code})" in answer["message"]
    assert advice in answer["message"]


@pytest.mark.parametrize("uuid", ["GPU-eeee0000-0000-0000-0000-000000000000", "the second one"])
def test_an_unknown_device_is_named_and_nvml_shut_down(stub, uuid):
    code = f"""
try:
    open_device({uuid!r})
except errors.UnknownDeviceError as error:
    answer = [str(error), calls("nvmlShutdown")]
"""
    message, shutdowns = stub.answer(code)
    assert message.startswith(f"the device {uuid}: ")
    assert message.endswith("nvidia-smi -L lists the UUIDs that there are")
    assert shutdowns == 1


def test_a_lost_gpu_is_told(stub):
    answer = stub.answer(OPEN, NVML_STUB_FAIL="nvmlDeviceGetMemoryInfo_v2:15")
    assert answer["error"] == "GpuLostError"
    assert answer["message"].startswith("the memory in use: NVML answers 'GPU is lost'")


def test_no_driver_library(tmp_path):
    answer = Stub(tmp_path).answer(OPEN)
    assert answer["error"] == "LibraryMissingError"
    assert "install the NVIDIA driver" in answer["message"]


def test_no_package(stub):
    answer = stub.answer(f'sys.modules["pynvml"] = None\n{OPEN}')
    assert answer == {
        "error": "PackageMissingError",
        "message": "the Python package nvidia-ml-py is not installed: pip install nvidia-ml-py",
    }


def test_the_unofficial_package_of_that_name(stub, tmp_path):
    """It is a folder, where NVIDIA's is one module."""
    package = tmp_path / "pynvml"
    package.mkdir()
    package.joinpath("__init__.py").write_text("def nvmlDeviceGetCurrentClocksEventReasons(handle): ...\n")
    answer = stub.answer(f"sys.path.insert(0, {str(tmp_path)!r})\n{OPEN}")
    assert answer["error"] == "WrongPackageError"
    assert str(package) in answer["message"]


@pytest.mark.parametrize("flag", ["-DWITHOUT_MEMORY_V2", "-DMEMORY_VERSION=3"])
def test_memory_that_the_driver_cannot_tell_from_its_reserve_is_an_error(compiled, flag):
    answer = compiled(flag).answer(OPEN)
    assert answer["error"] == "DriverTooOldError"
    assert "update the NVIDIA driver" in answer["message"]


def test_old_names_of_the_throttle_reasons(compiled):
    code = f"answer = open_device({GPU!r}).throttle().names"
    assert compiled("-DWITHOUT_EVENT_REASONS").answer(code, NVML_STUB_THROTTLE="0x48") == [
        "hw slowdown",
        "hw thermal",
    ]


def test_quantities_that_the_driver_does_not_know_are_none(compiled):
    old = compiled("-DWITHOUT_EVENT_REASONS", "-DWITHOUT_THROTTLE_REASONS", "-DWITHOUT_MIG")
    code = f"device = open_device({GPU!r})\n"
    code += "answer = [device.is_slice, device.throttle()]"
    assert old.answer(code) == [False, None]


@pytest.mark.parametrize(
    ("function", "reading"),
    [
        ("nvmlDeviceGetMemoryInfo_v2", "memory()"),
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_j()"),
        ("nvmlDeviceGetPowerUsage", "power_w()"),
        ("nvmlDeviceGetClockInfo", "sm_clock_mhz()"),
    ],
)
def test_a_quantity_that_is_not_supported_is_none_and_a_forbidden_one_an_error(stub, function, reading):
    code = f"answer = open_device({GPU!r}).{reading}"
    assert stub.answer(code, NVML_STUB_FAIL=f"{function}:3") is None
    assert stub.answer(code, NVML_STUB_FAIL=f"{function}:4")["error"] == "NoPermissionError"


def test_a_null_device_stands_in_for_what_cannot_be_opened(tmp_path):
    code = f"""
with open_device({GPU!r}, missing="null") as device:
    readings = [device.memory(), device.energy_j(), device.power_w(), device.sm_clock_mhz(),
                device.throttle()]
    with Sampler(device) as sampler:
        pass
recording = sampler.recording
recording.write_csv({str(tmp_path / "empty.csv")!r})
answer = {{
    "device": [device.available, device.uuid, device.name, device.is_slice, type(device.reason).__name__],
    "readings": readings,
    "recording": [recording.peak_bytes, recording.mean_power_w, recording.window_energy_j],
    "samples": recording.samples, "throttle": recording.throttle.names,
}}
"""
    assert Stub(tmp_path).answer(code) == {
        "device": [False, "", "none", False, "LibraryMissingError"],
        "readings": [None] * 5,
        "recording": [None] * 3,
        "samples": 0,
        "throttle": [],
    }
    assert len((tmp_path / "empty.csv").read_text().splitlines()) == 1


MEMORY = "nvmlDeviceGetMemoryInfo_v2"


def test_a_scripted_ramp_is_recorded(stub, tmp_path):
    file = tmp_path / "timeline.csv"
    code = f"""
with open_device({GPU!r}) as device, Sampler(device, period_s=0.001) as sampler:
    wait_for({MEMORY!r}, 20)
recording = sampler.recording
recording.write_csv({str(file)!r})
answer = {{
    "peak": recording.peak_bytes,
    "used": recording.used_bytes[:6].tolist(), "samples": recording.samples,
    "seconds": recording.seconds.tolist(), "period": recording.period_s,
    "power": recording.mean_power_w, "energy": recording.window_energy_j,
    "throttle": recording.throttle.names, "invalid": recording.throttle.invalidates,
}}
"""
    answer = stub.answer(
        code, NVML_STUB_MEMORY_MIB="1000,1500,4072,2000,1200", NVML_STUB_THROTTLE="0,4,0x40,0"
    )
    assert answer["peak"] == 4072 * MIB
    assert answer["used"] == [mib * MIB for mib in (1000, 1500, 4072, 2000, 1200, 1200)]
    assert answer["throttle"] == ["power cap", "hw thermal"]
    assert answer["invalid"]
    assert answer["period"] == 0.001
    assert answer["power"] == pytest.approx(312.5)
    assert answer["samples"] >= 20
    assert answer["energy"] == 1.5 * (answer["samples"] - 1)
    seconds = answer["seconds"]
    assert all(sooner < later for sooner, later in itertools.pairwise(seconds))
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [float(row["seconds"]) for row in rows] == pytest.approx(seconds, rel=1e-14)
    assert [int(row["used_bytes"]) for row in rows[:3]] == [mib * MIB for mib in (1000, 1500, 4072)]
    assert [row["throttle_bits"] for row in rows[:4]] == ["0", "4", "64", "0"]


def test_the_end_of_the_block_is_read_however_short_it_is(stub):
    code = f"""
with open_device({GPU!r}) as device, Sampler(device, period_s=3600) as sampler:
    pass
answer = [sampler.recording.used_bytes.tolist(), sampler.recording.window_energy_j]
"""
    used, energy = stub.answer(code, NVML_STUB_MEMORY_MIB="1000,3000")
    assert used == [1000 * MIB, 3000 * MIB]
    assert energy is None, "two readings of a counter that steps say little"


def test_quantities_that_are_not_supported_are_missing_from_the_recording(stub, tmp_path):
    file = tmp_path / "timeline.csv"
    code = f"""
with open_device({GPU!r}) as device, Sampler(device, period_s=0.001) as sampler:
    wait_for({MEMORY!r}, 20)
recording = sampler.recording
recording.write_csv({str(file)!r})
answer = [recording.window_energy_j, recording.peak_bytes]
"""
    answer = stub.answer(code, NVML_STUB_FAIL="nvmlDeviceGetTotalEnergyConsumption:3")
    assert answer == [None, 1000 * MIB]
    assert {row.rsplit(",", 1)[1] for row in file.read_text().splitlines()[1:]} == {""}


def test_an_error_while_sampling_is_raised_once_at_the_end_of_the_block(stub):
    code = f"""
device, reached = open_device({GPU!r}), False
sampler = Sampler(device, period_s=0.001)
try:
    with sampler:
        wait_for({MEMORY!r}, 5)
        reached = True
except errors.GpuLostError as error:
    answer = [reached, calls({MEMORY!r}), sampler.recording.samples, str(error)]
"""
    reached, calls, samples, message = stub.answer(code, NVML_STUB_FAIL=f"{MEMORY}:15:5")
    assert reached
    assert calls == 5, "nothing is asked after the error"
    assert samples == 4, "what was seen before it stays"
    assert message.startswith("the memory in use: NVML answers 'GPU is lost'")


def test_an_exception_of_the_block_goes_first_and_names_the_other(stub):
    code = f"""
with open_device({GPU!r}) as device:
    try:
        with Sampler(device, period_s=0.001) as sampler:
            wait_for({MEMORY!r}, 5)
            raise MemoryError("out of memory")
    except MemoryError as error:
        answer = [str(error), error.__notes__, sampler.recording.samples]
"""
    message, notes, samples = stub.answer(code, NVML_STUB_FAIL=f"{MEMORY}:15:5")
    assert (message, samples) == ("out of memory", 4)
    assert [note.split(":")[0] for note in notes] == ["meanwhile, the GPU could not be watched"]


def test_no_thread_outlives_a_block_that_raises(stub):
    code = f"""
import threading
with open_device({GPU!r}) as device:
    try:
        with Sampler(device, period_s=0.001) as sampler:
            wait_for({MEMORY!r}, 5)
            raise MemoryError
    except MemoryError:
        answer = [threading.active_count(), sampler.recording.samples >= 5]
"""
    assert stub.answer(code) == [1, True]


def test_an_error_before_the_block_keeps_it_from_running(stub):
    code = f"""
with open_device({GPU!r}) as device, Sampler(device) as sampler:
    answer = "ran"
"""
    assert stub.answer(code, NVML_STUB_FAIL=f"{MEMORY}:15")["error"] == "GpuLostError"
