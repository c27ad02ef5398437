"""An open GPU, read through NVML: memory in use, energy, power, clock, and what holds the clock down.

In: a device that `nvml` opened. Out: readings as plain numbers. A quantity that the device or its driver
does not report is None; everything else that goes wrong is an `NvmlError`.
"""

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

    `used` is what all processes hold, with CUDA contexts and the blocks that their allocators cache;
    `reserved` is the driver's own. (The first version of this NVML call returned the sum of both as used.)
    """

    total: int
    reserved: int
    used: int
    free: int


class NvmlDevice:
    """An open device. Use it as a context manager, or call `close`.

    For a MIG slice (`is_slice`), the memory is the slice's own. NVML reports energy, power, clock and
    throttle reasons for the whole GPU alone, so these include what runs on the other slices.
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
        """The memory of the device now; None for a device that shares the host's memory.

        Raises:
            DriverTooOldError: if the driver (before 510) counts its own reserve as memory in use.
        """
        pynvml = self._pynvml
        try:
            with explained("the memory in use"):
                info = pynvml.nvmlDeviceGetMemoryInfo(self._handle, version=pynvml.nvmlMemory_v2)
        except NotSupportedError:
            return None
        return Memory(total=info.total, reserved=info.reserved, used=info.used, free=info.free)

    def energy_j(self) -> float | None:
        """Joules since the driver was loaded. The counter is updated every some tens of milliseconds."""
        millijoules = optional("energy", self._pynvml.nvmlDeviceGetTotalEnergyConsumption, self._whole)
        return None if millijoules is None else millijoules / 1e3

    def power_w(self) -> float | None:
        """Watts: the mean of the last second since Ampere, but the present value on GA100 (A100)."""
        milliwatts = optional("power", self._pynvml.nvmlDeviceGetPowerUsage, self._whole)
        return None if milliwatts is None else milliwatts / 1e3

    def sm_clock_mhz(self) -> int | None:
        """The clock of the multiprocessors in MHz."""
        pynvml = self._pynvml
        mhz: int | None = optional(
            "the clock", pynvml.nvmlDeviceGetClockInfo, self._whole, pynvml.NVML_CLOCK_SM
        )
        return mhz

    def throttle(self) -> Throttle | None:
        """The reasons for which the clock is below its maximum now."""
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
        """Shut NVML down for this device; it cannot be read any more."""
        with explained("shutting NVML down"):
            self._pynvml.nvmlShutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class NullDevice:
    """A stand-in for a device that NVML cannot open, because of `reason`; every reading is None."""

    available = False
    is_slice = False
    uuid = ""
    name = NO_GPU

    def __init__(self, reason: NvmlError) -> None:
        self.reason = reason

    def memory(self) -> None:
        """None: there is no device."""

    def energy_j(self) -> None:
        """None: there is no device."""

    def power_w(self) -> None:
        """None: there is no device."""

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
    """Return the function's answer; None if the device or the driver does not support it.

    Args:
        question: what is asked, for the message of an error.
        function: of `pynvml`.
        arguments: of the function.
    """
    try:
        with explained(question):
            return function(*arguments)
    except (NotSupportedError, DriverTooOldError):
        return None
