"""Our kernels as transformers' Mamba mixers call them.

In: the arguments of one of the functions that the mixers call (see `perfmamba.models.mixers`), after the name
of a backend of `perfmamba_kernels`. Out: what that function returns.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import perfmamba_kernels

from perfmamba.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

_PACKED = ("seq_idx", "cu_seqlens", "cu_seq_lens_q")


def _conv(
    backend: str,
    x: "Tensor",  # (b, c, l)
    weight: "Tensor",
    bias: "Tensor | None" = None,
    activation: str | None = None,
    **kwargs: Any,
) -> "Tensor":
    _require_unpacked(backend, kwargs)
    convolve = perfmamba_kernels.causal_conv1d
    return convolve(x, weight, bias, activation=activation, backend=backend)[0]


def _conv_update(
    backend: str,
    x: "Tensor",  # (b, c, 1)
    conv_state: "Tensor",
    weight: "Tensor",
    bias: "Tensor | None" = None,
    activation: str | None = None,
) -> "Tensor":
    convolve = perfmamba_kernels.causal_conv1d_update
    y = convolve(x[..., 0], conv_state, weight, bias, activation=activation, backend=backend)
    return y[..., None]


def _selective_scan(
    backend: str, *args: Any, return_last_state: bool = False, **kwargs: Any
) -> "Tensor | tuple[Tensor, Tensor]":
    _require_unpacked(backend, kwargs)
    options = _picked(kwargs, "D", "z", "delta_bias", "delta_softplus")
    y, state = perfmamba_kernels.selective_scan(*args, **options, backend=backend)
    return (y, state) if return_last_state else y


def _selective_state_update(backend: str, *args: Any, **kwargs: Any) -> "Tensor":
    options = _picked(kwargs, "D", "z", "dt_bias", "dt_softplus")
    return perfmamba_kernels.selective_state_update(*args, **options, backend=backend)


def _ssd(
    backend: str, *args: Any, return_final_states: bool = False, **kwargs: Any
) -> "Tensor | tuple[Tensor, Tensor]":
    _require_unpacked(backend, kwargs)
    x, dt, A, B, C, *_chunk_size = args
    options = _picked(kwargs, "D", "z", "dt_bias", "initial_states", "dt_softplus", "dt_limit")
    y, states = perfmamba_kernels.ssd(x, dt, A, B, C, **options, backend=backend)
    return (y, states) if return_final_states else y


def _ssd_update(
    backend: str,
    state: "Tensor",
    x: "Tensor",
    dt: "Tensor",  # (b, h, p), the same for all channels of a head; so are A (h, p, n), D and dt_bias (h, p)
    A: "Tensor",
    B: "Tensor",
    C: "Tensor",
    D: "Tensor | None" = None,
    *,
    z: "Tensor | None" = None,
    dt_bias: "Tensor | None" = None,
    dt_softplus: bool = False,
    **_: Any,
) -> "Tensor":
    return perfmamba_kernels.ssd_update(
        state,
        x,
        dt[..., 0],
        A[:, 0, 0],
        B,
        C,
        None if D is None else D[:, 0],
        z,
        None if dt_bias is None else dt_bias[:, 0],
        dt_softplus=dt_softplus,
        backend=backend,
    )


def _picked(kwargs: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return those of transformers' arguments that our operation takes by the same name."""
    return {name: kwargs[name] for name in names if name in kwargs}


def _require_unpacked(backend: str, kwargs: dict[str, Any]) -> None:
    """Check that no row holds several sequences: one would run into the next.

    Raises:
        ModelError: if a row does.
    """
    given = [name for name in _PACKED if kwargs.get(name) is not None]
    if given:
        raise ModelError(
            f"backend {backend} takes no packed sequences from a model ({', '.join(given)}); pad them instead"
        )


KERNEL_CALLS: dict[str, Callable[..., Any]] = {
    "causal_conv1d_fn": _conv,
    "causal_conv1d_update": _conv_update,
    "mamba_selective_scan": _selective_scan,
    "mamba_selective_state_update": _selective_state_update,
    "mamba2_chunk_scan": _ssd,
    "mamba2_selective_state_update": _ssd_update,
}
"""For each function that transformers' Mamba mixers call, what calls our operation in its place."""
