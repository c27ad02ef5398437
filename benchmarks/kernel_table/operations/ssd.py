"""Mamba-2's scan and its decode step."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.kernel_table.calls import first_position, hf_function, mamba_ssm_step, split, stepping
from benchmarks.kernel_table.operation import (
    BF16,
    CHANNELS,
    CHUNK,
    F32,
    HEAD_DIM,
    HEADS,
    MAMBA2,
    Arguments,
    Call,
    Case,
    Contender,
    Operation,
    Outputs,
    Sizes,
)

if TYPE_CHECKING:
    from benchmarks.kernel_table.draw import Draw

_OPTIONS = {"dt_softplus": True}
_BEARABLE_BYTES = 8e9
_CPU_STATES = (128, 64, 12)
_STATES = (128, 89, 64, 38, 12)
_SUITE_STATES = {"quick": (128, 12), "paper": _STATES}


def _scan_arguments(case: Case, draw: Draw) -> Arguments:
    """x, B and C are slices of one tensor."""
    sizes = [CHANNELS, case.states, case.states]
    x, b, c = draw(case.batch, case.seqlen, case.channels).split_with_sizes(sizes, dim=2)
    return {
        "x": x.view(case.batch, case.seqlen, HEADS, HEAD_DIM),
        "dt": draw(case.batch, case.seqlen, HEADS),
        "A": draw.decay_rates(HEADS),
        "B": b[:, :, None],
        "C": c[:, :, None],
        "D": draw.constants(HEADS),
        "dt_bias": draw.step_bias(HEADS),
    }


def _step_arguments(case: Case, draw: Draw) -> Arguments:
    state = draw(case.batch, HEADS, HEAD_DIM, case.states)
    return {"state": state, **first_position(_scan_arguments(case, draw), {"x", "dt", "B", "C"}, dim=1)}


def _scan_cost(case: Case) -> dict[str, int]:
    return {
        "batch": case.batch,
        "seqlen": case.seqlen,
        "heads": HEADS,
        "head_dim": HEAD_DIM,
        "states": case.states,
        "itemsize": case.itemsize,
    }


def _step_cost(case: Case) -> dict[str, int]:
    sizes = _scan_cost(case)
    del sizes["seqlen"]
    return {**sizes, "state_itemsize": case.itemsize}


def _is_bearable_in_transformers(case: Case) -> bool:
    """It holds several float32 tensors of all pairs of positions in a chunk, for all heads."""
    pairs = case.batch * case.seqlen * CHUNK * HEADS
    return 4 * 4 * pairs <= _BEARABLE_BYTES


def _hf_scan(_case: Case, given: Arguments) -> Call:
    scan = hf_function("mamba2", "mamba2_chunk_scan")
    sequence, constants = split(given, "x", "dt", "A", "B", "C")
    return lambda: scan(*sequence, CHUNK, **constants, **_OPTIONS, return_final_states=True)


def _hf_step(_case: Case, given: Arguments) -> Call:
    return stepping(hf_function("mamba2", "mamba2_selective_state_update"), _spread_over_channels(given))


def _mamba_ssm_scan(_case: Case, given: Arguments) -> Call:
    scan = import_module("mamba_ssm.ops.triton.ssd_combined").mamba_chunk_scan_combined
    sequence, constants = split(given, "x", "dt", "A", "B", "C")
    return lambda: scan(*sequence, CHUNK, **constants, **_OPTIONS, return_final_states=True)


def _mamba_ssm_step(_case: Case, given: Arguments) -> Call:
    return stepping(mamba_ssm_step(), _spread_over_channels(given))


def _fla_scan(_case: Case, given: Arguments) -> Call:
    """Gated linear attention with q = C, k = B, v = dt x and one gate dt A a head is the core of SSD."""
    from torch.nn.functional import softplus

    attend = import_module("fla.ops.simple_gla").chunk_simple_gla

    def scan() -> Outputs:
        dt = softplus(given["dt"].float() + given["dt_bias"])  # (b, l, h)
        inputs = (given["x"] * dt[..., None]).to(given["x"].dtype)
        keys, queries = (given[name].expand(-1, -1, HEADS, -1) for name in "BC")  # it knows no groups
        y, state = attend(queries, keys, inputs, dt * given["A"], scale=1.0, output_final_state=True)
        y = (y + given["D"][:, None] * given["x"]).to(y.dtype)
        return y, state.transpose(2, 3)

    return scan


def _spread_over_channels(given: Arguments) -> Arguments:
    """What a head has one of, for each of its channels, without a copy: what others ask for in a step."""
    states = given["state"].shape[-1]
    return {
        **given,
        "dt": given["dt"][..., None].expand(-1, -1, HEAD_DIM),
        "A": given["A"][:, None, None].expand(-1, HEAD_DIM, states),
        "D": given["D"][:, None].expand(-1, HEAD_DIM),
        "dt_bias": given["dt_bias"][:, None].expand(-1, HEAD_DIM),
    }


SSD = Operation(
    name="ssd",
    label="Mamba-2's scan",
    models=(MAMBA2,),
    arguments=_scan_arguments,
    cost=_scan_cost,
    options=_OPTIONS,
    contenders={
        "mamba_ssm": Contender(_mamba_ssm_scan, "mamba_ssm"),
        "hf": Contender(_hf_scan, "transformers", on_cpu=True, is_bearable=_is_bearable_in_transformers),
        "fla": Contender(_fla_scan, "fla"),
    },
    table={
        "cpu": (Sizes(0, (1,), (512, 2048, 4096), _CPU_STATES),),
        "cuda": (
            Sizes(0, (8,), (2048, 4096, 8192, 16384), _STATES, BF16),
            Sizes(4, (1,), (2048, 16384), (128, 38), BF16),
            Sizes(7, (8,), (2048, 16384), (128, 38, 12), F32),
        ),
    },
    quick={
        "cpu": (Sizes(0, (1,), (512,), (128, 12)),),
        "cuda": (Sizes(0, (8,), (2048,), (128, 38), BF16), Sizes(7, (8,), (2048,), (128,), F32)),
    },
    suite_states=_SUITE_STATES,
    compared_states=(128, 12),
)

SSD_UPDATE = Operation(
    name="ssd_update",
    label="a decode step of Mamba-2",
    models=(MAMBA2,),
    arguments=_step_arguments,
    cost=_step_cost,
    options=_OPTIONS,
    contenders={
        "mamba_ssm": Contender(_mamba_ssm_step, "mamba_ssm"),
        "hf": Contender(_hf_step, "transformers", on_cpu=True),
    },
    table={
        "cpu": (Sizes(3, (1, 8, 64), states=_CPU_STATES),),
        "cuda": (
            Sizes(1, (64, 1, 8, 256, 1024), states=_STATES, dtype=BF16),
            Sizes(9, (64, 1024), states=(128, 12), dtype=F32),
        ),
    },
    quick={
        "cpu": (Sizes(3, (1,), states=(128, 12)),),
        "cuda": (Sizes(2, (64,), states=(128, 12), dtype=BF16),),
    },
    suite_states=_SUITE_STATES,
    compared_states=(128, 12),
    updates="state",
)
