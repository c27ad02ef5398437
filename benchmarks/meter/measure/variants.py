"""Variants that are measured in turn in one process, and outcomes that are kept for later processes.

In: a call for each variant. Out: an `Outcome` for each: its samples, and its ratio to the baseline.

asv starts a process for each variant. The first one measures all variants and puts the outcomes of the others
into the folder that METER_STORE names, where their processes find them.
"""

import json
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.meter.host import is_out_of_memory, out_of_memory_reason, replacing
from benchmarks.meter.measure.memory import release
from benchmarks.meter.measure.sampling import Call, Instrument, Plan, Samples, measure_turns
from benchmarks.meter.measure.statistics import MINIMUM_SAMPLES, Ratio, ratio_interval, relative_error

STORE_VARIABLE = "METER_STORE"
CONFIDENCE = 0.99


@dataclass(frozen=True)
class Outcome:
    """The measurements of one variant.

    Attributes:
        samples: one for each turn; empty if the variant was skipped.
        skipped: why there are no samples, such as "out of memory: ..."; empty if there are some.
        ratio: to the baseline. None for the baseline itself, if the baseline was skipped, or if there were
            fewer than six turns.
        facts: how it was measured, for notes; JSON can hold them.
    """

    samples: list[float] = field(default_factory=list)
    skipped: str = ""
    ratio: Ratio | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def measure_variants(
    instrument: Instrument,
    calls: Mapping[Hashable, Call],
    baseline: Hashable,
    plan: Plan,
    target: float,
) -> dict[Hashable, Outcome]:
    """Measure every variant once in each turn, in an order drawn anew, until the ratios are known well.

    A variant that runs out of memory by itself is skipped, and the others are measured without it.

    Args:
        instrument: measures the calls.
        calls: one for each variant's name.
        baseline: the name of the variant that the others are compared with.
        plan: when to stop.
        target: the relative error of each ratio at which to stop.

    Raises:
        RuntimeError: (torch.OutOfMemoryError) if the variants run out of memory together, although each of
            them fits alone.
    """
    runnable = dict(calls)
    skipped: dict[Hashable, Outcome] = {}
    while runnable:
        try:
            samples = _measure(instrument, runnable, baseline, plan, target)
            return {**skipped, **_outcomes(list(runnable), samples, baseline)}
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            together = error.with_traceback(None)  # its frames hold tensors
        too_large = _too_large_alone(instrument, runnable)
        if not too_large:
            raise together
        skipped |= {name: Outcome(skipped=reason) for name, reason in too_large.items()}
        runnable = {name: call for name, call in runnable.items() if name not in too_large}
    return skipped


class Store:
    """Outcomes in the files of a folder; without a folder, nothing is kept and nothing is found."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self._folder = Path(folder) if folder else None

    @classmethod
    def of_this_process(cls) -> "Store":
        """Return the store in the folder that METER_STORE names, or one without a folder."""
        return cls(os.environ.get(STORE_VARIABLE))

    def put(self, key: Sequence[str], outcome: Outcome) -> None:
        """Keep an outcome under a key; it replaces an older one."""
        if self._folder is None:
            return
        with replacing(self._path(self._folder, key)) as partial:
            partial.write_text(json.dumps(asdict(outcome), allow_nan=False))

    def pop(self, key: Sequence[str]) -> Outcome | None:
        """Return the outcome kept under a key, if any, and remove it: each measurement counts once."""
        if self._folder is None:
            return None
        path = self._path(self._folder, key)
        try:
            fields = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        path.unlink()
        ratio = fields.pop("ratio")
        return Outcome(**fields, ratio=Ratio(**ratio) if ratio else None)

    def clear(self) -> None:
        """Remove all outcomes, because another commit is installed."""
        if self._folder is not None:
            for path in self._folder.glob("*.json"):
                path.unlink()

    @staticmethod
    def _path(folder: Path, key: Sequence[str]) -> Path:
        return folder / f"{sha256(json.dumps(list(key)).encode()).hexdigest()}.json"


def _measure(
    instrument: Instrument, calls: Mapping[Hashable, Call], baseline: Hashable, plan: Plan, target: float
) -> Samples:
    names = list(calls)

    def suffice(samples: Samples) -> bool:
        return _relative_error(samples, names, baseline) <= target

    return measure_turns(instrument, list(calls.values()), plan, suffice)


def _outcomes(names: Sequence[Hashable], samples: Samples, baseline: Hashable) -> dict[Hashable, Outcome]:
    column = dict(zip(names, samples.T, strict=True))
    base = column.get(baseline)
    return {
        name: Outcome(_finite(own), ratio=None if name == baseline else _ratio(base, own))
        for name, own in column.items()
    }


def _too_large_alone(instrument: Instrument, calls: Mapping[Hashable, Call]) -> dict[Hashable, str]:
    """The reason for each variant that runs out of memory by itself."""
    reasons = {}
    for name, call in calls.items():
        release()
        try:
            instrument([call])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reasons[name] = out_of_memory_reason(error)
    release()
    return reasons


def _relative_error(samples: Samples, names: Sequence[Hashable], baseline: Hashable) -> float:
    """The largest relative error of the variants' ratios to the baseline, or of their medians without one.

    It comes from order statistics, which are quicker than the bootstrap and about as wide.
    """
    columns = list(samples.T)
    if baseline in names and len(names) > 1:
        base = columns.pop(names.index(baseline))
        if not (base > 0).all():
            return float("inf")
        columns = [own / base for own in columns]
    return max(relative_error(column, confidence=CONFIDENCE) for column in columns)


def _ratio(baseline: Samples | None, variant: Samples) -> Ratio | None:
    if baseline is None:
        return None
    both = np.isfinite(baseline) & np.isfinite(variant)
    baseline, variant = baseline[both], variant[both]
    if len(baseline) < MINIMUM_SAMPLES or min(baseline.min(), variant.min()) <= 0:
        return None
    return ratio_interval(baseline, variant, confidence=CONFIDENCE)


def _finite(samples: Samples) -> list[float]:
    return [float(sample) for sample in samples if np.isfinite(sample)]
