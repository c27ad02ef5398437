"""One case: every contender is held against the reference, then against the others, and then timed in turns.

In: a case. Out: a `CaseRecord`. A contender that raises, runs out of memory or gives other numbers than the
reference is a result that says so, and has no time.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from benchmarks.kernel_table.cases import arguments
from benchmarks.kernel_table.contenders import BASELINES, contenders, reference
from benchmarks.kernel_table.operation import Arguments, Call, Case, Maker, Outputs
from benchmarks.kernel_table.records import CaseRecord, ContenderResult
from benchmarks.kernel_table.registry import OPERATIONS
from benchmarks.meter.host import first_line, is_out_of_memory, out_of_memory_reason
from benchmarks.meter.measure.clocks import clock, device
from benchmarks.meter.measure.memory import Peak, release
from benchmarks.meter.measure.sampling import Plan
from benchmarks.meter.measure.variants import measure_variants

TOLERANCES = {
    "cpu": {"float32": 1e-4, "bfloat16": 2e-2, "float16": 4e-3},
    "cuda": {"float32": 2e-3, "bfloat16": 2e-2, "float16": 4e-3},
}
"""The largest error that is put down to rounding, as a share of the largest number in the reference. On a GPU
some contenders multiply float32 as TF32, which has ten bits; the error of each stands beside its time."""

TARGET = 0.01
"""The relative error of a ratio at which sampling stops."""

Report = Callable[[str, str], None]
"""Told the contender that is about to run (empty for all of them), and what for."""


class WrongOutputError(Exception):
    """A contender's numbers are not those of the reference."""


class DeviceLostError(Exception):
    """A contender left the GPU in a state in which nothing more can run in this process."""


@dataclass(frozen=True)
class Checked:
    """A contender that gave the right numbers.

    Attributes:
        call: computes the case.
        error: see `ContenderResult`.
    """

    call: Call
    error: float


def measure(case: Case, excluded: Mapping[str, str], seconds: float, report: Report) -> CaseRecord:
    """Check and time the contenders of a case.

    Args:
        case: what to compute.
        excluded: contenders to leave alone, and why.
        seconds: of samples, for each contender.
        report: see `Report`.

    Raises:
        DeviceLostError: if a contender left the GPU unusable.
    """
    makers = contenders(case, device())
    results = {name: ContenderResult(failed=excluded[name]) for name in makers if name in excluded}
    checked = {}
    for name, outcome in check(case, _without(makers, excluded), report):
        if isinstance(outcome, Checked):
            checked[name] = outcome
        else:
            results[name] = outcome
    baseline = next((name for name in BASELINES[device()] if name in checked), next(iter(checked), ""))
    report("", "in turns")
    timed, facts = _time(checked, baseline, seconds) if checked else ({}, {})
    results |= timed
    return CaseRecord(case, {name: results[name] for name in makers}, baseline=baseline, clock=facts)


def check(
    case: Case, makers: Mapping[str, Maker], report: Report = lambda *_: None
) -> Iterable[tuple[str, Checked | ContenderResult]]:
    """Each contender, ready to be timed, or a result that says why not.

    The shortened case is compared with the reference, the whole one with the first contender that got there.

    Raises:
        DeviceLostError: if a contender left the GPU unusable.
    """
    given = arguments(case, device())
    first = ""
    expected: Outputs = ()
    for name, maker in makers.items():
        error, failed, skipped = None, "", ""
        try:
            report(name, "short case")
            error = _short_error(case, maker)
            report(name, "whole case")
            call = maker(case, own(case, given))
            with torch.inference_mode():
                outputs = copied(call())
            # the first one with itself, so that its outputs are numbers
            require_equal(outputs, expected or outputs, tolerance(case), first or name)
        except Exception as caught:  # noqa: BLE001 - whatever it is, the other contenders go on
            failed = reason(caught)
            if is_out_of_memory(caught):
                failed, skipped = "", failed
        if error is None or failed or skipped:
            _require_device(name)  # not in the handler, where the error's frames hold tensors
            yield name, ContenderResult(error, failed=failed, skipped=skipped)
            continue
        if not first:
            first, expected = name, outputs
        yield name, Checked(call, error)


def tolerance(case: Case) -> float:
    """See `TOLERANCES`."""
    return TOLERANCES[device()][case.dtype]


def peak_growth(case: Case, maker: Maker, probe: Callable[[Call], Peak]) -> int:
    """By how many bytes memory grows at the peak of a call; a call before it compiles what is to be."""
    call = maker(case, arguments(case, device()))
    with torch.inference_mode():
        call()
        return probe(call).growth


def own(case: Case, given: Arguments) -> Arguments:
    """The arguments with a state of the contender's own, if it updates one."""
    state = OPERATIONS[case.operation].updates
    return {**given, state: given[state].clone()} if state else given


def copied(outputs: Outputs) -> Outputs:
    """Outputs that no later call changes: a step gives out the state that it updates."""
    return tuple(output.clone() for output in outputs)


def require_equal(outputs: Outputs, expected: Outputs, tolerance: float, whose: str) -> float:
    """How far outputs are from what is expected; see `ContenderResult.error`.

    Only as many outputs are compared as there are: not all contenders give a state.

    Raises:
        WrongOutputError: if that is more than the tolerance, or no number.
    """
    errors = []
    for got, wanted in zip(outputs, expected, strict=False):
        if got.shape != wanted.shape:
            message = f"the shape is {tuple(got.shape)}, that of {whose} {tuple(wanted.shape)}"
            raise WrongOutputError(message)
        error = float((got.double() - wanted).abs().max() / wanted.abs().max())
        if not error <= tolerance:
            message = f"differs from {whose} by {error:.2g} of the largest number"
            raise WrongOutputError(message)
        errors.append(error)
    return max(errors)


def _short_error(case: Case, maker: Maker) -> float:
    short = case.shortened
    given, expected = _short_reference(short)
    with torch.inference_mode():
        outputs = maker(short, own(short, given))()
    return require_equal(outputs, expected, tolerance(case), "the reference")


@cache
def _short_reference(short: Case) -> tuple[Arguments, Outputs]:
    given = arguments(short, device())
    return given, reference(short, own(short, given))


def _time(
    checked: Mapping[str, Checked], baseline: str, seconds: float
) -> tuple[dict[str, ContenderResult], dict[str, Any]]:
    """Seconds a call, all contenders in turns, and how they were taken."""
    # a step and a fused scan are shorter than their launch
    used = clock(queue="full")
    count = len(checked)
    plan = Plan(
        warmups=3,
        warmup_seconds=0.2 * seconds * count,
        min_samples=10,
        max_samples=300,
        seconds=seconds * count,
        batch=used.batch,
    )
    calls: dict[Hashable, Call] = {name: contender.call for name, contender in checked.items()}
    with torch.inference_mode():
        outcomes = measure_variants(used.seconds, calls, baseline, plan, TARGET)
    results = {
        name: ContenderResult(
            error=contender.error,
            samples=outcomes[name].samples,
            ratio=outcomes[name].ratio,
            skipped=outcomes[name].skipped,
        )
        for name, contender in checked.items()
    }
    return results, {"name": used.name, "l2": used.l2, **used.launches}


def with_peaks(record: CaseRecord, peaks: Mapping[str, int]) -> CaseRecord:
    """The record with each contender's peak of memory."""
    results = {name: replace(result, peak_bytes=peaks.get(name)) for name, result in record.results.items()}
    return replace(record, results=results)


def reason(error: Exception) -> str:
    """One line that says what went wrong."""
    if is_out_of_memory(error):
        return out_of_memory_reason(error)
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


def _require_device(name: str) -> None:
    """Give memory back, and see whether the GPU still answers.

    Raises:
        DeviceLostError: if not.
    """
    try:
        release()
        if device() == "cuda":
            torch.cuda.synchronize()
    except RuntimeError as error:
        message = f"{name} broke the device: {reason(error)}"
        raise DeviceLostError(message) from error


def _without(makers: Mapping[str, Maker], excluded: Iterable[str]) -> dict[str, Maker]:
    return {name: maker for name, maker in makers.items() if name not in excluded}
