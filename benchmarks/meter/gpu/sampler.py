"""Reading a GPU again and again from a thread while a block of code runs.

In: a device (`device`) and a period. Out: a `Recording`: the timeline, and the quantities derived from it.

What happens between two samples is not seen, so a peak shorter than the period can be missed. The exact peak
of what torch allocates comes from `torch.cuda.max_memory_allocated`.
"""

import csv
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.meter.gpu.device import Device
from benchmarks.meter.gpu.throttle import Throttle
from benchmarks.meter.host import replacing

PERIOD_S = 0.005
MIN_ENERGY_STEPS = 10
"""Steps of the energy counter that make a window long enough: its ends are then within 10 % each."""

_COLUMNS = ("seconds", "used_bytes", "power_w", "sm_clock_mhz", "throttle_bits", "energy_j")


class _Sample(NamedTuple):
    seconds: float
    used_bytes: float
    power_w: float
    sm_clock_mhz: float
    throttle_bits: float
    energy_j: float


@dataclass(frozen=True)
class Recording:
    """The timeline of a device; a quantity that the device does not report is NaN.

    Attributes:
        period_s: the period that was asked for.
        seconds: since the sampler was entered. Shape (samples,), like all that follow.
        used_bytes: memory in use on the whole device or slice, by all processes together.
        power_w: watts.
        sm_clock_mhz: clock of the multiprocessors.
        throttle_bits: NVML's bits, see `Throttle`.
        energy_j: joules since the driver was loaded.
    """

    period_s: float
    seconds: NDArray[np.float64]
    used_bytes: NDArray[np.float64]
    power_w: NDArray[np.float64]
    sm_clock_mhz: NDArray[np.float64]
    throttle_bits: NDArray[np.float64]
    energy_j: NDArray[np.float64]

    @property
    def samples(self) -> int:
        """How often the device was read."""
        return self.seconds.size

    @property
    def peak_bytes(self) -> int | None:
        """The most memory in use at any sample; None if a sample lacks it."""
        return round(self.used_bytes.max()) if _complete(self.used_bytes) else None

    @property
    def mean_power_w(self) -> float | None:
        """The mean power over time; None if a sample lacks it."""
        if not _complete(self.power_w):
            return None
        return _mean_over_time(self.seconds, self.power_w)

    @property
    def window_energy_j(self) -> float | None:
        """Joules from the first sample to the last; None if the window is too short for the counter.

        The counter goes up in steps, some tens of milliseconds apart. A window with fewer than
        `MIN_ENERGY_STEPS` of them is too short.
        """
        if not _complete(self.energy_j) or np.count_nonzero(np.diff(self.energy_j)) < MIN_ENERGY_STEPS:
            return None
        return float(self.energy_j[-1] - self.energy_j[0])

    @property
    def throttle(self) -> Throttle:
        """Every reason that was in force at any sample."""
        seen = self.throttle_bits[~np.isnan(self.throttle_bits)].astype(np.int64)
        return Throttle(int(np.bitwise_or.reduce(seen)))

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the timeline as CSV: the column names, then one line a sample; NaN is left empty."""
        with replacing(path) as partial, partial.open("w", newline="", encoding="ascii") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for row in zip(*(getattr(self, column).tolist() for column in _COLUMNS), strict=True):
                writer.writerow(["" if math.isnan(value) else f"{value:.15g}" for value in row])


class Sampler:
    """A context manager that reads a device at a steady pace, from a thread, while its block runs.

    The device is also read once before the block and once after it. An error while reading ends the
    recording and is raised when the block ends; if the block itself raises, the error becomes a note on that
    exception. With a `NullDevice` nothing is read and the recording is empty.

    Each sample keeps Python's global lock from the block for about 20 microseconds; the lock is free while
    the driver answers.

    Args:
        device: what to read.
        period_s: seconds from one reading to the next; a reading that takes longer delays the next.
        clock: returns seconds that only go up, from any origin.
    """

    def __init__(
        self, device: Device, period_s: float = PERIOD_S, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if not period_s > 0:
            message = f"a sampler's period must be positive, not {period_s} s"
            raise ValueError(message)
        self._device = device
        self._period_s = period_s
        self._clock = clock
        self._samples: list[_Sample] = []
        self._start = 0.0
        self._stop = Event()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nvml-sampler")
        self._watching: Future[None] | None = None

    @property
    def recording(self) -> Recording:
        """The recording so far; complete after the block."""
        # a copy, which the watching thread cannot lengthen meanwhile
        columns = np.array(list(self._samples), dtype=np.float64).reshape(-1, len(_COLUMNS)).T
        return Recording(self._period_s, *columns)

    def __enter__(self) -> Self:
        self._start = self._clock()
        if self._device.available:
            self._read()
            self._watching = self._executor.submit(self._watch)
        return self

    def __exit__(self, _kind: object, exception: BaseException | None, _traceback: object) -> None:
        self._stop.set()
        self._executor.shutdown()
        error = self._watching.exception() if self._watching else None
        if error is None:
            return
        if exception is None:
            raise error
        exception.add_note(f"meanwhile, the GPU could not be watched: {error}")

    def _watch(self) -> None:
        while not self._stop.wait(self._until_next()):
            self._read()
        self._read()

    def _until_next(self) -> float:
        """Seconds to the next multiple of the period; readings that were missed are not made up for."""
        return self._period_s - (self._clock() - self._start) % self._period_s

    def _read(self) -> None:
        device = self._device
        memory = device.memory()
        self._samples.append(
            _Sample(
                seconds=self._clock() - self._start,
                used_bytes=_or_nan(memory.used if memory else None),
                power_w=_or_nan(device.power_w()),
                sm_clock_mhz=_or_nan(device.sm_clock_mhz()),
                throttle_bits=_or_nan(device.throttle()),
                energy_j=_or_nan(device.energy_j()),
            )
        )


def _or_nan(reading: float | None) -> float:
    return math.nan if reading is None else float(reading)


def _complete(column: NDArray[np.float64]) -> bool:
    return column.size > 0 and not np.isnan(column).any()


def _mean_over_time(seconds: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The mean of the line through the samples, weighted by time: they need not be evenly spaced."""
    gaps = np.diff(seconds)
    if not gaps.sum():
        return float(values.mean())
    return float(gaps @ (values[:-1] + values[1:]) / 2 / gaps.sum())
