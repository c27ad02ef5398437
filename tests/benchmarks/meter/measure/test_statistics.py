import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.meter.measure.statistics import NO_DIFFERENCE, Ratio, ratio_interval, relative_error, verdict

DATASETS = 400
MISSED_AT_MOST = 10
"""Of 400 intervals at 99 %: by the binomial distribution, a calibrated one misses more in 0.3 % of runs."""

positive = st.floats(1e-6, 1e6)
turns = st.lists(st.tuples(positive, positive), min_size=6, max_size=40).map(np.array)


def measured(random, turns, *, ratio=1.0, blocks=1, block_spread=0.0):
    """Times (2, blocks * turns) as a busy machine gives them: drift, 3 % of noise and a tail to the right."""
    drift = np.cumsum(random.normal(0, 0.02, blocks * turns))
    noise = random.normal(0, 0.03, (2, blocks * turns))
    tail = (random.random((2, blocks * turns)) < 0.15) * random.exponential(0.4, (2, blocks * turns))
    logs = drift + noise + tail
    logs[1] += math.log(ratio) + np.repeat(random.normal(0, block_spread, blocks), turns)
    return np.exp(logs)


def intervals(seed, turns, *, blocks=1, **noise):
    random = np.random.default_rng(seed)
    labels = [block for block in range(blocks) for _ in range(turns)]
    for _ in range(DATASETS):
        yield ratio_interval(*measured(random, turns, blocks=blocks, **noise), blocks=labels)


@pytest.mark.parametrize("count", [10, 20, 40])
def test_the_interval_holds_the_truth_as_often_as_it_says(count):
    missed = sum(not ratio.low <= 1.07 <= ratio.high for ratio in intervals(count, count, ratio=1.07))
    assert missed <= MISSED_AT_MOST


@pytest.mark.parametrize(("blocks", "count"), [(2, 10), (3, 8), (4, 5), (4, 10)])
def test_the_interval_allows_for_processes_that_differ(blocks, count):
    noise = {"blocks": blocks, "block_spread": 0.01}
    assert sum(not ratio.low <= 1 <= ratio.high for ratio in intervals(blocks, count, **noise)) <= (
        MISSED_AT_MOST
    )


def test_the_interval_is_narrow_enough_to_find_ten_percent():
    found = intervals(5, 10, blocks=4, block_spread=0.01, ratio=1.1)
    assert sum(verdict(ratio, min_effect=0.03) == "slower" for ratio in found) >= 0.95 * DATASETS


def test_turns_in_one_process_do_not_hide_that_processes_differ():
    """Taken as 20 turns of one process, two processes that differ would look like a difference."""
    random = np.random.default_rng(0)
    times = measured(random, 10, blocks=2)
    times[1, 10:] *= 1.2
    processes = [0] * 10 + [1] * 10
    assert ratio_interval(*times, blocks=processes).low < 1.05
    assert ratio_interval(*times, blocks=processes).high > 1.15


@given(turns)
def test_the_value_is_the_median_of_the_turns_ratios_and_lies_in_the_interval(pairs):
    baseline, variant = pairs.T
    ratio = ratio_interval(baseline, variant, resamples=200)
    assert ratio.value == pytest.approx(np.exp(np.median(np.log(variant / baseline))))
    assert ratio.low <= ratio.value * (1 + 1e-9)
    assert ratio.value <= ratio.high * (1 + 1e-9)
    assert ratio.confidence == 0.99


@given(turns, positive)
def test_a_unit_changes_nothing_and_swapping_inverts(pairs, unit):
    baseline, variant = pairs.T
    ratio = ratio_interval(baseline, variant, resamples=200)
    scaled = ratio_interval(baseline * unit, variant * unit, resamples=200)
    swapped = ratio_interval(variant, baseline, resamples=200)
    assert (scaled.low, scaled.high) == pytest.approx((ratio.low, ratio.high))
    assert (1 / swapped.high, 1 / swapped.low) == pytest.approx((ratio.low, ratio.high))


@given(turns, st.randoms())
def test_blocks_may_be_interleaved_and_named_at_will(pairs, random):
    blocks = [random.choice("xyz") for _ in pairs]
    by_block = sorted(range(len(pairs)), key=lambda turn: blocks.index(blocks[turn]))
    interleaved = ratio_interval(*pairs.T, blocks=blocks, resamples=50)
    behind_each_other = ratio_interval(
        *pairs[by_block].T, blocks=[ord(blocks[i]) for i in by_block], resamples=50
    )
    assert interleaved == behind_each_other


def test_one_seed_gives_one_interval():
    times = measured(np.random.default_rng(3), 30)
    assert ratio_interval(*times) == ratio_interval(*times)
    assert ratio_interval(*times) != ratio_interval(*times, seed=1)


@pytest.mark.parametrize(
    ("baseline", "variant", "complaint"),
    [
        ([1.0] * 5, [1.0] * 5, "at least 6 turns, got 5"),
        ([1.0] * 7, [1.0] * 6 + [0.0], "positive, finite"),
        ([1.0] * 6 + [math.inf], [1.0] * 7, "positive, finite"),
        ([[1.0] * 7] * 2, [[1.0] * 7] * 2, "one dimension"),
    ],
)
def test_what_has_no_ratio_is_refused(baseline, variant, complaint):
    with pytest.raises(ValueError, match=complaint):
        ratio_interval(baseline, variant)


def test_each_turn_needs_its_block():
    with pytest.raises(ValueError, match="7 turns need as many blocks to belong to, got 6"):
        ratio_interval([1.0] * 7, [1.0] * 7, blocks=[0] * 6)


@pytest.mark.parametrize(
    ("ratio", "min_effect", "time", "memory"),
    [
        ((0.9, 0.85, 0.95), 0.0, "faster", "smaller"),
        ((1.1, 1.05, 1.15), 0.0, "slower", "larger"),
        ((1.1, 0.99, 1.2), 0.0, NO_DIFFERENCE, NO_DIFFERENCE),
        ((0.9, 0.8, 1.0), 0.0, NO_DIFFERENCE, NO_DIFFERENCE),
        ((1.02, 1.01, 1.03), 0.03, NO_DIFFERENCE, NO_DIFFERENCE),
        ((1.03, 1.01, 1.05), 0.03, "slower", "larger"),
        ((1 / 1.02, 0.97, 0.99), 0.03, NO_DIFFERENCE, NO_DIFFERENCE),
        ((1.0, 1.0, 1.0), 0.0, NO_DIFFERENCE, NO_DIFFERENCE),
    ],
)
def test_a_verdict_needs_an_interval_without_1_and_an_effect_that_matters(ratio, min_effect, time, memory):
    ratio = Ratio(*ratio, confidence=0.99)
    assert verdict(ratio, min_effect) == time
    assert verdict(ratio, min_effect, "memory") == memory


@pytest.mark.parametrize("count", [6, 7, 10, 30, 99, 100, 1000])
def test_the_error_spans_the_fewest_samples_that_hold_the_median(count):
    """Samples are their own ranks here; how many lie below the median is binomial."""
    ranks = np.arange(1, count + 1)
    span = round(relative_error(ranks, confidence=0.95) * 2 * np.median(ranks))
    below = (count - 1 - span) // 2
    outside = [
        2 * sum(math.comb(count, k) for k in range(last + 1)) / 2**count for last in (below, below + 1)
    ]
    assert outside[0] <= 0.05 < outside[1]


@given(st.lists(positive, min_size=6, max_size=50), positive)
def test_a_unit_does_not_change_the_error(samples, unit):
    assert relative_error(np.array(samples) * unit) == pytest.approx(relative_error(samples))


@settings(max_examples=20)
@given(st.lists(positive, max_size=5))
def test_few_samples_tell_no_median(samples):
    assert relative_error(samples) == math.inf


def test_equal_samples_have_no_error():
    assert relative_error([3.0] * 6) == 0
    assert relative_error([0.0] * 6) == math.inf
