"""The benchmark types that this meter adds to asv: `register()` makes asv_runner know them.

In: suites with functions or methods called `cudatime_*`, `devicemem_*`, `nvmlmem_*`, `energy_*`, `paired_*`.
Out: samples, which asv compares by their ranks, and notes. All quantities are the better the lower.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from asv_runner import benchmarks as asv_types
from asv_runner.benchmarks.mark import skip_benchmark

from benchmarks.meter.gpu.nvml import Throttle
from benchmarks.meter.measure.clocks import device
from benchmarks.meter.measure.memory import Peak, peak_probe
from benchmarks.meter.measure.sampling import Call
from benchmarks.meter.types.measured import MeasuredBenchmark, facts
from benchmarks.meter.types.nvml import Energy, NvmlMemory
from benchmarks.meter.types.paired import Paired

Definition = TypeVar("Definition", bound=Callable[..., Any])


def register() -> None:
    """Put the types before asv's own; calling it again changes nothing.

    To be called by the `__init__.py` of the suites, which asv imports before any suite, in all its processes.
    """
    known = {kind.__name__ for kind in asv_types.benchmark_types}
    added = [
        kind for kind in (CudaTime, DeviceMemory, NvmlMemory, Energy, Paired) if kind.__name__ not in known
    ]
    asv_types.benchmark_types[:0] = added


def cuda_only(definition: Definition) -> Definition:
    """Leave a benchmark (a function, a method, or a suite class) out where torch has no GPU.

    That costs nothing, where a benchmark that skips itself costs a process for each of its cells. Asked when
    the suite is imported, and CUDA stays uninitialised.
    """
    return definition if device() == "cuda" else skip_benchmark(definition)


class CudaTime(MeasuredBenchmark):
    """`cudatime_*`: the time of a call on the GPU; without one, on the processor.

    Attributes of the suite:
        l2: "cold" (as by default) or "hot".
        queue: "as it comes" by default; "full" for calls that take the GPU less than a launch takes the
            processor. The note of a cell measured on a GPU says whether its calls were `host_bound`.
    """

    name_regex = re.compile(r"^cudatime_.+$")
    kind = "cudatime"

    def take(self, *params: Any) -> Sequence[float]:
        timer = self.timer()
        plan = self.plan(batch=timer.clock.batch)
        samples = self.sample(timer.clock.seconds, partial(self.func, *params), plan)
        self.note("cell", **timer.facts(len(samples)))
        return samples


class DeviceMemory(MeasuredBenchmark):
    """`devicemem_*`: the peak of memory during a call, in bytes.

    On a GPU what torch's allocator had handed out, weights and all: what the call needs to run. On a
    processor the growth of the process, whose total says more of its libraries than of the call. The note
    has both.
    """

    name_regex = re.compile(r"^devicemem_.+$")
    kind = "devicemem"
    quantity = "bytes"

    def take(self, *params: Any) -> Sequence[float]:
        on_gpu = device() == "cuda"
        peaks: list[Peak] = []

        def instrument(calls: Sequence[Call]) -> list[float]:
            seen = [self._probe(call) for call in calls]
            peaks.extend(seen)
            return [float(peak.total if on_gpu else peak.growth) for peak in seen]

        samples = self.sample(instrument, partial(self.func, *params), self.plan(warmups=1, batch=6))
        name = "CUDA allocator" if on_gpu else "resident memory"
        last = {"total_bytes": peaks[-1].total, "growth_bytes": peaks[-1].growth}
        self.note("cell", **facts(name, len(samples), Throttle(0)), **last)
        return list(samples)

    def _run_setups(self) -> None:
        self._probe = peak_probe()
        super()._run_setups()
