"""Mamba-1's scan and its decode step."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.kernel_table.calls import first_position, hf_function, mamba_ssm_step, split, stepping
from benchmarks.kernel_table.operation import (
    BF16,
    CHANNELS,
    F32,
    MAMBA1,
    Arguments,
    Call,
    Case,
    Contender,
    Operation,
    Sizes,
)

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.kernel_table.draw import Draw

_OPTIONS = {"delta_softplus": True}
_BEARABLE_POSITIONS = 2048
_STEP_NAMES = {"u": "x", "delta": "dt", "delta_bias": "dt_bias"}
"""What a step calls the arguments that the scan calls otherwise."""
_SUITE_STATES = {"quick": (16,), "paper": (16, 11, 4)}


def _scan_arguments(case: Case, draw: Draw) -> Arguments:
    def across(features: int) -> Tensor:
        return draw(case.batch, case.seqlen, features).transpose(1, 2)

    return {
        "u": across(CHANNELS),
        "delta": across(CHANNELS),
        "A": draw.decay_rates(case.states).repeat(CHANNELS, 1),
        "B": across(case.states),
        "C": across(case.states),
        "D": draw.constants(CHANNELS),
        "z": across(CHANNELS),
        "delta_bias": draw.step_bias(CHANNELS),
    }


def _step_arguments(case: Case, draw: Draw) -> Arguments:
    state = draw(case.batch, CHANNELS, case.states)
    scan = first_position(_scan_arguments(case, draw), {"u", "delta", "B", "C", "z"}, dim=2)
    return {"state": state, **{_STEP_NAMES.get(name, name): value for name, value in scan.items()}}


def _scan_cost(case: Case) -> dict[str, int]:
    return {
        "batch": case.batch,
        "seqlen": case.seqlen,
        "channels": CHANNELS,
        "states": case.states,
        "itemsize": case.itemsize,
    }


def _step_cost(case: Case) -> dict[str, int]:
    sizes = _scan_cost(case)
    del sizes["seqlen"]
    return {**sizes, "state_itemsize": case.itemsize}


def _is_bearable_in_transformers(case: Case) -> bool:
    """It is a loop over positions in Python."""
    return case.seqlen <= _BEARABLE_POSITIONS


def _hf_scan(_case: Case, given: Arguments) -> Call:
    scan = hf_function("mamba", "mamba_selective_scan")
    sequence, others = split(given, "u", "delta", "A", "B", "C")
    return lambda: scan(*sequence, **others, **_OPTIONS, return_last_state=True)


def _hf_step(_case: Case, given: Arguments) -> Call:
    return stepping(hf_function("mamba", "mamba_selective_state_update"), given)


def _mamba_ssm_scan(_case: Case, given: Arguments) -> Call:
    """On inputs with the positions next to each other: it would copy others, which is not what is timed."""
    scan = import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    laid_out = {name: value.contiguous() for name, value in given.items()}
    return lambda: scan(**laid_out, **_OPTIONS, return_last_state=True)


def _mamba_ssm_step(_case: Case, given: Arguments) -> Call:
    return stepping(mamba_ssm_step(), given)


SELECTIVE_SCAN = Operation(
    name="selective_scan",
    label="Mamba-1's scan",
    models=(MAMBA1,),
    arguments=_scan_arguments,
    cost=_scan_cost,
    options=_OPTIONS,
    contenders={
        "mamba_ssm": Contender(_mamba_ssm_scan, "mamba_ssm"),
        "hf": Contender(_hf_scan, "transformers", on_cpu=True, is_bearable=_is_bearable_in_transformers),
    },
    table={
        "cpu": (Sizes(1, (1,), (512, 2048), (16,)),),  # a second a pass in transformers at 2048
        "cuda": (
            Sizes(2, (8,), (2048, 16384), (16, 11, 4), BF16),
            Sizes(8, (8,), (2048,), (16, 11, 4), F32),
        ),
    },
    quick={"cpu": (Sizes(1, (1,), (512,), (16,)),), "cuda": (Sizes(1, (8,), (2048,), (16,), BF16),)},
    suite_states=_SUITE_STATES,
    compared_states=(16,),
)

SELECTIVE_STATE_UPDATE = Operation(
    name="selective_state_update",
    label="a decode step of Mamba-1",
    models=(MAMBA1,),
    arguments=_step_arguments,
    cost=_step_cost,
    options={"dt_softplus": True},
    contenders={
        "mamba_ssm": Contender(_mamba_ssm_step, "mamba_ssm"),
        "hf": Contender(_hf_step, "transformers", on_cpu=True),
    },
    table={
        "cpu": (Sizes(4, (1, 8, 64), states=(16,)),),
        "cuda": (Sizes(3, (64, 1, 8, 256, 1024), states=(16, 4), dtype=BF16),),
    },
    quick={"cpu": (Sizes(4, (1,), states=(16,)),), "cuda": (Sizes(3, (64,), states=(16,), dtype=BF16),)},
    suite_states=_SUITE_STATES,
    compared_states=(16,),
    updates="state",
)
