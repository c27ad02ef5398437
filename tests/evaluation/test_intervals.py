import math
from statistics import NormalDist, mean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perfmamba.evaluation.intervals import Average, Proportion, average, student_quantile


# Wilson's interval, from the table of Newcombe 1998 (method 3)
@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_is_the_published_one(hits, count, low, high):
    assert Proportion(hits, count).interval() == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_wilson_interval_holds_the_share_and_stays_a_share(hits_of_count):
    share = Proportion(*hits_of_count)
    low, high = share.interval()
    assert 0 <= low <= share.value + 1e-12
    assert share.value - 1e-12 <= high <= 1
    assert low < high


@pytest.mark.parametrize(("hits", "count"), [(0, 120), (3, 10), (10, 10)])
def test_bounds_of_wilsons_interval_are_the_roots_of_its_defining_equation(hits, count):
    """(p - s)^2 = z^2 p (1 - p) / n."""
    z = NormalDist().inv_cdf(0.975)
    for bound in Proportion(hits, count).interval():
        error = (bound - hits / count) ** 2 - z**2 * bound * (1 - bound) / count
        assert error == pytest.approx(0, abs=1e-12)


# Two-sided 95% points of Student's t, as in any table
@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (10, 2.228), (29, 2.045), (200, 1.972)],
)
def test_student_quantile_is_that_of_the_tables(degrees, quantile):
    assert student_quantile(degrees) == pytest.approx(quantile, abs=5e-4)


def test_average_of_three():
    assert average([1.0, 2.0, 6.0]) == Average(3.0, pytest.approx(4.30265 * math.sqrt(7 / 3), abs=1e-4), 3)


def test_a_single_value_has_no_interval():
    assert average([0.25]) == Average(0.25, None, 1)


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    samples = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0)).double().tolist()
    half_widths = [average(sample).half_width for sample in samples]
    held = sum(abs(mean(sample)) <= half for sample, half in zip(samples, half_widths, strict=True))
    low, high = Proportion(held, len(samples)).interval()
    assert low < 0.95 < high
