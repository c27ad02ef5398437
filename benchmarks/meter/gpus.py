"""Which GPU a process would use, found without touching CUDA.

In: `nvidia-smi` and CUDA_VISIBLE_DEVICES. Out: model names, UUIDs and the driver's version. A process that
initialised CUDA could not fork benchmarks, so CUDA itself is never asked. Without the tool, or where it
fails, there is no GPU as far as this module knows.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

NO_GPU = "none"

_GPU_LINE = re.compile(r"GPU (?P<index>\d+): (?P<name>.+) \(UUID: (?P<uuid>\S+)\)")
_MIG_LINE = re.compile(r"\s+MIG (?P<profile>\S+) .*\(UUID: (?P<uuid>\S+)\)")


@dataclass(frozen=True)
class Device:
    """A device that CUDA can use: a GPU, or a MIG slice of one. The index is that of the whole GPU."""

    gpu_index: str
    uuid: str
    name: str


def gpu_name(environ: Mapping[str, str] = os.environ) -> str:
    """The model name of the device that CUDA would use; `NO_GPU` without one."""
    device = first_device(environ)
    return device.name if device else NO_GPU


def first_device(environ: Mapping[str, str] = os.environ) -> Device | None:
    """The first device that CUDA_VISIBLE_DEVICES lets CUDA see; None without one.

    An index counts as `nvidia-smi` does, by PCI bus. CUDA puts the fastest model first, which differs where
    models are mixed: there, set CUDA_DEVICE_ORDER=PCI_BUS_ID or select by UUID.
    """
    wanted = environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if not wanted or wanted == "-1":
        return None
    devices = parse_devices(_nvidia_smi("-L"))
    return next((d for d in devices if wanted == d.gpu_index or d.uuid.startswith(wanted)), None)


def parse_devices(listing: str) -> list[Device]:
    """The devices in the output of `nvidia-smi -L`; a GPU cut into MIG slices is listed as its slices."""
    devices: list[Device] = []
    whole = None
    for line in listing.splitlines():
        if found := _GPU_LINE.match(line):
            whole = Device(found["index"], found["uuid"], found["name"])
            devices.append(whole)
        elif whole and (found := _MIG_LINE.match(line)):
            if devices[-1] is whole:
                devices.pop()
            devices.append(Device(whole.gpu_index, found["uuid"], f"{whole.name} MIG {found['profile']}"))
    return devices


def driver_version() -> str | None:
    """The version of the NVIDIA driver, such as "575.57.08"; None without one."""
    lines = _nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader").split()
    return lines[0] if lines else None


def _nvidia_smi(*arguments: str) -> str:
    """What `nvidia-smi` prints; nothing where it is absent or fails."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
