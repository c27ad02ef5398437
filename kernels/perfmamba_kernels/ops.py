"""The operations, for any device and dtype: each checks its input and calls the backend that fits.

In and out: as `perfmamba_kernels.reference`, which says what each argument is. `backend` is "reference"
(sequential, slow, exact), "torch" (chunked, any device), "triton" (a GPU, or Triton's interpreter) or None:
the fastest of these that can compute the input.
"""

import os
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from perfmamba_kernels.checks import (
    KernelError,
    check,
    check_activation,
    check_cu_seqlens,
    check_groups,
    check_no_gradient,
)
from perfmamba_kernels.elementwise import NO_LIMIT

Scan = Callable[..., tuple[Tensor, Tensor]]
Step = Callable[..., Tensor]

BACKENDS = ("reference", "torch", "triton")
TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TRITON_MAX_STATES = 256

_CONV = {"x": "b c l", "weight": "c k", "bias": "c", "initial_states": "b c k-1"}
_CONV_UPDATE = {"x": "b c", "conv_state": "b c s", "weight": "c k", "bias": "c"}
_SELECTIVE_SCAN = {
    "u": "b d l",
    "delta": "b d l",
    "A": "d n",
    "B": "b n l",
    "C": "b n l",
    "D": "d",
    "z": "b d l",
    "delta_bias": "d",
    "initial_state": "b d n",
}
_SELECTIVE_STATE_UPDATE = {
    "x": "b d",
    "dt": "b d",
    "A": "d n",
    "B": "b n",
    "C": "b n",
    "D": "d",
    "z": "b d",
    "dt_bias": "d",
    "state": "b d n",
}
_SSD = {
    "x": "b l h p",
    "dt": "b l h",
    "A": "h",
    "B": "b l g n",
    "C": "b l g n",
    "D": "h",
    "z": "b l h p",
    "dt_bias": "h",
    "initial_states": "s h p n",
}
_SSD_UPDATE = {
    "x": "b h p",
    "dt": "b h",
    "A": "h",
    "B": "b g n",
    "C": "b g n",
    "D": "h",
    "z": "b h p",
    "dt_bias": "h",
    "state": "b h p n",
}


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    initial_states: Tensor | None = None,
    activation: str | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """`reference.causal_conv1d` on a backend.

    Raises:
        KernelError: if the input does not fit together, or the backend cannot compute it.
    """
    tensors = {"x": x, "weight": weight, "bias": bias, "initial_states": initial_states}
    compute: Scan = _checked("causal_conv1d", backend, _CONV, tensors)
    check_activation("causal_conv1d", activation)
    return compute(x, weight, bias, initial_states=initial_states, activation=activation)


def causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str | None = None,
    backend: str | None = None,
) -> Tensor:
    """`reference.causal_conv1d_update` on a backend.

    Raises:
        KernelError: if the input does not fit together, or the backend cannot compute it.
    """
    tensors = {"x": x, "conv_state": conv_state, "weight": weight, "bias": bias}
    compute: Step = _checked("causal_conv1d_update", backend, _CONV_UPDATE, tensors)
    check_activation("causal_conv1d_update", activation)
    if conv_state.shape[2] < weight.shape[1] - 1:
        raise KernelError(
            f"causal_conv1d_update: conv_state holds {conv_state.shape[2]} inputs, fewer than the "
            f"{weight.shape[1] - 1} that {weight.shape[1]} taps look back to"
        )
    return compute(x, conv_state, weight, bias, activation=activation)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """`reference.selective_scan` on a backend.

    Raises:
        KernelError: if the input does not fit together, or the backend cannot compute it.
    """
    tensors = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias}
    compute: Scan = _checked(
        "selective_scan", backend, _SELECTIVE_SCAN, {**tensors, "initial_state": initial_state}
    )
    return compute(*tensors.values(), delta_softplus=delta_softplus, initial_state=initial_state)


def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    dt_softplus: bool = False,
    backend: str | None = None,
) -> Tensor:
    """`reference.selective_state_update` on a backend.

    Raises:
        KernelError: if the input does not fit together, or the backend cannot compute it.
    """
    tensors = {"x": x, "dt": dt, "A": A, "B": B, "C": C, "D": D, "z": z, "dt_bias": dt_bias}
    compute: Step = _checked(
        "selective_state_update", backend, _SELECTIVE_STATE_UPDATE, {**tensors, "state": state}
    )
    return compute(state, *tensors.values(), dt_softplus=dt_softplus)


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    initial_states: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = NO_LIMIT,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """`reference.ssd` on a backend.

    Raises:
        KernelError: if the input does not fit together, or the backend cannot compute it. The values of
            `cu_seqlens` are looked at on a CPU only: on a GPU that would mean to wait for it.
    """
    tensors = {"x": x, "dt": dt, "A": A, "B": B, "C": C, "D": D, "z": z, "dt_bias": dt_bias}
    compute: Scan = _checked("ssd", backend, _SSD, {**tensors, "initial_states": initial_states})
    check_groups("ssd", x.shape[2], B.shape[2])
    sequences = len(x)
    if cu_seqlens is not None:
        sequences = check_cu_seqlens("ssd", cu_seqlens, x)
    if initial_states is not None and len(initial_states) != sequences:
        raise KernelError(f"ssd: {len(initial_states)} initial states for {sequences} sequences")
    return compute(
        *tensors.values(),
        initial_states=initial_states,
        dt_softplus=dt_softplus,
        dt_limit=dt_limit,
        cu_seqlens=cu_seqlens,
    )


def ssd_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = NO_LIMIT,
    backend: str | None = None,
) -> Tensor:
    """`reference.ssd_update` on a backend.

    Raises:
        KernelError: if the input does not fit together, or the backend cannot compute it.
    """
    tensors = {"x": x, "dt": dt, "A": A, "B": B, "C": C, "D": D, "z": z, "dt_bias": dt_bias}
    compute: Step = _checked("ssd_update", backend, _SSD_UPDATE, {**tensors, "state": state})
    check_groups("ssd_update", x.shape[1], B.shape[1])
    return compute(state, *tensors.values(), dt_softplus=dt_softplus, dt_limit=dt_limit)


def _checked(
    operation: str, backend: str | None, axes: Mapping[str, str], tensors: Mapping[str, Tensor | None]
) -> Any:
    """The function that computes an operation, if its input is right."""
    sizes = check(operation, axes, tensors)
    x = next(tensor for tensor in tensors.values() if tensor is not None)
    states = sizes.get("n", 1)
    if backend is None:
        backend = "triton" if x.is_cuda and not why_not_triton(x, states) else "torch"
    if backend not in BACKENDS:
        raise KernelError(f"{operation}: unknown backend {backend!r}; use one of {', '.join(BACKENDS)}")
    if backend == "triton" and (reason := why_not_triton(x, states)):
        raise KernelError(f"{operation}: backend triton cannot compute this: {reason}")
    check_no_gradient(operation, tensors)
    return _function(operation, backend)


def why_not_triton(x: Tensor, states: int = 1) -> str:
    """What keeps the triton backend from computing with tensors like x; empty if nothing does."""
    if not _is_installed("triton"):
        return "the package triton is not installed"
    if not x.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        return f"it is on {x.device}; use a CUDA device, or Triton's interpreter (TRITON_INTERPRET=1)"
    if x.dtype not in TRITON_DTYPES:
        return f"{x.dtype} is none of {', '.join(map(str, TRITON_DTYPES))}"
    if states > TRITON_MAX_STATES:
        return f"{states} states are more than {TRITON_MAX_STATES}"
    return ""


@cache
def _is_installed(package: str) -> bool:
    return find_spec(package) is not None


@cache
def _function(operation: str, backend: str) -> Any:
    module = "reference" if backend == "reference" else f"{backend}_backend"
    return getattr(import_module(f"perfmamba_kernels.{module}"), operation)
