"""Watching a GPU from a thread while a block of code runs.

In: a device (`device`) and a period. Out: a `Recording`, the timeline and what follows from it.

What happens between two samples is not seen: a peak shorter than the period can be missed, so a recording
says how many samples it has and how far apart two of them were at most. The exact peak of an allocator is
known to the allocator alone (`torch.cuda.max_memory_allocated`).
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
    """The timeline of a device, one row a sample; a quantity that the device does not give is NaN.

    Attributes:
        period_s: the period that was asked for.
        seconds: since the sampler was entered. (samples,), as all that follow.
        used_bytes: memory in use on the whole device or slice, by all processes.
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
    def largest_gap_s(self) -> float | None:
        """The longest time between two samples; None with fewer than two."""
        return float(np.diff(self.seconds).max()) if self.samples > 1 else None

    @property
    def baseline_bytes(self) -> int | None:
        """Memory in use before the block began."""
        return _bytes(self.used_bytes[:1], np.max)

    @property
    def peak_bytes(self) -> int | None:
        """The most memory that a sample saw in use."""
        return _bytes(self.used_bytes, np.max)

    @property
    def peak_above_baseline_bytes(self) -> int | None:
        """`peak_bytes` less `baseline_bytes`: what the block added, if nothing else ran on the device."""
        if self.peak_bytes is None or self.baseline_bytes is None:
            return None
        return self.peak_bytes - self.baseline_bytes

    @property
    def mean_bytes(self) -> int | None:
        """The mean over time of the memory in use."""
        return _bytes(self.used_bytes, lambda used: _mean_over_time(self.seconds, used))

    @property
    def mean_power_w(self) -> float | None:
        """The mean over time of the power."""
        if not _complete(self.power_w):
            return None
        return _mean_over_time(self.seconds, self.power_w)

    @property
    def window_energy_j(self) -> float | None:
        """Joules from the first sample to the last; None where the window is too short for the counter.

        The counter goes up in steps, some tens of milliseconds apart; a window with fewer than
        `MIN_ENERGY_STEPS` of them says little.
        """
        if not _complete(self.energy_j) or np.count_nonzero(np.diff(self.energy_j)) < MIN_ENERGY_STEPS:
            return None
        return float(self.energy_j[-1] - self.energy_j[0])

    @property
    def throttle(self) -> Throttle:
        """All reasons that a sample saw."""
        seen = self.throttle_bits[~np.isnan(self.throttle_bits)].astype(np.int64)
        return Throttle(int(np.bitwise_or.reduce(seen)))

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the timeline: a line of column names, then a line a sample; empty cells for NaN."""
        with replacing(path) as partial, partial.open("w", newline="", encoding="ascii") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for row in zip(*(getattr(self, column).tolist() for column in _COLUMNS), strict=True):
                writer.writerow(["" if math.isnan(value) else f"{value:.15g}" for value in row])


class Sampler:
    """A context manager that reads a device at a steady pace, from a thread, while its block runs.

    The device is read once before the block and once after it, whatever the period. An error in between
    ends the reading and is raised when the block ends; if the block raises, its exception goes first and
    carries the other as a note. On a `NullDevice` nothing runs and the recording is empty.

    Reading takes Python's lock from the block for about 20 microseconds a sample; while the driver answers,
    the block has it.

    Args:
        device: what to read.
        period_s: seconds from one reading to the next; a reading that takes longer delays the next.
        clock: seconds from any origin, not affected by the time of day.
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
        """What was recorded so far; after the block, all of it."""
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
        """Seconds to the next multiple of the period: what was missed is not made up for."""
        return self._period_s - (self._clock() - self._start) % self._period_s

    def _read(self) -> None:
        device = self._device
        memory = device.memory()
        self._samples.append(
            _Sample(
                seconds=self._clock() - self._start,
                used_bytes=_or_nan(memory and memory.used),
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


def _bytes(column: NDArray[np.float64], reduce: Callable[[NDArray[np.float64]], float]) -> int | None:
    return round(reduce(column)) if _complete(column) else None


def _mean_over_time(seconds: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The mean of the line through the samples, which need not be evenly spaced."""
    gaps = np.diff(seconds)
    if not gaps.sum():
        return float(values.mean())
    return float(gaps @ (values[:-1] + values[1:]) / 2 / gaps.sum())
