"""The benchmark types that the meter adds to asv; `register()` makes asv_runner know them.

In: suites with functions or methods called `cudatime_*`, `devicemem_*`, `nvmlmem_*`, `energy_*`, `paired_*`.
Out: samples, which asv compares by their ranks, and notes. For all quantities, lower is better.
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
    """Put the types before asv's own; calling this again changes nothing.

    Call this in the `__init__.py` of the suites: asv imports it before any suite, in all its processes.
    """
    known = {kind.__name__ for kind in asv_types.benchmark_types}
    added = [
        kind for kind in (CudaTime, DeviceMemory, NvmlMemory, Energy, Paired) if kind.__name__ not in known
    ]
    asv_types.benchmark_types[:0] = added


def cuda_only(definition: Definition) -> Definition:
    """Leave out a benchmark (a function, a method, or a suite class) if torch has no GPU.

    This costs nothing, whereas a benchmark that skips itself costs a process for each of its cells. It is
    decided when the suite is imported, without initializing CUDA.
    """
    return definition if device() == "cuda" else skip_benchmark(definition)


class CudaTime(MeasuredBenchmark):
    """`cudatime_*`: the time of a call on the GPU; without a GPU, on the CPU.

    Attributes of the suite:
        l2: "cold" (the default) or "hot".
        queue: "as it comes" (the default), or "full" for calls that take the GPU less time than their launch
            takes the CPU. The note of a cell measured on a GPU says whether its calls were `host_bound`.
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

    On a GPU it is what torch's allocator has handed out, with the weights: all that the call needs to run. On
    a CPU it is the growth of the process, because the total says more about the libraries than about the
    call. The note has both.
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
