"""The errors of NVML: one exception for each cause, whose message says what to do.

In: the exceptions of nvidia-ml-py's `pynvml`. Out: `NvmlError` and its subclasses, by one table from NVML's
return codes (nvml.h, `nvmlReturn_t`). `pynvml` is imported when it is asked for the first time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class NvmlError(Exception):
    """NVML cannot answer; the subclass says why, `advice` says what to do."""

    advice: ClassVar[str] = "look the code up in NVIDIA's NVML reference (nvmlReturn_t)"

    def __init__(self, detail: str) -> None:
        super().__init__(f"{detail}: {self.advice}")


class PackageMissingError(NvmlError):
    """The Python package is not installed."""

    advice = "pip install nvidia-ml-py"


class WrongPackageError(NvmlError):
    """The module `pynvml` does not come from a recent nvidia-ml-py, the package that NVIDIA maintains."""

    advice = "pip uninstall pynvml nvidia-ml-py, then pip install nvidia-ml-py"


class LibraryMissingError(NvmlError):
    """`libnvidia-ml.so.1`, a part of the driver, is missing."""

    advice = "install the NVIDIA driver; in a container, start it with the GPU and the 'utility' capability"


class DriverNotLoadedError(NvmlError):
    """The library is there, but the kernel driver is not loaded."""

    advice = "load the NVIDIA kernel module (nvidia-smi tells if that worked)"


class DriverMismatchError(NvmlError):
    """The library and the kernel driver are of different versions."""

    advice = "the driver was updated under a running system: reboot, or restart the container"


class DriverTooOldError(NvmlError):
    """The driver lacks a function, or has another version of its data."""

    advice = "update the NVIDIA driver (version 510 or newer)"


class NoPermissionError(NvmlError):
    """This user lacks the permission."""

    advice = "ask as root, or let the administrator open the NVIDIA device files to this user"


class NotSupportedError(NvmlError):
    """This GPU, or this MIG slice, does not have the quantity."""

    advice = "do without it on this device"


class UnknownDeviceError(NvmlError):
    """NVML knows no device with that UUID."""

    advice = "nvidia-smi -L lists the UUIDs that there are"


class GpuLostError(NvmlError):
    """The GPU fell off the bus, or must be reset before it answers again."""

    advice = "see the kernel's log for Xid messages, then reset the GPU or reboot"


_BY_CODE: dict[int, type[NvmlError]] = {
    2: UnknownDeviceError,  # INVALID_ARGUMENT: not in the form of a UUID
    3: NotSupportedError,
    4: NoPermissionError,
    6: UnknownDeviceError,  # NOT_FOUND
    9: DriverNotLoadedError,
    12: LibraryMissingError,
    13: DriverTooOldError,  # FUNCTION_NOT_FOUND
    15: GpuLostError,  # GPU_IS_LOST
    16: GpuLostError,  # RESET_REQUIRED
    18: DriverMismatchError,  # LIB_RM_VERSION_MISMATCH
    25: DriverTooOldError,  # ARGUMENT_VERSION_MISMATCH
    28: UnknownDeviceError,  # GPU_NOT_FOUND
}


@contextmanager
def explained(question: str) -> Iterator[None]:
    """Turn an exception of `pynvml` in the block into the `NvmlError` for its cause.

    Args:
        question: what the block asks, such as "the memory in use"; the message starts with it.
    """
    import pynvml

    try:
        yield
    except pynvml.NVMLError as error:
        kind = _BY_CODE.get(error.value, NvmlError)
        raise kind(f"{question}: NVML answers '{error}' (code {error.value})") from error
