"""Opening a GPU through NVML, NVIDIA's management library.

In: a device's UUID, or its index in CUDA. nvidia-ml-py's `pynvml` has to be installed, and the driver's
library. Out: a device to read (`device`) or to give to a `Sampler` (`sampler`). If something is missing, the
caller gets an `NvmlError` that says what to do, or asks for a `NullDevice` instead.

NVML counts devices by PCI bus and ignores CUDA_VISIBLE_DEVICES, so it is always asked by UUID.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Literal

from benchmarks.meter.gpu.device import Device, Handle, Memory, NullDevice, NvmlDevice, optional
from benchmarks.meter.gpu.errors import (
    NvmlError,
    PackageMissingError,
    UnknownDeviceError,
    WrongPackageError,
    explained,
)
from benchmarks.meter.gpu.sampler import Recording, Sampler
from benchmarks.meter.gpu.throttle import Throttle

__all__ = [
    "Device",
    "Memory",
    "NullDevice",
    "NvmlDevice",
    "NvmlError",
    "Recording",
    "Sampler",
    "Throttle",
    "open_cuda_device",
    "open_device",
]

Missing = Literal["raise", "null"]


def open_device(uuid: str, *, missing: Missing = "raise") -> Device:
    """Open the device with a UUID as `nvidia-smi -L` prints it, "GPU-..." or "MIG-...".

    Args:
        uuid: the whole UUID, not an abbreviation.
        missing: "null" returns a `NullDevice` instead of raising an error.

    Raises:
        NvmlError: the subclass for what is missing: package, library, driver, permission, device.
    """
    return _open(lambda pynvml: _first_known(pynvml, [uuid]), missing)


def open_cuda_device(
    index: int = 0, *, missing: Missing = "raise", environ: Mapping[str, str] = os.environ
) -> Device:
    """Open the device that torch calls `index` in this process. This initializes CUDA.

    The UUID comes from torch. Some drivers do not tell torch the UUID of a MIG slice; then
    CUDA_VISIBLE_DEVICES names the slice, and without it the first slice of the GPU is opened, as CUDA does.

    Args:
        index: as in `torch.device("cuda", index)`.
        missing: "null" returns a `NullDevice` instead of raising an error of NVML.
        environ: where CUDA_VISIBLE_DEVICES is looked up.

    Raises:
        NvmlError: as in `open_device`.
    """
    import torch

    uuid = torch.cuda.get_device_properties(index).uuid
    visible = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    chosen = visible[index].strip() if index < len(visible) else ""
    if chosen.startswith("MIG-"):
        return _open(lambda pynvml: _first_known(pynvml, [chosen, f"MIG-{uuid}"]), missing)
    return _open(lambda pynvml: _slice_or_whole(pynvml, [f"GPU-{uuid}", f"MIG-{uuid}"]), missing)


def _open(find: Callable[[ModuleType], Handle], missing: Missing) -> Device:
    try:
        pynvml = _import_pynvml()
        with _initialized(pynvml):
            return NvmlDevice(pynvml, find(pynvml))
    except NvmlError as error:
        if missing == "null":
            return NullDevice(error)
        raise


def _import_pynvml() -> ModuleType:
    try:
        import pynvml
    except ImportError as error:
        raise PackageMissingError("the Python package nvidia-ml-py is not installed") from error
    # NVIDIA's is a single module; the unofficial package of that name is a folder, and lacks structures.
    if hasattr(pynvml, "__path__") or not hasattr(pynvml, "nvmlDeviceGetCurrentClocksEventReasons"):
        raise WrongPackageError(f"the module {pynvml.__file__} is not that of nvidia-ml-py 12.535 or newer")
    module: ModuleType = pynvml
    return module


@contextmanager
def _initialized(pynvml: ModuleType) -> Iterator[None]:
    """Initialize NVML, and shut it down again if the block fails.

    NVML counts how often it was initialized; the device that the block opens shuts it down when it is closed.
    """
    with explained("starting NVML"):
        pynvml.nvmlInit()
    try:
        yield
    except BaseException:
        pynvml.nvmlShutdown()
        raise


def _first_known(pynvml: ModuleType, uuids: Iterable[str]) -> Handle:
    for uuid in uuids:
        try:
            with explained(f"the device {uuid}"):
                return pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except UnknownDeviceError as error:
            unknown = error
    raise unknown


def _slice_or_whole(pynvml: ModuleType, uuids: Iterable[str]) -> Handle:
    """The device of the first UUID that NVML knows; if it is a GPU cut into MIG slices, its first slice."""
    handle = _first_known(pynvml, uuids)
    mode = optional("the MIG mode", pynvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return handle
    with explained("the MIG slices"):
        count = pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    for position in range(count):
        try:
            with explained(f"MIG slice {position}"):
                return pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, position)
        except UnknownDeviceError:
            continue
    return handle
