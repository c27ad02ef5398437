"""The run: rates first, then case after case; what is known is handed out after each.

In: cases and limits. Out: the `KernelTable`, each time that it has grown.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from perfmamba_kernels.costs import floor_seconds

from benchmarks.kernel_table.cases import work
from benchmarks.kernel_table.measuring import with_peaks
from benchmarks.kernel_table.operation import Case
from benchmarks.kernel_table.processes import ComputeProcess, ComputeProcesses, ContenderLostError
from benchmarks.kernel_table.rates import MachineRates
from benchmarks.kernel_table.records import CaseRecord, KernelTable
from benchmarks.meter.workers import OrderFailedError

_LONGEST_S, _GRACE_S = 240.0, 30.0
"""For a case, compilation included: whatever takes longer hangs. At the deadline a case has this grace."""


@dataclass(frozen=True)
class Limits:
    """How long a run may take.

    Attributes:
        seconds: of samples, for each contender of a case.
        deadline: when to be done, by `time.monotonic`.
    """

    seconds: float
    deadline: float

    @property
    def patience_s(self) -> float:
        """How long to wait for an answer that is asked for now."""
        return min(_LONGEST_S, max(0.0, self.deadline - time.monotonic()) + _GRACE_S)


@dataclass
class _Pace:
    """How long cases took: one that would not be done in time is not started."""

    deadline: float
    longest_s: dict[str, float] = field(default_factory=dict)

    def has_time_for(self, case: Case) -> bool:
        """Whether the longest case of the operation so far would still fit."""
        return time.monotonic() + self.longest_s.get(case.operation, 0.0) < self.deadline

    def add(self, case: Case, seconds: float) -> None:
        """Count a case that is over."""
        self.longest_s[case.operation] = max(seconds, self.longest_s.get(case.operation, 0.0))


def run(
    cases: Sequence[Case], processes: ComputeProcesses, limits: Limits, machine: dict[str, Any]
) -> Iterator[KernelTable]:
    """Measure the cases, those there is time for.

    Raises:
        OrderFailedError: if not even the rates of the machine can be measured; so does a
            `ContenderLostError`.
    """
    dtypes = tuple(dict.fromkeys(case.dtype for case in cases))
    rates = processes.times.ask("rates", dtypes, timeout_s=limits.patience_s)
    table = KernelTable(machine, rates, left=len(cases))
    yield table
    pace = _Pace(limits.deadline)
    for case in cases:
        if not pace.has_time_for(case):
            continue
        began = time.monotonic()
        record = _with_floor(_measured(case, processes, limits), rates)
        pace.add(case, time.monotonic() - began)
        table = replace(table, records=[*table.records, record], left=table.left - 1)
        yield table


def _with_floor(record: CaseRecord, rates: MachineRates) -> CaseRecord:
    """The record with the least work that its case needs, and the least time for that."""
    needed = work(record.case)
    return replace(record, work=needed, floor_s=floor_seconds(needed, rates.of(record.case.dtype, needed)))


def _measured(case: Case, processes: ComputeProcesses, limits: Limits) -> CaseRecord:
    """The case without those contenders that a process was lost with."""
    excluded: dict[str, str] = {}
    while True:
        try:
            record = processes.times.ask(
                "measure", case, excluded, limits.seconds, timeout_s=limits.patience_s
            )
        except ContenderLostError as lost:
            if not lost.contender or lost.contender in excluded:
                return CaseRecord(case, {}, failed=str(lost))
            excluded[lost.contender] = str(lost)
        except OrderFailedError as error:
            return CaseRecord(case, {}, failed=str(error))
        else:
            return with_peaks(record, _peaks(record, processes.memory, limits.patience_s))


def _peaks(record: CaseRecord, process: ComputeProcess, patience_s: float) -> dict[str, int]:
    """The peak of each contender that was timed, where it can be measured."""
    timed = [name for name, result in record.results.items() if result.samples]
    try:
        peaks: dict[str, int] = process.ask("peaks", record.case, timed, timeout_s=patience_s)
    except (ContenderLostError, OrderFailedError):
        return {}
    return peaks
