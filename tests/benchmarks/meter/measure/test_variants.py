"""Variants measured in turn, by a fake instrument: what a call returns is what was measured of it."""

import itertools
import math

import numpy as np
import pytest
import torch

from benchmarks.meter.measure import variants
from benchmarks.meter.measure.sampling import Plan
from benchmarks.meter.measure.statistics import Ratio
from benchmarks.meter.measure.variants import Outcome, Store, measure_variants

PLAN = Plan(warmups=2, max_samples=40, batch=20)


def instrument(calls):
    return [call() for call in calls]


def noisy(value, seed):
    random = np.random.default_rng(seed)
    return lambda: value * random.lognormal(0, 0.01)


def no_room():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB.\nIncluding ...")


def test_each_variant_has_its_samples_and_its_ratio_to_the_baseline():
    calls = {"dense": noisy(4, 0), "pruned": noisy(2, 1), "same": noisy(4, 2)}
    outcomes = measure_variants(instrument, calls, "dense", PLAN, target=0)
    assert [len(outcome.samples) for outcome in outcomes.values()] == [40] * 3
    assert np.median(outcomes["pruned"].samples) == pytest.approx(2, rel=0.02)
    assert outcomes["dense"].ratio is None
    assert outcomes["pruned"].ratio.value == pytest.approx(0.5, rel=0.02)
    assert outcomes["pruned"].ratio.high < 0.52
    assert outcomes["same"].ratio.low < 1 < outcomes["same"].ratio.high


def test_turns_cancel_what_they_have_in_common():
    """A machine whose speed changes tenfold from turn to turn: the ratio is known all the same."""
    turn = itertools.count()
    speed = [10 ** math.sin(number) for number in range(100)]
    calls = {
        name: lambda factor=factor: factor * speed[next(turn) // 2] for name, factor in (("a", 1), ("b", 3))
    }
    ratio = measure_variants(instrument, calls, "a", PLAN, target=0)["b"].ratio
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((3, 3, 3))


def test_turns_end_when_the_ratios_are_known():
    calls = {"dense": noisy(4, 0), "pruned": noisy(2, 1)}
    outcomes = measure_variants(instrument, calls, "dense", PLAN, target=0.05)
    assert len(outcomes["pruned"].samples) == 20


def test_one_variant_out_of_memory_leaves_the_others():
    outcomes = measure_variants(
        instrument, {"dense": noisy(4, 0), "huge": no_room, "pruned": noisy(2, 1)}, "dense", PLAN, target=0
    )
    assert outcomes["huge"] == Outcome(
        skipped="out of memory: CUDA out of memory. Tried to allocate 80.00 GiB."
    )
    assert len(outcomes["dense"].samples) == 40
    assert outcomes["pruned"].ratio.value == pytest.approx(0.5, rel=0.02)


def test_without_the_baseline_there_are_samples_and_no_ratio():
    outcomes = measure_variants(
        instrument, {"dense": no_room, "pruned": noisy(2, 1)}, "dense", PLAN, target=0
    )
    assert outcomes["pruned"].ratio is None
    assert len(outcomes["pruned"].samples) == 40


def test_all_variants_out_of_memory_are_all_skipped():
    outcomes = measure_variants(instrument, {"a": no_room, "b": no_room}, "a", PLAN, target=0)
    assert [bool(outcome.skipped) for outcome in outcomes.values()] == [True, True]


def test_variants_that_fit_alone_but_not_together_are_an_error():
    made = []

    def call():
        made.append(1)
        if len(made) == 7:
            no_room()
        return 1.0

    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        measure_variants(instrument, {"a": call, "b": call}, "a", PLAN, target=0)


def test_other_errors_are_not_taken_for_too_little_memory():
    with pytest.raises(RuntimeError, match="shapes"):
        measure_variants(instrument, {"a": lambda: torch.ones(2) @ torch.ones(3, 3)}, "a", PLAN, target=0)


def test_memory_is_given_back_before_the_others_go_on(monkeypatch):
    steps = []
    monkeypatch.setattr(variants, "release", lambda: steps.append("release"))

    def small():
        steps.append("small")
        return 1.0

    measure_variants(instrument, {"huge": no_room, "small": small}, "small", PLAN, target=0)
    assert steps[:4] == ["release", "release", "small", "release"]
    assert set(steps[4:]) == {"small"}


@pytest.mark.parametrize("values", [[0.0], [math.nan], [1.0, -1.0]])
def test_no_ratio_to_what_is_not_positive(values):
    """As when memory does not grow at all."""
    cycle = itertools.cycle(values)
    outcomes = measure_variants(
        instrument, {"a": lambda: next(cycle), "b": lambda: 1.0}, "a", Plan(max_samples=12), target=0.01
    )
    assert outcomes["b"].ratio is None
    assert outcomes["b"].samples == [1.0] * 12


def test_what_is_not_finite_is_dropped_with_its_partner():
    cycle = itertools.cycle([2.0, math.inf])
    plan = Plan(warmups=0, max_samples=20, min_samples=20)
    outcomes = measure_variants(instrument, {"a": lambda: 1.0, "b": lambda: next(cycle)}, "a", plan, target=0)
    assert outcomes["b"].samples == [2.0] * 10
    assert outcomes["b"].ratio == Ratio(*[pytest.approx(2.0)] * 3, confidence=0.99)


def test_a_quick_look_of_one_turn_has_no_ratio():
    plan = Plan(warmups=0, min_samples=1, max_samples=1)
    outcomes = measure_variants(instrument, {"a": lambda: 1.0, "b": lambda: 2.0}, "a", plan, target=0)
    assert outcomes["b"] == Outcome([2.0])


OUTCOME = Outcome([1.0, 2.0], ratio=Ratio(0.5, 0.4, 0.6, 0.99), facts={"device": "cpu", "threads": 1})


@pytest.mark.parametrize("outcome", [OUTCOME, Outcome(skipped="out of memory: é")])
def test_what_is_stored_is_found_once(tmp_path, outcome):
    store = Store(tmp_path / "new")
    store.put(["suite.paired_x", "64", "'dense'"], OUTCOME)
    store.put(["suite.paired_x", "64", "'dense'"], outcome)
    assert store.pop(["suite.paired_x", "64", "'pruned'"]) is None
    assert store.pop(["suite.paired_x", "64", "'dense'"]) == outcome
    assert store.pop(["suite.paired_x", "64", "'dense'"]) is None
    assert list((tmp_path / "new").iterdir()) == []


def test_a_cleared_store_holds_nothing_and_keeps_files_of_others(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "theirs.txt").touch()
    store.put(["a"], OUTCOME)
    store.clear()
    assert store.pop(["a"]) is None
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.txt"]


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(variants.STORE_VARIABLE, raising=False)
    store = Store.of_this_process()
    store.put(["a"], OUTCOME)
    store.clear()
    assert store.pop(["a"]) is None
    assert list(tmp_path.iterdir()) == []


def test_an_outcome_that_json_cannot_hold_is_refused_and_leaves_no_half_file(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        Store(tmp_path).put(["a"], Outcome([math.nan]))
    assert list(tmp_path.iterdir()) == []
