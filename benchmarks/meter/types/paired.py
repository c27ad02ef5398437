"""The benchmark type that compares: variants of one thing, measured in turn in one process."""

import os
import re
from collections.abc import Callable, Hashable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.meter.gpu.nvml import Throttle
from benchmarks.meter.host import is_out_of_memory, out_of_memory_reason
from benchmarks.meter.measure.memory import UnavailableError, peak_probe
from benchmarks.meter.measure.sampling import Call, Instrument, Plan
from benchmarks.meter.measure.statistics import Measure, Ratio, verdict
from benchmarks.meter.measure.variants import Outcome, Store, measure_variants
from benchmarks.meter.types.measured import MeasuredBenchmark, facts

UNITS: dict[Measure, str] = {"time": "seconds", "memory": "bytes"}


@dataclass(frozen=True)
class Holding:
    """A call together with the size of what it keeps in memory, such as a model's weights.

    All variants of a group lie in memory at once, so the total does not tell how much is one variant's.

    Attributes:
        call: what to measure.
        held_bytes: the size of what the call keeps; it is added to the growth during the call.
    """

    call: Call
    held_bytes: int

    def __call__(self) -> object:
        return self.call()


class Paired(MeasuredBenchmark):
    """`paired_*`: each variant's time or memory, and its ratio to the baseline's with an interval.

    The benchmark and its setup are called with the parameters of the cell except the variant. The benchmark
    returns a call for each variant: `{variant: call}`. Memory is the growth during the call, plus what a
    `Holding` says that the call keeps.

    Attributes of the suite:
        variant: the name of the parameter whose values are the variants.
        baseline: the value that the others are compared with.
        measure: "time" (the default, with the clock of `cudatime_*`) or "memory".
        min_effect: the smallest difference that is called one; 0.01 by default.
        l2, queue: as for `cudatime_*`.
        repeat: its seconds are for each variant.
    """

    name_regex = re.compile(r"^paired_.+$")
    kind = "paired"

    def __init__(self, name: str, func: Callable[..., Any], attr_sources: list[Any]) -> None:
        super().__init__(name, func, attr_sources)
        self.variant = str(self.attribute("variant", ""))
        self.measure: Measure = self.attribute("measure", "time")
        self._baseline: Hashable = self.attribute("baseline", None)
        self._axis = self.param_names.index(self.variant) if self.variant in self.param_names else 0
        self._variants: list[Hashable] = self._params[self._axis] if self._params else []
        self._check_attributes()
        self.unit = UNITS[self.measure]
        self.baseline = self.params[self._axis][self._variants.index(self._baseline)]
        self._found: Outcome | None = None

    def check(self, root: Any) -> bool:
        """Return whether the functions take the right parameters: all but the variant."""
        whole = self._params
        self._params = _without(whole, self._axis)
        try:
            return bool(super().check(root))
        finally:
            self._params = whole

    def do_setup(self) -> bool:
        self._found = Store.of_this_process().pop(self._key(self._cell[self._axis]))
        return False if self._found else super().do_setup()

    def do_teardown(self) -> None:
        if not self._found:
            super().do_teardown()

    def take(self, *group: Any) -> Sequence[float]:
        outcome = self._found or self._measure_all(group)
        if outcome.skipped:
            raise UnavailableError(outcome.skipped)
        self.note("cell", **outcome.facts)
        if outcome.ratio:
            self._note_pair(outcome.ratio)
        return outcome.samples

    def _build_params(self) -> tuple[Any, ...]:
        """Return the arguments of setup, benchmark and teardown; asv_runner calls this."""
        cache = () if self._current_cache is None else (self._current_cache,)
        return (*cache, *_without(self._current_params, self._axis))

    def _measure_all(self, group: Sequence[Any]) -> Outcome:
        """Measure all variants; return the outcome of this cell's, and store those of the others."""
        try:
            outcomes = self._outcomes(self._offered(group))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # the other cells of the group need not try: each would make all variants again
            outcomes = dict.fromkeys(self._variants, Outcome(skipped=out_of_memory_reason(error)))
        store = Store.of_this_process()
        own = self._cell[self._axis]
        for value, text in zip(self._variants, self.params[self._axis], strict=True):
            missing = Outcome(skipped=f"the benchmark offers no {self.variant} {text}")
            if text == own:
                asked = outcomes.get(value, missing)
            else:
                store.put(self._key(text), outcomes.get(value, missing))
        return asked

    def _offered(self, group: Sequence[Any]) -> Mapping[Hashable, Call]:
        calls: Mapping[Hashable, Call] = self.func(*group)
        if not set(calls) <= set(self._variants):
            message = f"{self.name} offers variants that are not values of {self.variant}: {list(calls)}"
            raise ValueError(message)
        return calls

    def _outcomes(self, calls: Mapping[Hashable, Call]) -> dict[Hashable, Outcome]:
        if self.measure == "memory":
            return self._compared(calls, self._growths, self.plan(warmups=1, batch=6), _memory_facts)
        timer = self.timer()
        return self._compared(calls, timer.clock.seconds, self.plan(batch=timer.clock.batch), timer.facts)

    def _compared(
        self,
        calls: Mapping[Hashable, Call],
        instrument: Instrument,
        plan: Plan,
        described: Callable[[int], dict[str, Any]],
    ) -> dict[Hashable, Outcome]:
        """Measure the calls; return each variant's outcome, with how its samples were taken."""
        measured = measure_variants(instrument, calls, self._baseline, _for_each(calls, plan), self.target())
        return {
            value: replace(outcome, facts=described(len(outcome.samples)))
            for value, outcome in measured.items()
        }

    def _run_setups(self) -> None:
        if self.measure == "memory":
            self._probe = peak_probe()
        super()._run_setups()

    def _growths(self, calls: Sequence[Call]) -> list[float]:
        """The bytes by which memory grows at the peak of each call, plus those that the call holds."""
        held = [call.held_bytes if isinstance(call, Holding) else 0 for call in calls]
        return [float(self._probe(call).growth + more) for call, more in zip(calls, held, strict=True)]

    def _note_pair(self, ratio: Ratio) -> None:
        self.note(
            "pair",
            variant_axis=self.variant,
            baseline=self.baseline,
            variant=self._cell[self._axis],
            measure=self.measure,
            ratio=ratio.value,
            low=ratio.low,
            high=ratio.high,
            confidence=ratio.confidence,
            verdict=verdict(ratio, float(self.attribute("min_effect", 0.01)), self.measure),
        )

    def _key(self, variant: str) -> list[str]:
        environment = os.environ.get("ASV_ENV_NAME", "")
        return [environment, self.name, self.version, *_without(self._cell, self._axis), variant]

    def _check_attributes(self) -> None:
        if self.variant not in self.param_names:
            message = f"{self.name}: variant is {self.variant!r}, but the parameters are {self.param_names}"
        elif self.measure not in UNITS:
            message = f"{self.name}: measure is {self.measure!r}, but must be one of {list(UNITS)}"
        elif self._baseline not in self._variants:
            message = (
                f"{self.name}: baseline is {self._baseline!r}, but {self.variant} is one of {self._variants}"
            )
        else:
            return
        raise ValueError(message)


def _memory_facts(iterations: int) -> dict[str, Any]:
    return facts("peak memory", iterations, Throttle(0))


def _without(values: Sequence[Any], position: int) -> list[Any]:
    return [value for index, value in enumerate(values) if index != position]


def _for_each(calls: Sized, plan: Plan) -> Plan:
    """The plan for all calls together, from a plan whose seconds are for one call."""
    seconds, warmup_seconds = plan.seconds * len(calls), plan.warmup_seconds * len(calls)
    return replace(plan, seconds=seconds, warmup_seconds=warmup_seconds)
