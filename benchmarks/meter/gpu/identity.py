"""Which GPU a process would use, found without initializing CUDA.

In: CUDA_VISIBLE_DEVICES, and the answer of `nvidia-smi`, or else of NVML, or else of the driver's files. Out:
model names, UUIDs and the driver's version. CUDA itself is not asked, because a process that initialized CUDA
cannot fork benchmarks. If none of the three answers, this module takes it that there is no GPU.
"""

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

NO_GPU = "none"

_GPU_LINE = re.compile(r"GPU (?P<index>\d+): (?P<name>.+) \(UUID: (?P<uuid>\S+)\)")
_MIG_LINE = re.compile(r"\s+MIG (?P<profile>\S+) .*\(UUID: (?P<uuid>\S+)\)")

_PROC = Path("/proc/driver/nvidia")
_PROC_FIELD = re.compile(r"^(Model|GPU UUID):[ \t]+(.+?)\s*$", re.MULTILINE)
_PROC_VERSION = re.compile(r"Kernel Module\b.*?\s(\d[\d.]+)\s")

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class GpuIdentity:
    """What identifies a device that CUDA can use: a GPU, or a MIG slice of one.

    Attributes:
        gpu_index: of the whole GPU, as `nvidia-smi` counts.
        uuid: as `nvidia-smi -L` prints it, "GPU-..." or "MIG-...".
        name: of the model; a slice has its profile behind it.
    """

    gpu_index: str
    uuid: str
    name: str


def gpu_name(environ: Mapping[str, str] = os.environ) -> str:
    """Return the model name of the device that CUDA would use; `NO_GPU` if there is no GPU."""
    device = first_device(environ)
    return device.name if device else NO_GPU


def first_device(environ: Mapping[str, str] = os.environ) -> GpuIdentity | None:
    """Return the first device that CUDA_VISIBLE_DEVICES lets CUDA see; None if there is no GPU.

    An index in CUDA_VISIBLE_DEVICES is taken to count by PCI bus, as `nvidia-smi` does. CUDA counts the
    fastest model first. On a machine with several models, set CUDA_DEVICE_ORDER=PCI_BUS_ID or use UUIDs.
    """
    wanted = environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if not wanted or wanted == "-1":
        return None
    devices = parse_devices(_nvidia_smi("-L")) or _nvml(_devices_by_nvml) or _devices_by_files()
    return next((d for d in devices if wanted == d.gpu_index or d.uuid.startswith(wanted)), None)


def parse_devices(listing: str) -> list[GpuIdentity]:
    """Return the devices in the output of `nvidia-smi -L`; for a GPU cut into MIG slices, the slices."""
    devices: list[GpuIdentity] = []
    whole = None
    for line in listing.splitlines():
        if found := _GPU_LINE.match(line):
            whole = GpuIdentity(found["index"], found["uuid"], found["name"])
            devices.append(whole)
        elif whole and (found := _MIG_LINE.match(line)):
            if devices[-1] is whole:
                devices.pop()
            devices.append(
                GpuIdentity(whole.gpu_index, found["uuid"], f"{whole.name} MIG {found['profile']}")
            )
    return devices


def driver_version() -> str | None:
    """Return the version of the NVIDIA driver, such as "575.57.08"; None if there is no driver."""
    lines = _nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader").split()
    if lines:
        return lines[0]
    return _nvml(lambda pynvml: pynvml.nvmlSystemGetDriverVersion()) or _driver_version_by_file()


def _nvidia_smi(*arguments: str) -> str:
    """What `nvidia-smi` prints; an empty string if it is missing or fails."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _nvml(question: Callable[[ModuleType], Answer]) -> Answer | None:
    """The answer that NVML gives through nvidia-ml-py; None if one of them is missing or fails."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        try:
            return question(pynvml)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


def _devices_by_nvml(pynvml: ModuleType) -> list[GpuIdentity]:
    """The devices as in `parse_devices`: NVML also names a slice after its GPU and its profile."""
    devices: list[GpuIdentity] = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        whole = pynvml.nvmlDeviceGetHandleByIndex(index)
        devices += [
            GpuIdentity(str(index), pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle))
            for handle in _slices(pynvml, whole) or [whole]
        ]
    return devices


def _slices(pynvml: ModuleType, whole: Any) -> list[Any]:
    """The MIG slices of a GPU; an empty list if it has no slices or no MIG."""
    slices = []
    try:
        if pynvml.nvmlDeviceGetMigMode(whole)[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return []
        for position in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(whole)):
            with suppress(pynvml.NVMLError_NotFound):
                slices.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(whole, position))
    except pynvml.NVMLError_NotSupported:
        return []
    return slices


def _devices_by_files() -> list[GpuIdentity]:
    """The GPUs that the kernel driver lists, by PCI bus; it does not list slices."""
    files = sorted(_PROC.glob("gpus/*/information"))
    found = [dict(_PROC_FIELD.findall(file.read_text())) for file in files]
    return [
        GpuIdentity(str(index), gpu["GPU UUID"], gpu["Model"])
        for index, gpu in enumerate(found)
        if gpu.keys() >= {"GPU UUID", "Model"}
    ]


def _driver_version_by_file() -> str | None:
    try:
        found = _PROC_VERSION.search((_PROC / "version").read_text())
    except OSError:
        return None
    return found[1] if found else None
