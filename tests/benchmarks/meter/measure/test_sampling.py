import math
import types
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.meter.measure import sampling
from benchmarks.meter.measure.sampling import Plan, measure_turns


class Workload:
    """Calls that only move a clock, and an instrument that reads it and remembers the calls of each batch."""

    def __init__(self, *seconds):
        self.now = 100.0
        self.batches = []
        self.calls = [self._call(index, duration) for index, duration in enumerate(seconds)]

    def _call(self, index, duration):
        def call():
            self.now += duration
            return index

        return call

    def instrument(self, calls):
        self.batches.append([])
        values = []
        for call in calls:
            start = self.now
            self.batches[-1].append(call())
            values.append(self.now - start)
        return values

    @property
    def batch_sizes(self):
        return [len(batch) for batch in self.batches]


@pytest.fixture
def workload(monkeypatch):
    def make(*seconds):
        made = Workload(*seconds)
        monkeypatch.setattr(sampling, "time", types.SimpleNamespace(perf_counter=lambda: made.now))
        return made

    return make


def never(_samples):
    return False


def always(_samples):
    return True


def test_warm_ups_come_first_and_are_no_samples(workload):
    work = workload(0.001)
    samples = measure_turns(work.instrument, work.calls, Plan(warmups=10, batch=7), always)
    assert work.batch_sizes == [1] * 10 + [7]
    assert samples.shape == (7, 1)


def test_long_warm_ups_stop_but_the_first_does_not_count(workload):
    """The first compiles for a minute; the others take 0.4 s each."""
    work = workload(0.4)
    (usual,) = work.calls

    def call():
        work.now += 60 if work.now == 100 else 0
        return usual()

    measure_turns(work.instrument, [call], Plan(warmup_seconds=1, max_samples=6), always)
    assert work.batch_sizes == [1] * 4 + [6]


def test_sampling_stops_when_the_samples_suffice(workload):
    work = workload(0.001)
    samples = measure_turns(work.instrument, work.calls, Plan(warmups=0), lambda taken: len(taken) >= 45)
    assert len(samples) == 58
    assert work.batch_sizes == [6, 10, 10, 13, 19]


def test_sampling_stops_when_the_time_is_over(workload):
    work = workload(0.1)
    samples = measure_turns(work.instrument, work.calls, Plan(seconds=5, warmups=2), never)
    assert 45 <= len(samples) <= 51


def test_six_samples_are_taken_of_the_longest_call(workload):
    work = workload(60)
    samples = measure_turns(work.instrument, work.calls, Plan(seconds=5), never)
    assert work.batch_sizes == [1, 1, 6]
    assert samples == pytest.approx(np.full((6, 1), 60))


def test_no_more_samples_than_the_most(workload):
    work = workload(0.0)
    assert len(measure_turns(work.instrument, work.calls, Plan(max_samples=123), never)) == 123


def test_a_number_of_samples_without_limit_of_time(workload):
    work = workload(0.5)
    plan = Plan(warmups=0, min_samples=33, max_samples=33, seconds=math.inf)
    assert len(measure_turns(work.instrument, work.calls, plan, always)) == 33


def test_a_plan_of_one_sample_makes_one_call(workload):
    work = workload(1)
    plan = Plan(warmups=0, min_samples=1, max_samples=1)
    assert measure_turns(work.instrument, work.calls, plan, never).shape == (1, 1)
    assert work.batch_sizes == [1]


def test_the_paper_s_hundred_iterations_are_one_batch(workload):
    work = workload(0.01)
    measure_turns(work.instrument, work.calls, Plan(batch=100), always)
    assert work.batch_sizes == [1] * 10 + [100]


@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 1000))
def test_each_turn_makes_each_call_once_and_samples_stay_with_their_call(variants, turns, seed):
    work = Workload(*range(1, variants + 1))
    plan = Plan(warmups=0, min_samples=turns, max_samples=turns)
    samples = measure_turns(work.instrument, work.calls, plan, never, seed=seed)
    assert samples.tolist() == [[*range(1, variants + 1)]] * turns
    made = np.reshape([index for batch in work.batches for index in batch], (turns, variants))
    assert np.sort(made, axis=1).tolist() == [[*range(variants)]] * turns


def test_every_order_comes_up_about_as_often_and_a_seed_fixes_them():
    plan = Plan(warmups=0, min_samples=1200, max_samples=1200)
    orders = []
    for seed in (0, 0, 1):
        work = Workload(1, 1, 1)
        measure_turns(work.instrument, work.calls, plan, never, seed=seed)
        orders.append([tuple(order) for order in np.reshape(work.batches[0], (-1, 3)).tolist()])
    assert orders[0] == orders[1] != orders[2]
    counts = Counter(orders[0])
    assert len(counts) == 6
    assert min(counts.values()) > 150
