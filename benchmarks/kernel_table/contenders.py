"""Who computes an operation: transformers, the official packages, flash-linear-attention, and our backends.

In: a case and its arguments. Out: for each contender a call that computes the case once and returns the
output and, where it gives one, the state afterwards. A step changes the state among its arguments. Packages
are imported when a contender is asked for, so one that is missing or broken costs only its own row.
"""

import inspect
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import perfmamba_kernels
import torch
from torch import Tensor

from benchmarks.kernel_table.cases import HEAD_DIM, HEADS, OPTIONS, STATES, Arguments, Case

Outputs = tuple[Tensor, ...]
Call = Callable[[], Outputs]
Maker = Callable[[Case, Arguments], Call]

CHUNK = 256
"""Positions a chunk, where a contender is told: what the published models say."""

PACKAGES = {"hf": ("transformers",), "mamba_ssm": ("mamba_ssm", "causal_conv1d"), "fla": ("fla",)}
"""What contenders are made of that are not ours."""

BASELINES = {"cpu": ("hf", "torch"), "cuda": ("mamba_ssm", "hf", "torch")}
"""What the others are compared with: the first of these that runs a case."""

_BEARABLE_POSITIONS, _BEARABLE_TOKENS, _BEARABLE_BYTES = 2048, 16384, 8e9
"""On a GPU, of scans that are loops in Python: the positions that transformers loops over in Mamba-1, and the
tokens that our torch backend does; and what transformers holds at once in Mamba-2."""


def contenders(case: Case, device: str) -> dict[str, Maker]:
    """Who is installed and computes this operation on this device, the baselines first."""
    tokens = case.batch * case.seqlen
    makers = {
        "mamba_ssm": _MAMBA_SSM.get(case.operation) if device == "cuda" else None,
        "hf": _HF[case.operation] if device == "cpu" or _is_bearable_in_transformers(case) else None,
        "fla": _fla_ssd if device == "cuda" and case.operation == "ssd" else None,
        "torch": partial(_ours, "torch") if device == "cpu" or tokens <= _BEARABLE_TOKENS else None,
        "triton": partial(_ours, "triton") if device == "cuda" else None,
    }
    absent = missing_packages()
    return {name: maker for name, maker in makers.items() if maker and not _needed(name, case) & set(absent)}


def missing_packages() -> list[str]:
    """Which of the `PACKAGES` are not installed."""
    return [package for packages in PACKAGES.values() for package in packages if find_spec(package) is None]


def reference(case: Case, arguments: Arguments) -> Outputs:
    """The sequential recurrence in float64, on the same numbers."""
    return _ours("reference", case, {name: value.double() for name, value in arguments.items()})()


def _needed(name: str, case: Case) -> set[str]:
    if name == "mamba_ssm":
        return {"causal_conv1d" if case.operation.startswith("causal_conv1d") else "mamba_ssm"}
    return set(PACKAGES.get(name, ()))


def _is_bearable_in_transformers(case: Case) -> bool:
    """Whether it can be asked on a GPU.

    Its scan of Mamba-1 is a loop in Python, and that of Mamba-2 holds several float32 tensors of all pairs of
    positions in a chunk, for all heads.
    """
    if case.operation == "selective_scan":
        return case.seqlen <= _BEARABLE_POSITIONS
    pairs = case.batch * case.seqlen * CHUNK * HEADS
    return case.operation != "ssd" or 4 * 4 * pairs <= _BEARABLE_BYTES


def _ours(backend: str, case: Case, arguments: Arguments) -> Call:
    operation: Callable[..., Any] = getattr(perfmamba_kernels, case.operation)
    options = {**OPTIONS[case.operation], "backend": backend}
    if case.operation not in STATES:
        return lambda: operation(**arguments, **options)
    state = arguments[STATES[case.operation]]
    return lambda: (operation(**arguments, **options), state)


def _hf_function(module: str, name: str) -> Callable[..., Any]:
    """What transformers runs where it finds no kernel package; it has it by name from 5.15 on."""
    function = getattr(import_module(f"transformers.models.{module}.modeling_{module}"), name)
    return inspect.unwrap(function)


def _hf_ssd(_case: Case, given: Arguments) -> Call:
    scan = _hf_function("mamba2", "mamba2_chunk_scan")
    sequence, constants = _split(given, "x", "dt", "A", "B", "C")
    options = {**OPTIONS["ssd"], "return_final_states": True}
    return lambda: scan(*sequence, CHUNK, **constants, **options)


def _hf_ssd_update(_case: Case, given: Arguments) -> Call:
    step = _hf_function("mamba2", "mamba2_selective_state_update")
    return _stepping(step, _spread_over_channels(given))


def _hf_selective_scan(_case: Case, given: Arguments) -> Call:
    scan = _hf_function("mamba", "mamba_selective_scan")
    sequence, others = _split(given, "u", "delta", "A", "B", "C")
    options = {**OPTIONS["selective_scan"], "return_last_state": True}
    return lambda: scan(*sequence, **others, **options)


def _hf_selective_state_update(_case: Case, given: Arguments) -> Call:
    return _stepping(_hf_function("mamba", "mamba_selective_state_update"), given)


def _hf_causal_conv1d(_case: Case, given: Arguments) -> Call:
    convolve = _hf_function("mamba2", "causal_conv1d_fn")
    return lambda: (convolve(*given.values(), **OPTIONS["causal_conv1d"]),)


def _hf_causal_conv1d_update(_case: Case, given: Arguments) -> Call:
    step = _hf_function("mamba2", "causal_conv1d_update")
    x, state, *filters = given.values()
    column = x[..., None]
    return lambda: (step(column, state, *filters, **OPTIONS["causal_conv1d_update"])[..., 0], state)


def _mamba_ssm_ssd(_case: Case, given: Arguments) -> Call:
    scan = import_module("mamba_ssm.ops.triton.ssd_combined").mamba_chunk_scan_combined
    sequence, constants = _split(given, "x", "dt", "A", "B", "C")
    options = {**OPTIONS["ssd"], "return_final_states": True}
    return lambda: scan(*sequence, CHUNK, **constants, **options)


def _mamba_ssm_ssd_update(_case: Case, given: Arguments) -> Call:
    step = import_module("mamba_ssm.ops.triton.selective_state_update").selective_state_update
    return _stepping(step, _spread_over_channels(given))


def _mamba_ssm_selective_scan(_case: Case, given: Arguments) -> Call:
    """On inputs with the positions next to each other: it would copy others, which is not what is timed."""
    scan = import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    laid_out = {name: value.contiguous() for name, value in given.items()}
    options = {**OPTIONS["selective_scan"], "return_last_state": True}
    return lambda: scan(**laid_out, **options)


def _mamba_ssm_selective_state_update(_case: Case, given: Arguments) -> Call:
    return _stepping(
        import_module("mamba_ssm.ops.triton.selective_state_update").selective_state_update, given
    )


def _causal_conv1d_package(_case: Case, given: Arguments) -> Call:
    convolve = import_module("causal_conv1d").causal_conv1d_fn
    return lambda: (convolve(*given.values(), **OPTIONS["causal_conv1d"]),)


def _causal_conv1d_package_update(_case: Case, given: Arguments) -> Call:
    step = import_module("causal_conv1d").causal_conv1d_update
    state = given["conv_state"]
    return lambda: (step(*given.values(), **OPTIONS["causal_conv1d_update"]), state)


def _fla_ssd(_case: Case, given: Arguments) -> Call:
    """Gated linear attention with q = C, k = B, v = dt x and one gate dt A a head is the core of SSD."""
    attend = import_module("fla.ops.simple_gla").chunk_simple_gla

    def scan() -> Outputs:
        dt = torch.nn.functional.softplus(given["dt"].float() + given["dt_bias"])  # (b, l, h)
        inputs = (given["x"] * dt[..., None]).to(given["x"].dtype)
        keys, queries = (given[name].expand(-1, -1, HEADS, -1) for name in "BC")  # it knows no groups
        y, state = attend(queries, keys, inputs, dt * given["A"], scale=1.0, output_final_state=True)
        y = (y + given["D"][:, None] * given["x"]).to(y.dtype)
        return y, state.transpose(2, 3)

    return scan


def _stepping(step: Callable[..., Tensor], given: Arguments) -> Call:
    """A step as `mamba_ssm` and transformers have it, which takes the state first."""
    positional, others = _split(given, "state", "x", "dt", "A", "B", "C")
    return lambda: (step(*positional, **others, dt_softplus=True), given["state"])


def _split(given: Arguments, *names: str) -> tuple[list[Tensor], Arguments]:
    """What is passed by position, and the rest."""
    return [given[name] for name in names], {
        name: value for name, value in given.items() if name not in names
    }


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


_HF: dict[str, Maker] = {
    "ssd": _hf_ssd,
    "ssd_update": _hf_ssd_update,
    "selective_scan": _hf_selective_scan,
    "selective_state_update": _hf_selective_state_update,
    "causal_conv1d": _hf_causal_conv1d,
    "causal_conv1d_update": _hf_causal_conv1d_update,
}
_MAMBA_SSM: dict[str, Maker] = {
    "ssd": _mamba_ssm_ssd,
    "ssd_update": _mamba_ssm_ssd_update,
    "selective_scan": _mamba_ssm_selective_scan,
    "selective_state_update": _mamba_ssm_selective_state_update,
    "causal_conv1d": _causal_conv1d_package,
    "causal_conv1d_update": _causal_conv1d_package_update,
}
