"""SumVariants that are measured together."""

import itertools
import math
import statistics

import pytest
import torch

from benchmarks.meter.types.paired import Holding, Paired
from tests.benchmarks.meter.types.cells import MIB, QUICK, SumVariants, made, run


def test_the_first_cell_of_a_group_measures_and_the_others_look_up(store, notes):
    first, second, third = (run(made(Paired, SumVariants, "paired_x", index)) for index in (4, 3, 5))
    assert SumVariants.groups == (20,)
    assert statistics.median(first["samples"]) < statistics.median(second["samples"])
    assert len(first["samples"]) == len(second["samples"])
    assert math.isnan(third)
    pair, *others = [note for note in notes() if note["kind"] == "pair"]
    assert others == []
    assert (pair["params"], pair["variant_axis"], pair["baseline"], pair["variant"]) == (
        ["20", "0.5"],
        "ratio",
        "0",
        "0.5",
    )
    assert 0 < pair["low"] <= pair["ratio"] <= pair["high"] < 1
    assert (pair["measure"], pair["confidence"], pair["verdict"]) == ("time", 0.99, "faster")
    assert [(note["kind"], note["params"]) for note in notes() if note["kind"] != "pair"] == [
        ("cell", ["20", "0.5"]),
        ("cell", ["20", "0"]),
        ("skipped", ["20", "0.9"]),
    ]
    assert list(store.iterdir()) == []


def no_room_to_build():
    raise torch.OutOfMemoryError("CUDA out of memory.")


def no_room_together():
    """A call that fits alone, but not after another."""
    return {0: lambda: None, 0.5: fails_every_other_time(), 0.9: lambda: None}


def fails_every_other_time():
    failing = itertools.cycle([True, False])

    def call():
        if next(failing):
            no_room_to_build()

    return call


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("offered", [no_room_to_build, no_room_together])
def test_a_group_that_does_not_fit_is_tried_once(notes, offered):
    class TooLarge(SumVariants):
        def paired_x(self, size):
            SumVariants.groups += (size,)
            return offered()

    for index in (3, 4, 5):
        assert math.isnan(run(made(Paired, TooLarge, "paired_x", index)))
    assert SumVariants.groups == (20,)
    assert [(note["kind"], note["params"], note["reason"]) for note in notes()] == [
        ("skipped", ["20", ratio], "out of memory: CUDA out of memory.") for ratio in ("0", "0.5", "0.9")
    ]


@pytest.mark.usefixtures("store")
def test_an_error_of_a_group_stays_a_failure_of_each_cell():
    class Broken(SumVariants):
        def paired_x(self, size):
            SumVariants.groups += (size,)
            raise RuntimeError("no kernel for this type")

    for index in (3, 4):
        with pytest.raises(RuntimeError, match="no kernel"):
            run(made(Paired, Broken, "paired_x", index))
    assert SumVariants.groups == (20, 20)


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_another_group_another_version_and_a_second_round_measure_anew():
    class Rewritten(SumVariants):
        version = "2"

    def measure(suite, index):
        benchmark = made(Paired, suite, "paired_x", index, **QUICK)
        benchmark.name = "suite.SumVariants.paired_x"
        return run(benchmark)

    for suite, index in ((SumVariants, 0), (SumVariants, 3), (SumVariants, 0), (SumVariants, 4)):
        measure(suite, index)
    assert SumVariants.groups == (10, 20, 10)
    measure(Rewritten, 1)
    assert Rewritten.groups == (10, 20, 10, 10)


def test_without_a_store_each_cell_measures(monkeypatch):
    monkeypatch.setattr(SumVariants, "groups", ())
    for index in (0, 1):
        assert len(run(made(Paired, SumVariants, "paired_x", index, **QUICK))["samples"]) == 1
    assert SumVariants.groups == (10, 10)


def test_memory_is_compared_by_growth(notes):
    class Sizes(SumVariants):
        measure = "memory"
        repeat = (6, 12, 1.0)

        def paired_x(self, size):
            return {
                ratio: lambda ratio=ratio: torch.ones(int(size * MIB * (1 - ratio)), dtype=torch.int8)
                for ratio in (0, 0.5)
            }

    benchmark = made(Paired, Sizes, "paired_x", 4)
    assert benchmark.unit == "bytes"
    result = run(benchmark)
    if not isinstance(result, dict):
        pytest.skip(notes()[0]["reason"])
    assert statistics.median(result["samples"]) == pytest.approx(10 * MIB, abs=MIB)
    pair = next(note for note in notes() if note["kind"] == "pair")
    assert (pair["measure"], pair["verdict"]) == ("memory", "smaller")
    assert pair["ratio"] == pytest.approx(0.5, abs=0.05)


def test_memory_that_a_variant_holds_counts_with_its_growth(notes):
    class Held(SumVariants):
        measure = "memory"
        repeat = (6, 12, 1.0)

        def paired_x(self, size):
            return {ratio: Holding(lambda: None, int(size * MIB * (1 - ratio))) for ratio in (0, 0.5)}

    result = run(made(Paired, Held, "paired_x", 4))
    if not isinstance(result, dict):
        pytest.skip(notes()[0]["reason"])
    assert statistics.median(result["samples"]) == pytest.approx(10 * MIB, abs=MIB)


def test_a_variant_that_is_not_offered_is_n_a(notes):
    class Fewer(SumVariants):
        def paired_x(self, _size):
            return {0: lambda: None}

    assert math.isnan(run(made(Paired, Fewer, "paired_x", 1, **QUICK)))
    assert notes()[0]["reason"] == "the benchmark offers no ratio 0.5"


def test_a_variant_that_is_not_a_parameter_is_an_error():
    class Other(SumVariants):
        def paired_x(self, _size):
            return {"dense": lambda: None}

    with pytest.raises(ValueError, match=r"variants that are not values of ratio: \['dense'\]"):
        run(made(Paired, Other, "paired_x"))


@pytest.mark.parametrize(
    ("attribute", "value", "complaint"),
    [
        ("variant", "seqlen", r"variant is 'seqlen', but the parameters are \['size', 'ratio'\]"),
        ("baseline", 0.1, r"baseline is 0\.1, but ratio is one of \[0, 0\.5, 0\.9\]"),
        ("measure", "energy", r"measure is 'energy', but must be one of \['time', 'memory'\]"),
    ],
)
def test_a_suite_that_contradicts_itself_is_told_at_once(attribute, value, complaint):
    contradicting = type("Contradicting", (SumVariants,), {attribute: value})
    with pytest.raises(ValueError, match=complaint):
        made(Paired, contradicting, "paired_x")


def test_asv_check_knows_that_the_variant_is_no_argument(tmp_path):
    assert made(Paired, SumVariants, "paired_x").check(tmp_path)

    class TooMany(SumVariants):
        def paired_x(self, _size, _ratio):
            return {}

    assert not made(Paired, TooMany, "paired_x").check(tmp_path)
