"""How many samples to take: warm up, then measure in turns until the answer is known well enough.

In: calls, and an instrument that measures each of a list of calls. Out: an array of samples with one row for
each turn.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.meter.measure.statistics import MINIMUM_SAMPLES

Call = Callable[[], object]
Instrument = Callable[[Sequence[Call]], list[float]]
"""Makes the calls, in order, and returns what it measured of each."""

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """When to stop sampling.

    Attributes:
        warmups: calls of each variant before the first sample; the first call also compiles and tunes.
        warmup_seconds: no warm-up starts later than this after the end of the first one.
        min_samples: how many to take however long they last.
        max_samples: how many to take at most.
        seconds: once `min_samples` are taken, no batch starts later than this after the warm-up.
        batch: samples between two checks whether they suffice.
    """

    warmups: int = 10
    warmup_seconds: float = 1.0
    min_samples: int = MINIMUM_SAMPLES
    max_samples: int = 1000
    seconds: float = 5.0
    batch: int = 10


def measure_turns(
    instrument: Instrument,
    calls: Sequence[Call],
    plan: Plan,
    suffice: Callable[[Samples], bool],
    *,
    seed: int = 0,
) -> Samples:
    """Return samples of each call, (turns, calls). A turn makes each call once, in an order drawn anew.

    Stopping as soon as the samples agree favors sets that agree by chance. The batches grow with the number
    of samples, so that there are few occasions to stop.

    Args:
        instrument: measures the calls.
        calls: one call, or the variants that are compared.
        plan: when to stop.
        suffice: whether the samples so far, (turns, calls), are enough.
        seed: of the random orders.
    """
    orders = random.Random(seed)
    turn_seconds = _warm_up(instrument, calls, plan)
    samples: Samples = np.empty((0, len(calls)))
    start = time.perf_counter()
    while len(samples) < plan.max_samples:
        spent = time.perf_counter() - start
        if len(samples) >= plan.min_samples and (spent >= plan.seconds or suffice(samples)):
            break
        turn_seconds = spent / len(samples) if len(samples) else turn_seconds
        turns = _batch(plan, len(samples), turn_seconds, plan.seconds - spent)
        samples = np.vstack([samples, _turns(instrument, calls, turns, orders)])
    return samples


def _warm_up(instrument: Instrument, calls: Sequence[Call], plan: Plan) -> float:
    """Warm up; return the seconds of wall time that a turn takes, infinity if that was not measured."""
    if not plan.warmups:
        return math.inf
    instrument(calls)
    first_end = end = time.perf_counter()
    seconds = math.inf
    for _ in range(plan.warmups - 1):
        if end - first_end > plan.warmup_seconds:
            break
        start = time.perf_counter()
        instrument(calls)
        end = time.perf_counter()
        seconds = end - start
    return seconds


def _batch(plan: Plan, taken: int, turn_seconds: float, left: float) -> int:
    """How many turns to take next: as many as the seconds left allow, but no fewer than are needed."""
    turns = max(plan.batch, taken // 2)
    if turns * turn_seconds > left:
        turns = int(left / turn_seconds) if left > 0 else 0
    needed = max(1, plan.min_samples - taken)
    return min(max(needed, turns), plan.max_samples - taken)


def _turns(instrument: Instrument, calls: Sequence[Call], turns: int, orders: random.Random) -> Samples:
    shuffled = [orders.sample(range(len(calls)), len(calls)) for _ in range(turns)]
    measured = instrument([calls[index] for order in shuffled for index in order])
    samples = np.empty((turns, len(calls)))
    np.put_along_axis(samples, np.array(shuffled), np.reshape(measured, samples.shape), axis=1)
    return samples
