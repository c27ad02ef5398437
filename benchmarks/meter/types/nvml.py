"""Benchmark types that ask the driver: the memory in use on the whole device, and energy."""

import math
import re
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.meter.gpu.identity import first_device
from benchmarks.meter.gpu.nvml import Device, Recording, Sampler, Throttle, open_cuda_device, open_device
from benchmarks.meter.measure.clocks import device
from benchmarks.meter.measure.memory import UnavailableError
from benchmarks.meter.measure.sampling import Call
from benchmarks.meter.types.measured import MeasuredBenchmark, facts

ENERGY_WINDOW_S = 2.0
"""Seconds of calls back to back in one sample of energy. The GPU's counter moves in steps of up to a tenth of
a second."""

_ENERGY_PERIOD_S = 0.02
_ESTIMATE_S = 0.2


class NvmlMemory(MeasuredBenchmark):
    """`nvmlmem_*`: the peak of memory in use on the device, in bytes above its state before the setup.

    It includes the CUDA context, the weights that the setup loads, and what the allocator keeps in reserve:
    all that has to be free for the call to run. Other processes on the device disturb it.
    """

    name_regex = re.compile(r"^nvmlmem_.+$")
    kind = "nvmlmem"
    quantity = "bytes"

    def take(self, *params: Any) -> Sequence[float]:
        from torch import cuda

        throttle = Throttle(0)

        def instrument(calls: Sequence[Call]) -> list[float]:
            nonlocal throttle
            peaks = []
            for call in calls:
                cuda.empty_cache()
                recording = _watched(gpu, call)
                throttle |= recording.throttle
                peaks.append(_known(recording.peak_bytes, "memory in use") - self._before)
            return peaks

        with _cuda_device() as gpu:
            samples = self.sample(instrument, partial(self.func, *params), self.plan(warmups=1, batch=6))
        self.note("cell", **facts("NVML", len(samples), throttle), baseline_bytes=self._before)
        return samples

    def _run_setups(self) -> None:
        self._before = _used_before_cuda()
        super()._run_setups()


class Energy(MeasuredBenchmark):
    """`energy_*`: joules of the whole GPU for one call, from two seconds of calls back to back a sample."""

    name_regex = re.compile(r"^energy_.+$")
    kind = "energy"
    quantity = "joules"

    def take(self, *params: Any) -> Sequence[float]:
        call = partial(self.func, *params)
        watts: list[float] = []
        throttle = Throttle(0)

        def instrument(calls: Sequence[Call]) -> list[float]:
            nonlocal throttle
            joules = []
            for window in calls:
                recording = _watched(gpu, window, _ENERGY_PERIOD_S)
                throttle |= recording.throttle
                watts.append(recording.mean_power_w or math.nan)
                joules.append(_known(recording.window_energy_j, "energy over two seconds") / count)
            return joules

        with _cuda_device() as gpu:
            count = calls_in(ENERGY_WINDOW_S, call, _wait)
            plan = self.plan(warmups=0, max_samples=20, seconds=15.0, batch=1)
            samples = self.sample(instrument, lambda: [call() for _ in range(count)], plan)
        power = {} if any(map(math.isnan, watts)) else {"mean_power_w": sum(watts) / len(watts)}
        self.note("cell", **facts("NVML", len(samples), throttle), calls=count, **power)
        return samples


def calls_in(seconds: float, call: Call, wait: Call) -> int:
    """Return how many calls, back to back, fill a number of seconds.

    Args:
        seconds: to fill.
        call: starts work.
        wait: returns when all work is done.
    """
    count = 1
    while True:
        wait()
        start = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        taken = time.perf_counter() - start
        if taken >= _ESTIMATE_S:
            return max(1, math.ceil(count * seconds / taken))
        count *= 2


def _cuda_device() -> Device:
    if device() == "cpu":
        raise UnavailableError("torch has no GPU here")
    from torch import cuda

    return open_cuda_device(cuda.current_device())


def _used_before_cuda() -> int:
    """The bytes in use on the device that CUDA will use, found without initializing CUDA."""
    gpu = first_device()
    if gpu is None:
        raise UnavailableError("there is no NVIDIA GPU here")
    with open_device(gpu.uuid) as opened:
        memory = opened.memory()
    return int(_known(memory.used if memory else None, "memory in use"))


def _watched(gpu: Device, call: Call, period_s: float = 0.005) -> Recording:
    """Record the device from before the call until its work is done."""
    _wait()
    with Sampler(gpu, period_s) as sampler:
        call()
        _wait()
    return sampler.recording


def _wait() -> None:
    from torch import cuda

    cuda.synchronize()


def _known(reading: float | None, quantity: str) -> float:
    if reading is None:
        message = f"this GPU does not report its {quantity}"
        raise UnavailableError(message)
    return reading
