"""Outputs that are wrong, and what becomes of them."""

import math
from dataclasses import replace

import pytest
import torch

from benchmarks.kernel_table import contenders, measuring
from benchmarks.kernel_table.measuring import Checked, WrongOutputError, require_equal
from benchmarks.kernel_table.operation import SHORT
from tests.benchmarks.kernel_table.small_cases import SSD, STEP, outcomes


def torch_but(change):
    """Our torch backend, its outputs changed."""

    def maker(case, given):
        call = contenders._ours("torch", case, given)
        return lambda: change(*call())

    return maker


def raising(error):
    def maker(_case, _given):
        def call():
            raise error

        return call

    return maker


def test_what_is_wrong_or_fails_is_not_timed_and_the_others_are(monkeypatch):
    makers = {
        "raises": raising(ValueError("no such layout\nand more")),
        "too large": raising(torch.OutOfMemoryError("CUDA out of memory")),
        "wrong by a thousandth": torch_but(lambda y, state: (1.001 * y, state)),
        "wrong state": torch_but(lambda y, state: (y, state + 0.1 * state.abs().max())),
        "state of nan": torch_but(lambda y, state: (y, state * math.nan)),
        "one wrong number": torch_but(lambda y, state: (y + (y == y.max()), state)),
        "right": torch_but(lambda y, state: (y, state)),
    }
    monkeypatch.setattr(
        measuring, "contenders", lambda _case, _device: makers | {"left alone": raising(OSError)}
    )
    record = measuring.measure(SSD, {"left alone": "it broke the device"}, 0.01, lambda *_: None)
    assert record.troubled
    assert record.baseline == "right"
    right = record.results.pop("right")
    assert len(right.samples) >= 10
    assert right.error < 1e-5
    assert not any(result.samples for result in record.results.values())
    assert record.results["raises"].failed == "ValueError: no such layout"
    assert record.results["too large"].skipped == "out of memory: CUDA out of memory"
    assert record.results["left alone"].failed == "it broke the device"
    assert record.results["wrong by a thousandth"].failed.startswith(
        "WrongOutputError: differs from the reference by 0.001 of"
    )
    assert all("differs from the reference" in record.results[name].failed for name in list(makers)[2:6])


def test_a_contender_that_is_right_on_a_short_sequence_only_is_seen():
    long = replace(SSD, seqlen=SHORT + 20)

    def change(y, state):
        return (y if y.shape[1] <= SHORT else 1.01 * y), state

    found = outcomes(long, {"first": torch_but(lambda *same: same), "second": torch_but(change)})
    assert isinstance(found["first"], Checked)
    assert found["second"].failed == "WrongOutputError: differs from first by 0.01 of the largest number"
    assert found["second"].error < 1e-5


def test_a_contender_without_numbers_on_the_whole_case_spoils_no_other():
    long = replace(SSD, seqlen=SHORT + 20)

    def change(y, state):
        return (y if y.shape[1] <= SHORT else y * math.nan), state

    found = outcomes(long, {"first": torch_but(change), "second": torch_but(lambda *same: same)})
    assert found["first"].failed == "WrongOutputError: differs from first by nan of the largest number"
    assert isinstance(found["second"], Checked)


def test_a_step_gets_a_state_of_its_own():
    """Else the second contender would go on from where the first left it."""
    found = outcomes(STEP, {name: torch_but(lambda *same: same) for name in ("first", "second", "third")})
    assert all(isinstance(outcome, Checked) for outcome in found.values())


def test_outputs_of_another_shape_are_wrong():
    with pytest.raises(WrongOutputError, match=r"the shape is \(1, 3\), that of the reference \(3,\)"):
        require_equal((torch.ones(1, 3),), (torch.ones(3),), 1e-4, "the reference")


def test_a_lost_device_ends_the_process(monkeypatch):
    def broken():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(measuring, "release", broken)
    with pytest.raises(measuring.DeviceLostError, match=r"bad broke the device: .*illegal memory access"):
        outcomes(SSD, {"bad": raising(RuntimeError("CUDA error"))})
