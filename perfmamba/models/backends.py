"""The backends: what can run a model's convolutions and scans.

In: a model. `use_backend` chooses a backend for this model alone, and can be called again at any time.

Adding a backend: one entry in `BACKENDS`. Importing this module needs neither torch nor transformers, so that
the command line can list the names.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from perfmamba.errors import ModelError
from perfmamba.models.mixers import (
    ComponentMap,
    FunctionChooser,
    backend_packages,
    choose_functions,
    component_map,
    install_mixer_functions,
)

if TYPE_CHECKING:
    from torch import nn

_CHOICE = "perfmamba_backend"


@dataclass(frozen=True)
class Backend:
    """A choice of what runs the convolutions and scans of a model.

    Attributes:
        name: what `--backend` and `use_backend` take.
        label: what it is, in words.
        needs: what a machine must have to run it, in words; empty if nothing.
        why_not: returns why it cannot run a model on the model's device; an empty string if it can.
        choose: returns what a mixer calls in place of a function of transformers; None keeps that function.
        package: whose code runs then; None for the package that transformers picked.
    """

    name: str
    label: str
    needs: str
    why_not: Callable[[ComponentMap], str]
    choose: FunctionChooser | None
    package: str | None


def use_backend(model: "nn.Module", backend: str | None) -> None:
    """Choose what runs the convolutions and scans of a model from now on.

    Everything else stays as it is: weights, caches, other models. The backends `reference`, `torch` and
    `triton` have no backward pass: call the model under `torch.no_grad()` or `torch.inference_mode()`.

    Args:
        model: a transformers model with Mamba-1 or Mamba-2 mixers, hybrids included.
        backend: a key of `BACKENDS`; None leaves the choice to transformers, as before the first call.

    Raises:
        ModelError: if the model has no Mamba mixer, the backend is unknown, or it cannot run where the model
            is.
    """
    if backend is not None and backend not in BACKENDS:
        raise ModelError(f"unknown backend {backend!r}; use one of {', '.join(BACKENDS)}")
    components = component_map(model)
    install_mixer_functions(components)
    if backend is not None and (reason := BACKENDS[backend].why_not(components)):
        raise ModelError(reason)
    for mixer in components.mixers:
        if not hasattr(mixer.module, _CHOICE):
            mixer.module.register_forward_pre_hook(_enter)
            mixer.module.register_forward_hook(_leave, always_call=True)
        setattr(mixer.module, _CHOICE, backend)


def running_packages(model: "nn.Module") -> dict[str, str]:
    """Return the packages whose code runs a model's `conv` and `ssm`, such as `torch` or `mamba_ssm`.

    Call it after `use_backend`. transformers falls back to its torch functions without an error when a
    package cannot be imported, so what is installed does not tell what runs.

    Raises:
        ModelError: if the model has no Mamba mixer.
    """
    components = component_map(model)
    mixer = components.mixers[0].module
    backend = BACKENDS.get(getattr(mixer, _CHOICE, None) or "")
    if backend is None or backend.package is None:
        return backend_packages(components, next(mixer.parameters()).device)
    return dict.fromkeys(("conv", "ssm"), backend.package)


def _enter(mixer: "nn.Module", *_: Any) -> None:
    backend = getattr(mixer, _CHOICE)
    choose_functions(None if backend is None else BACKENDS[backend].choose)


def _leave(*_: Any) -> None:
    choose_functions(None)


def _torch_function(_name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what transformers runs where no kernel package is installed."""
    torch_function: Callable[..., Any] = inspect.unwrap(function)
    return torch_function


def _runs_anywhere(_components: ComponentMap) -> str:
    return ""


def _why_not_mamba_ssm(components: ComponentMap) -> str:
    device = next(components.mixers[0].module.parameters()).device
    running = backend_packages(components, device)["ssm"]
    if running == "mamba_ssm":
        return ""
    return (
        f"backend mamba_ssm: on {device} transformers runs the scan by {running}; a CUDA device "
        "and a mamba_ssm that can be imported are needed"
    )


def _why_not_triton(components: ComponentMap) -> str:
    from perfmamba_kernels import why_not_triton

    reason = why_not_triton(next(components.mixers[0].module.parameters()))
    return reason and f"backend triton cannot run this model: {reason}"


def _ours(
    name: str, label: str, *, needs: str = "", why_not: Callable[[ComponentMap], str] = _runs_anywhere
) -> Backend:
    """A backend of `perfmamba_kernels`."""

    @cache
    def kernel_call(function_name: str) -> Callable[..., Any]:
        from perfmamba.models.kernel_calls import KERNEL_CALLS

        return partial(KERNEL_CALLS[function_name], name)

    return Backend(
        name,
        label,
        needs,
        why_not,
        choose=lambda function_name, _function: kernel_call(function_name),
        package=f"perfmamba_kernels ({name})",
    )


_ALL = (
    Backend(
        "hf",
        "transformers' own functions in torch",
        needs="",
        why_not=_runs_anywhere,
        choose=_torch_function,
        package="torch",
    ),
    Backend(
        "mamba_ssm",
        "the official CUDA kernels",
        needs="a CUDA device and the packages mamba_ssm and causal_conv1d",
        why_not=_why_not_mamba_ssm,
        choose=None,
        package=None,
    ),
    _ours("reference", "our recurrence, position by position: slow and exact"),
    _ours("torch", "our chunked scans in torch"),
    _ours(
        "triton",
        "our Triton kernels",
        needs="a CUDA device (or TRITON_INTERPRET=1) and the package triton",
        why_not=_why_not_triton,
    ),
)
BACKENDS = {backend.name: backend for backend in _ALL}
"""Every backend by its name."""
