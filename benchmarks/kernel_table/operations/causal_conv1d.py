"""The convolution before both scans, and its decode step."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.kernel_table.calls import hf_function
from benchmarks.kernel_table.operation import (
    BF16,
    F32,
    MAMBA1,
    MAMBA2,
    TAPS,
    Arguments,
    Call,
    Case,
    Contender,
    Operation,
    Sizes,
)

if TYPE_CHECKING:
    from benchmarks.kernel_table.draw import Draw

_OPTIONS = {"activation": "silu"}
_SUITE_STATES = {"quick": (128,), "paper": (128,)}
"""Of the published Mamba-2, which convolves B and C as well."""


def _arguments(case: Case, draw: Draw) -> Arguments:
    x = draw(case.batch, case.seqlen, case.channels).transpose(1, 2)
    return {"x": x, "weight": draw(case.channels, TAPS), "bias": draw(case.channels)}


def _step_arguments(case: Case, draw: Draw) -> Arguments:
    return {
        "x": draw(case.batch, case.channels),
        "conv_state": draw(case.batch, case.channels, TAPS),
        "weight": draw(case.channels, TAPS),
        "bias": draw(case.channels),
    }


def _cost(case: Case) -> dict[str, int]:
    return {"seqlen": case.seqlen, **_step_cost(case)}


def _step_cost(case: Case) -> dict[str, int]:
    return {"batch": case.batch, "channels": case.channels, "taps": TAPS, "itemsize": case.itemsize}


def _hf(_case: Case, given: Arguments) -> Call:
    convolve = hf_function("mamba2", "causal_conv1d_fn")
    return lambda: (convolve(*given.values(), **_OPTIONS),)


def _hf_step(_case: Case, given: Arguments) -> Call:
    step = hf_function("mamba2", "causal_conv1d_update")
    x, state, *filters = given.values()
    column = x[..., None]
    return lambda: (step(column, state, *filters, **_OPTIONS)[..., 0], state)


def _package(_case: Case, given: Arguments) -> Call:
    convolve = import_module("causal_conv1d").causal_conv1d_fn
    return lambda: (convolve(*given.values(), **_OPTIONS),)


def _package_step(_case: Case, given: Arguments) -> Call:
    step = import_module("causal_conv1d").causal_conv1d_update
    state = given["conv_state"]
    return lambda: (step(*given.values(), **_OPTIONS), state)


CAUSAL_CONV1D = Operation(
    name="causal_conv1d",
    label="the convolution before a scan",
    models=(MAMBA1, MAMBA2),
    arguments=_arguments,
    cost=_cost,
    options=_OPTIONS,
    contenders={
        "mamba_ssm": Contender(_package, "causal_conv1d"),
        "hf": Contender(_hf, "transformers", on_cpu=True),
    },
    table={
        "cpu": (Sizes(2, (1,), (512, 2048, 4096)),),
        "cuda": (Sizes(5, (8,), (2048, 16384), dtype=BF16), Sizes(10, (8,), (2048,), dtype=F32)),
    },
    quick={"cpu": (Sizes(2, (1,), (512,)),), "cuda": (Sizes(4, (8,), (2048,), dtype=BF16),)},
    suite_states=_SUITE_STATES,
    compared_states=(128,),
)

CAUSAL_CONV1D_UPDATE = Operation(
    name="causal_conv1d_update",
    label="a decode step of the convolution",
    models=(MAMBA1, MAMBA2),
    arguments=_step_arguments,
    cost=_step_cost,
    options=_OPTIONS,
    contenders={
        "mamba_ssm": Contender(_package_step, "causal_conv1d"),
        "hf": Contender(_hf_step, "transformers", on_cpu=True),
    },
    table={"cpu": (Sizes(5, (1, 8, 64)),), "cuda": (Sizes(6, (64, 1, 1024), dtype=BF16),)},
    quick={"cpu": (Sizes(5, (1,)),), "cuda": (Sizes(5, (64,), dtype=BF16),)},
    suite_states=_SUITE_STATES,
    compared_states=(128,),
    updates="conv_state",
)
