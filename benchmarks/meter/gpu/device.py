"""What an open GPU tells through NVML: memory in use, energy, power, clocks and what holds them down.

In: a device that `nvml` opened. Out: readings as plain numbers. A quantity that the device or its driver
does not give is None; everything else that goes wrong is an `NvmlError`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self

from benchmarks.meter.gpu.errors import DriverTooOldError, NotSupportedError, NvmlError, explained
from benchmarks.meter.gpu.identity import NO_GPU
from benchmarks.meter.gpu.throttle import Throttle

Handle = Any
"""A device in `pynvml`: an opaque pointer."""


@dataclass(frozen=True)
class Memory:
    """The memory of a device in bytes; total = reserved + used + free.

    `used` is what all processes hold, CUDA contexts and the cached blocks of their allocators included;
    `reserved` is the driver's own. (The first version of this NVML call added the two up.)
    """

    total: int
    reserved: int
    used: int
    free: int


@dataclass(frozen=True)
class Clocks:
    """The clocks of the moment in MHz; None where the device does not tell."""

    sm_mhz: int | None
    memory_mhz: int | None


class NvmlDevice:
    """An open device; a context manager, or to be closed.

    Of a MIG slice (`is_slice`), the memory is the slice's own; NVML knows energy, power, clocks and throttle
    reasons of the whole GPU only, so these include what runs on the other slices.
    """

    available = True

    def __init__(self, pynvml: ModuleType, handle: Handle) -> None:
        self._pynvml = pynvml
        self._handle = handle
        is_slice = optional("whether it is a MIG slice", pynvml.nvmlDeviceIsMigDeviceHandle, handle)
        self.is_slice = bool(is_slice and is_slice.value)
        with explained("the identity of the device"):
            whole = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle) if self.is_slice else handle
            self.uuid: str = pynvml.nvmlDeviceGetUUID(handle)
            self.name: str = pynvml.nvmlDeviceGetName(handle)
        self._whole = whole

    def memory(self) -> Memory | None:
        """The memory of the device now; None where it shares the host's.

        Raises:
            DriverTooOldError: if the driver cannot tell its own reserve from what is in use (before 510).
        """
        pynvml = self._pynvml
        try:
            with explained("the memory in use"):
                info = pynvml.nvmlDeviceGetMemoryInfo(self._handle, version=pynvml.nvmlMemory_v2)
        except NotSupportedError:
            return None
        return Memory(total=info.total, reserved=info.reserved, used=info.used, free=info.free)

    def process_bytes(self, pid: int | None = None) -> int | None:
        """The bytes that a process (this one by default) holds on the device, its CUDA context included.

        None where the driver does not tell: on MIG, and in a container, whose processes the driver lists by
        their numbers on the host.
        """
        listing = self._pynvml.nvmlDeviceGetComputeRunningProcesses_v3
        processes = optional("the processes on the device", listing, self._handle) or []
        wanted = os.getpid() if pid is None else pid
        return next((process.usedGpuMemory for process in processes if process.pid == wanted), None)

    def energy_j(self) -> float | None:
        """Joules since the driver was loaded; counts up in steps of tens of milliseconds."""
        millijoules = optional("energy", self._pynvml.nvmlDeviceGetTotalEnergyConsumption, self._whole)
        return None if millijoules is None else millijoules / 1e3

    def power_w(self) -> float | None:
        """Watts; since Ampere the mean of the last second, but of the moment on GA100 (A100)."""
        milliwatts = optional("power", self._pynvml.nvmlDeviceGetPowerUsage, self._whole)
        return None if milliwatts is None else milliwatts / 1e3

    def clocks(self) -> Clocks:
        """The clocks of the multiprocessors and of the memory."""
        return Clocks(
            sm_mhz=self._clock(self._pynvml.NVML_CLOCK_SM),
            memory_mhz=self._clock(self._pynvml.NVML_CLOCK_MEM),
        )

    def sm_clock_mhz(self) -> int | None:
        """The clock of the multiprocessors alone, for those who ask often."""
        return self._clock(self._pynvml.NVML_CLOCK_SM)

    def throttle(self) -> Throttle | None:
        """What holds the clocks down now."""
        pynvml = self._pynvml
        # renamed in driver 535, with the same bits
        for function in (
            pynvml.nvmlDeviceGetCurrentClocksEventReasons,
            pynvml.nvmlDeviceGetCurrentClocksThrottleReasons,
        ):
            bits = optional("what holds the clocks down", function, self._whole)
            if bits is not None:
                return Throttle(bits)
        return None

    def close(self) -> None:
        """Let go of NVML; the device answers no more."""
        with explained("shutting NVML down"):
            self._pynvml.nvmlShutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _clock(self, domain: int) -> int | None:
        return optional("a clock", self._pynvml.nvmlDeviceGetClockInfo, self._whole, domain)


class NullDevice:
    """Stands in for a device that NVML cannot open, because of `reason`: every reading is None."""

    available = False
    is_slice = False
    uuid = ""
    name = NO_GPU

    def __init__(self, reason: NvmlError) -> None:
        self.reason = reason

    def memory(self) -> None:
        """None: there is no device."""

    def process_bytes(self, pid: int | None = None) -> None:
        """None: there is no device."""

    def energy_j(self) -> None:
        """None: there is no device."""

    def power_w(self) -> None:
        """None: there is no device."""

    def clocks(self) -> Clocks:
        """Two times None: there is no device."""
        return Clocks(sm_mhz=None, memory_mhz=None)

    def sm_clock_mhz(self) -> None:
        """None: there is no device."""

    def throttle(self) -> None:
        """None: there is no device."""

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


Device = NvmlDevice | NullDevice


def optional(question: str, function: Callable[..., Any], *arguments: object) -> Any:
    """The function's answer; None where the device does not support it or the driver does not know it."""
    try:
        with explained(question):
            return function(*arguments)
    except (NotSupportedError, DriverTooOldError):
        return None
