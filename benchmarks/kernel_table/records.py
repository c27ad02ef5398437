"""What was found out about a case: plain values that JSON can hold."""

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from perfmamba_kernels.costs import Work

from benchmarks.kernel_table.operation import Case
from benchmarks.kernel_table.rates import MachineRates
from benchmarks.meter.measure.statistics import Ratio


@dataclass(frozen=True)
class ContenderResult:
    """What was found out about one contender.

    Attributes:
        error: the largest difference from the float64 reference over the largest number there, on the
            shortened case; None if nothing came out.
        samples: seconds a call, one a turn; none if it failed or was skipped.
        ratio: of its time to the baseline's; None for the baseline.
        peak_bytes: by which memory grew during a call, outputs included.
        failed: what it did wrong; empty if nothing.
        skipped: why it cannot run here, such as "out of memory: ..."; empty if it can.
    """

    error: float | None = None
    samples: list[float] = field(default_factory=list)
    ratio: Ratio | None = None
    peak_bytes: int | None = None
    failed: str = ""
    skipped: str = ""

    @property
    def seconds(self) -> float | None:
        """The median."""
        return median(self.samples) if self.samples else None


@dataclass(frozen=True)
class CaseRecord:
    """A case and its contenders.

    Attributes:
        case: what was asked.
        results: by contender.
        baseline: the contender that the others are compared with; empty if none ran.
        work: the least that the case needs.
        floor_s: the least time for that, at the rates of this machine.
        clock: how time was taken.
        failed: why the case as a whole has no times; empty if it has.
    """

    case: Case
    results: dict[str, ContenderResult]
    baseline: str = ""
    work: Work | None = None
    floor_s: float | None = None
    clock: dict[str, Any] = field(default_factory=dict)
    failed: str = ""

    @property
    def troubled(self) -> bool:
        """Whether the case, or any contender in it, failed."""
        return bool(self.failed) or any(result.failed for result in self.results.values())


@dataclass(frozen=True)
class KernelTable:
    """All of a run.

    Attributes:
        machine: what it ran on, and with what.
        rates: of the machine; None before they are measured.
        records: of the cases so far.
        left: cases not measured, for lack of time.
    """

    machine: dict[str, Any]
    rates: MachineRates | None = None
    records: list[CaseRecord] = field(default_factory=list)
    left: int = 0

    def as_json(self) -> dict[str, Any]:
        """The table as JSON holds it, with the derived numbers."""
        document = asdict(self)
        for record, fields in zip(self.records, document["records"], strict=True):
            for name, result in record.results.items():
                fields["results"][name]["seconds"] = result.seconds
        return document
