"""What samples say: how well their median is known, and the ratio of two variants with its interval.

In: samples as arrays. Out: numbers. No time is taken and nothing is drawn that a seed does not fix, so equal
samples always give equal answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

MINIMUM_SAMPLES = 6
"""Fewer samples say too little: asv's rank test, too, cannot tell two sets of five apart."""

NO_DIFFERENCE = "no difference seen"
_DECREASED = {"time": "faster", "memory": "smaller"}
_INCREASED = {"time": "slower", "memory": "larger"}
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Ratio:
    """Variant over baseline, without a unit: below 1 the variant takes less.

    `low` and `high` bound the interval that holds the true ratio with probability `confidence`.
    """

    value: float
    low: float
    high: float
    confidence: float

    @property
    def relative_error(self) -> float:
        """Half the width of the interval over the value."""
        return (self.high - self.low) / 2 / self.value


def relative_error(samples: ArrayLike, *, confidence: float = 0.95) -> float:
    """How well the median is known: half its interval over its value; infinite for under six samples.

    The interval lies between two order statistics, whose ranks follow from the binomial distribution of the
    number of samples below the median (by its normal approximation), whatever the samples' distribution.
    """
    ordered = np.sort(np.asarray(samples, dtype=float))
    count, median = len(ordered), float(np.median(ordered)) if len(ordered) else 0.0
    if count < MINIMUM_SAMPLES or median <= 0:
        return math.inf
    z = _NORMAL.inv_cdf((1 + confidence) / 2)
    below = max(0, math.floor((count - 1 - z * math.sqrt(count)) / 2))
    return float(ordered[-1 - below] - ordered[below]) / 2 / median


def ratio_interval(
    baseline: ArrayLike,
    variant: ArrayLike,
    *,
    blocks: Sequence[object] | None = None,
    confidence: float = 0.99,
    resamples: int = 2000,
    seed: int = 0,
) -> Ratio:
    """The ratio of a variant to its baseline, both measured once in each turn, with a bootstrap interval.

    The value is the median over the turns of the ratio within a turn, so what slows down a whole turn
    cancels. The interval is the bootstrap's over turns: blocks are drawn first, then turns within the blocks
    drawn, because what a process does to its speed (where its memory lies, say) is drawn once for all turns
    of the process. Its percentiles are widened for few turns, by Student's t in place of the normal
    distribution: Hesterberg's expanded percentile interval ("What Teachers Should Know About the Bootstrap",
    2015).

    Chosen by simulation, of 10 to 40 turns with 3 % of noise, a right tail in every seventh sample, and drift
    common to a turn. It misses the truth in 0.3 to 1.1 % of cases, at the nominal 1 %, and in up to 1.5 % if
    blocks differ by 2 %; but in 6 % of cases if these are only two, of 20 turns each. The ratio of medians
    needs twice as wide an interval where there is drift, and the signed-rank interval twice as wide a one
    where there is a tail; without drawing blocks, those that differ by 2 % lead to 7 % of misses. Where a
    difference lasts from turn to turn (an autocorrelation of 0.4), one block of 40 turns misses 10 %, four of
    ten 2 %; pairs of equal calls, measured on two busy cores, showed no autocorrelation.

    Args:
        baseline: a positive number for each turn.
        variant: likewise, of the same turns.
        blocks: the block (process) that each turn belongs to; one for all by default.
        confidence: the probability that the interval should hold the true ratio.
        resamples: how often to draw.
        seed: fixes the draws.

    Raises:
        ValueError: for fewer than `MINIMUM_SAMPLES` turns, for turns that do not pair up, or for a sample
            that is not positive and finite.
    """
    logs = np.log(_positive(variant)) - np.log(_positive(baseline))  # (turns,)
    turns = len(logs)
    if turns < MINIMUM_SAMPLES:
        message = f"an interval takes at least {MINIMUM_SAMPLES} turns, got {turns}"
        raise ValueError(message)
    drawn = _draw(_lengths(blocks, turns), resamples, np.random.default_rng(seed))  # (resamples, turns)
    order = np.arange(turns) if blocks is None else np.argsort(_labels(blocks), kind="stable")
    medians = np.median(logs[order][drawn], axis=1, overwrite_input=True)
    tail = _expanded_tail(confidence, turns)
    low, high = np.exp(np.quantile(medians, [tail, 1 - tail]))
    return Ratio(math.exp(np.median(logs)), float(low), float(high), confidence)


def verdict(ratio: Ratio, min_effect: float = 0.0, measure: Literal["time", "memory"] = "time") -> str:
    """In words: "faster", "slower" (of memory "smaller", "larger") or "no difference seen".

    A difference is seen if the interval leaves out 1 and the value is off by the factor `1 + min_effect` at
    least.
    """
    if ratio.low > 1 and ratio.value >= 1 + min_effect:
        return _INCREASED[measure]
    if ratio.high < 1 and ratio.value <= 1 / (1 + min_effect):
        return _DECREASED[measure]
    return NO_DIFFERENCE


def _positive(samples: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(samples, dtype=float)
    if values.ndim != 1 or not (np.isfinite(values) & (values > 0)).all():
        message = f"a ratio takes positive, finite samples in one dimension, got {samples}"
        raise ValueError(message)
    return values


def _labels(blocks: Sequence[object]) -> NDArray[np.int64]:
    """Each turn's block as a number, in order of appearance."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(block, len(numbers)) for block in blocks])


def _lengths(blocks: Sequence[object] | None, turns: int) -> NDArray[np.int64]:
    """The number of turns in each block."""
    lengths = np.array([turns]) if blocks is None else np.bincount(_labels(blocks))
    if lengths.sum() != turns:
        message = f"{turns} turns need as many blocks to belong to, got {lengths.sum()}"
        raise ValueError(message)
    return lengths


def _draw(lengths: NDArray[np.int64], resamples: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Turns to resample, (resamples, blocks * turns of a block), for blocks that lie one behind the other."""
    count, mean_length = len(lengths), round(lengths.mean())
    drawn_blocks = random.integers(0, count, (resamples, count, 1))
    starts = np.cumsum(lengths) - lengths
    within = random.random((resamples, count, mean_length)) * lengths[drawn_blocks]
    turns: NDArray[np.int64] = starts[drawn_blocks] + within.astype(np.int64)
    return turns.reshape(resamples, -1)


def _expanded_tail(confidence: float, count: int) -> float:
    """The share of resampled medians to leave out at each end."""
    t = _student_quantile((1 + confidence) / 2, count - 1)
    return _NORMAL.cdf(-t * math.sqrt(count / (count - 1)))


def _student_quantile(probability: float, freedom: int) -> float:
    """Student's t from the normal quantile: Abramowitz and Stegun 26.7.5, to 1 % from 5 degrees on."""
    z = _NORMAL.inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))
