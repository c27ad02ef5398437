"""Which kernels run a model's convolutions and scans: transformers' own, the official ones, or ours.

In: a model. `use_backend` chooses for this instance alone, and can be called again at any time. The rest of
the module says in our operations' terms what each function does that transformers' mixers call.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import perfmamba_kernels

from perfmamba.errors import ModelError
from perfmamba.models.mixers import (
    backend_packages,
    choose_functions,
    component_map,
    install_mixer_functions,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

OURS = perfmamba_kernels.BACKENDS
BACKENDS = ("hf", "mamba_ssm", *OURS)
"""`hf` is transformers' own code in torch, `mamba_ssm` the official packages; the others are ours."""

_CHOICE = "perfmamba_backend"
_PACKED = ("seq_idx", "cu_seqlens", "cu_seq_lens_q")


def use_backend(model: "nn.Module", backend: str | None) -> None:
    """Choose what runs the convolutions and scans of a model from now on.

    All else stays as it is: weights, caches, other models. Ours have no backward pass: call the model under
    `torch.no_grad()` or `torch.inference_mode()`.

    Args:
        model: a transformers model with Mamba-1 or Mamba-2 mixers, hybrids included.
        backend: one of `BACKENDS`; None leaves the choice to transformers, as before the first call.

    Raises:
        ModelError: if the model has no Mamba mixer, the backend is unknown, or it cannot run where the model
            is.
    """
    if backend is not None and backend not in BACKENDS:
        raise ModelError(f"unknown backend {backend!r}; use one of {', '.join(BACKENDS)}")
    components = component_map(model)
    install_mixer_functions(components)
    weight = next(components.mixers[0].module.parameters())
    if backend == "mamba_ssm" and (running := backend_packages(components, weight.device)["ssm"]) != backend:
        raise ModelError(
            f"backend mamba_ssm: on {weight.device} transformers runs the scan by {running}; a CUDA device "
            "and a mamba_ssm that can be imported are needed"
        )
    if backend == "triton" and (reason := perfmamba_kernels.why_not_triton(weight)):
        raise ModelError(f"backend triton cannot run this model: {reason}")
    for mixer in components.mixers:
        if not hasattr(mixer.module, _CHOICE):
            mixer.module.register_forward_pre_hook(_enter)
            mixer.module.register_forward_hook(_leave, always_call=True)
        setattr(mixer.module, _CHOICE, backend)


def running_packages(model: "nn.Module") -> dict[str, str]:
    """The packages whose code runs a model's `conv` and `ssm`, such as `torch` or `mamba_ssm`.

    Call it after `use_backend`. transformers falls back to its torch functions without an error when a
    package cannot be imported, so what is installed does not tell what runs.

    Raises:
        ModelError: if the model has no Mamba mixer.
    """
    components = component_map(model)
    mixer = components.mixers[0].module
    backend = getattr(mixer, _CHOICE, None)
    if backend in OURS:
        return dict.fromkeys(("conv", "ssm"), f"perfmamba_kernels ({backend})")
    if backend == "hf":
        return dict.fromkeys(("conv", "ssm"), "torch")
    return backend_packages(components, next(mixer.parameters()).device)


def _enter(mixer: "nn.Module", *_: Any) -> None:
    choose_functions(_CHOOSERS[getattr(mixer, _CHOICE)])


def _leave(*_: Any) -> None:
    choose_functions(None)


def _torch_function(_name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """What transformers runs without any kernel package."""
    torch_function: Callable[..., Any] = inspect.unwrap(function)
    return torch_function


def _our_function(backend: str, name: str, _function: Callable[..., Any]) -> Callable[..., Any]:
    return partial(_OUR_FUNCTIONS[name], backend)


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
    """Of what transformers passes, what our operation takes by the same name."""
    return {name: kwargs[name] for name in names if name in kwargs}


def _require_unpacked(backend: str, kwargs: dict[str, Any]) -> None:
    """Sequences behind each other in a row would run into each other.

    Raises:
        ModelError: if there are any.
    """
    given = [name for name in _PACKED if kwargs.get(name) is not None]
    if given:
        raise ModelError(
            f"backend {backend} takes no packed sequences from a model ({', '.join(given)}); pad them instead"
        )


_OUR_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "causal_conv1d_fn": _conv,
    "causal_conv1d_update": _conv_update,
    "mamba_selective_scan": _selective_scan,
    "mamba_selective_state_update": _selective_state_update,
    "mamba2_chunk_scan": _ssd,
    "mamba2_selective_state_update": _ssd_update,
}
_CHOOSERS: dict[str | None, Callable[[str, Callable[..., Any]], Callable[..., Any]] | None] = {
    None: None,
    "mamba_ssm": None,
    "hf": _torch_function,
    **{backend: partial(_our_function, backend) for backend in OURS},
}
