"""Intervals of 95% around what was counted or averaged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, mean, stdev

_COVERAGE = 0.95
_Z = NormalDist().inv_cdf(0.5 + _COVERAGE / 2)


@dataclass(frozen=True)
class Proportion:
    """How often something happened.

    Attributes:
        hits: how many times it did.
        count: out of how many.
    """

    hits: int
    count: int

    @property
    def value(self) -> float:
        """The share of hits, 0 to 1."""
        return self.hits / self.count

    def interval(self) -> tuple[float, float]:
        """Wilson's score interval, 95%: it stays within 0 and 1 and holds up near both.

        Source: Wilson 1927; Brown, Cai and DasGupta 2001, equation 4.
        """
        share, z2 = self.value, _Z**2 / self.count
        center = (share + z2 / 2) / (1 + z2)
        half = math.sqrt(z2) * math.sqrt(share * (1 - share) + z2 / 4) / (1 + z2)
        return max(0.0, center - half), min(1.0, center + half)


@dataclass(frozen=True)
class Average:
    """The mean of independent values.

    Attributes:
        mean: their mean.
        half_width: half of Student's 95% interval around it; None for a single value.
        count: how many values.
    """

    mean: float
    half_width: float | None
    count: int


def average(values: Sequence[float]) -> Average:
    """The mean of at least one value, and how far off it may be."""
    count = len(values)
    if count == 1:
        return Average(values[0], None, 1)
    half_width = student_quantile(count - 1) * stdev(values) / math.sqrt(count)
    return Average(mean(values), half_width, count)


def student_quantile(degrees: int, probability: float = 0.5 + _COVERAGE / 2) -> float:
    """The quantile of Student's t distribution for a probability above one half.

    Found by bisection on the distribution's closed form for whole degrees of freedom.

    Source: Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    low, high = 0.0, 1e4
    while high - low > 1e-12 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_cdf(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def _student_cdf(t: float, degrees: int) -> float:
    """P(T <= t) for t >= 0: half of 1 + A(t), the probability within -t and t."""
    theta = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    within = 2 / math.pi * (theta + sine * total) if odd else sine * total
    return 0.5 + within / 2
