"""The base of all benchmark types of the meter: one cell of a benchmark, in a process of its own.

In: the function, its parameters and its attributes, as asv_runner gives them. Out: samples for asv, and notes
about them (`notes`). asv shows a cell that cannot be measured as n/a, and a note has the reason. Values that
are not finite never reach asv, which could not publish them.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from asv_runner.benchmarks._base import Benchmark, _get_first_attr
from asv_runner.benchmarks.mark import SkipNotImplemented

from benchmarks.meter.asv_plugins.notes import note
from benchmarks.meter.gpu.errors import NvmlError
from benchmarks.meter.gpu.nvml import Device, Throttle, open_cuda_device
from benchmarks.meter.host import is_out_of_memory, out_of_memory_reason
from benchmarks.meter.measure.clocks import Clock, clock, device, device_name, threads
from benchmarks.meter.measure.memory import UnavailableError, release
from benchmarks.meter.measure.sampling import Call, Instrument, Plan, Samples, measure_turns
from benchmarks.meter.measure.statistics import relative_error


class MeasuredBenchmark(Benchmark):
    """A benchmark that returns samples.

    A suite can set these attributes, on the function, its class or its module:
        repeat: (least, most, seconds), as in asv; or one number, to take that many samples however long it
            takes.
        warmup_time: seconds of warm-up, of one to ten calls; 0 for no warm-up.
        relative_error: of the median (of the ratio, for pairs) at which sampling stops.
        paper: the table of a paper that the numbers are for, such as "table1".
        rounds: how often asv starts a process for each cell.
    The setup runs once for a cell, not before each sample.
    """

    kind = ""
    """The name of the type in asv's metadata."""

    quantity = "seconds"
    """The unit of the samples."""

    _params: list[Any]
    """The values of each parameter; asv_runner's."""

    def __init__(self, name: str, func: Callable[..., Any], attr_sources: list[Any]) -> None:
        super().__init__(name, func, attr_sources)
        # asv stores the public attributes as metadata of the benchmark
        self.type = self.kind
        self.unit = self.quantity
        self.less_is_better = True
        self.paper = str(self.attribute("paper", ""))
        self.rounds = int(self.attribute("rounds", 1))
        self._cell: list[str] = []

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute of the suite; `asv run -a` and `--quick` override it."""
        return _get_first_attr(self._attr_sources, name, default)

    def plan(self, **defaults: Any) -> Plan:
        """Return the plan that the attributes ask for."""
        plan = Plan(**defaults)
        least, most, seconds = plan.min_samples, plan.max_samples, plan.seconds
        repeat = self.attribute("repeat", 0)
        if isinstance(repeat, tuple | list):
            least, most, seconds = int(repeat[0]), int(repeat[1]), float(repeat[2])
        elif repeat:
            least, most, seconds = int(repeat), int(repeat), math.inf
        warmup_time = float(self.attribute("warmup_time", plan.warmup_seconds))
        warmups = 0 if warmup_time == 0 else plan.warmups
        return Plan(warmups, warmup_time, least, most, seconds, plan.batch)

    def target(self) -> float:
        """Return the relative error at which sampling stops."""
        return float(self.attribute("relative_error", 0.01))

    def set_param_idx(self, param_idx: int) -> None:
        super().set_param_idx(param_idx)
        (cell,) = itertools.islice(itertools.product(*self.params), param_idx, param_idx + 1)
        self._cell = list(cell)

    def do_setup(self) -> bool:
        """Run the setups; return True if the cell is skipped."""
        if tuple(self._current_params) in self._skip_tuples:
            return True
        try:
            self._attempt(self._run_setups, NotImplementedError)
        except SkipNotImplemented:
            return True
        return False

    def run(self, *params: Any) -> dict[str, Any]:
        """Return the samples of this cell in asv's form.

        Raises:
            SkipNotImplemented: if the cell cannot be measured here; a note says why.
        """
        samples = self._attempt(lambda: self._finite_samples(params), SkipNotImplemented)
        return {"samples": samples, "number": 1}

    def take(self, *params: Any) -> Sequence[float]:
        """Return the samples of this cell, and write the note that belongs to them."""
        raise NotImplementedError

    def sample(self, instrument: Instrument, call: Call, plan: Plan) -> list[float]:
        """Return samples of one call, taken until their median is known well enough."""

        def suffice(samples: Samples) -> bool:
            return relative_error(samples[:, 0]) <= self.target()

        return [float(sample) for sample in measure_turns(instrument, [call], plan, suffice)[:, 0]]

    def timer(self) -> "Timer":
        """Return the clock that the attributes ask for, on the device that torch would use."""
        watch = ThrottleWatch()
        queue = self.attribute("queue", "as it comes")
        return Timer(clock(self.attribute("l2", "cold"), watch.look, queue), watch)

    def note(self, kind: str, **fields: Any) -> None:
        """Write a note about this cell."""
        note(kind, benchmark=self.name, params=self._cell, **fields)

    def _finite_samples(self, params: Sequence[Any]) -> list[float]:
        samples = [float(sample) for sample in self.take(*params) if math.isfinite(sample)]
        if not samples:
            raise UnavailableError("no sample is a finite number")
        return samples

    def _run_setups(self) -> None:
        for setup in self._setups:
            setup(*self._build_params())

    def _attempt(self, function: Callable[[], Any], skip_on: type[Exception]) -> Any:
        """Return the function's result; skip the cell on `skip_on`, out of memory, or `UnavailableError`."""
        try:
            return function()
        except (skip_on, UnavailableError, NvmlError) as error:
            reason = str(error) or type(error).__name__
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = out_of_memory_reason(error)
        release()
        print(f"n/a: {reason}")  # `asv run --show-stderr` shows it
        self.note("skipped", reason=reason)
        raise SkipNotImplemented(reason)


class ThrottleWatch:
    """Collects the GPU's clock and its throttle reasons at each look; nothing if NVML cannot be asked.

    Attributes:
        seen: every reason that held the clock down at any look.
        sm_mhz: the lowest and the highest clock of the multiprocessors; None if it is not known.
    """

    def __init__(self) -> None:
        self.seen = Throttle(0)
        self.sm_mhz: tuple[int, int] | None = None
        self._device: Device | None = None
        if device() == "cuda":
            import torch

            self._device = open_cuda_device(torch.cuda.current_device(), missing="null")

    def look(self) -> None:
        """Add the clock of this moment, and the reasons that hold it down."""
        if self._device is None:
            return
        try:
            self.seen |= self._device.throttle() or 0
            now = self._device.sm_clock_mhz()
        except NvmlError:
            self._device = None
            return
        if now is not None:
            low, high = self.sm_mhz or (now, now)
            self.sm_mhz = min(low, now), max(high, now)


@dataclass(frozen=True)
class Timer:
    """A clock, and the watch of the GPU while it runs."""

    clock: Clock
    watch: ThrottleWatch

    def facts(self, iterations: int) -> dict[str, Any]:
        """Return how the samples were taken, for a note. Call this when all are taken.

        Args:
            iterations: how many samples there are.
        """
        how = facts(self.clock.name, iterations, self.watch.seen, self.clock.l2)
        return {**how, **self.clock.launches, "sm_mhz": self.watch.sm_mhz}


def facts(name: str, iterations: int, throttle: Throttle, l2: str | None = None) -> dict[str, Any]:
    """Return how samples were taken, for a note.

    Args:
        name: of the clock or the other instrument.
        iterations: how many samples there are.
        throttle: the reasons that held the GPU's clock down.
        l2: the state in which calls found the L2 cache; None where it does not matter.
    """
    return {
        "device": device_name(),
        "threads": threads(),
        "l2": l2,
        "clock": name,
        "iterations": iterations,
        "throttle": list(throttle.names),
        "marked": throttle.invalidates,
    }
