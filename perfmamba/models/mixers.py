"""Where the components of a Mamba model are: its mixers, and the functions that they call.

The norms and projections are modules, which hooks can see. The convolution and the scan are not: since
transformers 5.15 a mixer calls functions of its modeling module (`causal_conv1d_fn`,
`mamba2_chunk_scan`, ...), looked up by name at each call. This module finds the mixers of any such model
and puts a stand-in in the place of each of those functions, through which a call can be observed. It does
so once, for good: a stand-in that nobody observes passes the call on.
"""

import functools
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfmamba.components import FINAL_LAYER, Component, Generation
from perfmamba.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn

MIXER_FUNCTIONS: dict[str, Component] = {
    "causal_conv1d_fn": "conv",
    "causal_conv1d_update": "conv",
    "mamba_selective_scan": "ssm",
    "mamba_selective_state_update": "ssm",
    "mamba2_chunk_scan": "ssm",
    "mamba2_selective_state_update": "ssm",
}
"""The functions that transformers' Mamba mixers call, and the component that each one is."""

_INSTALLED = "perfmamba_stand_in"
_MIXER_PARTS = ("in_proj", "conv1d", "A_log", "out_proj")

FunctionObserver = Callable[[Component, Callable[[], Any]], Any]
"""Gets the component and the call of a mixer's function; makes the call and returns its result."""


FunctionChooser = Callable[[str, Callable[..., Any]], Callable[..., Any]]
"""Gets the name of a mixer's function and what transformers would call; gives what to call instead."""


class _Thread(threading.local):
    """Who watches the mixer that this thread is in, and who chooses its functions; None outside of one."""

    observer: FunctionObserver | None = None
    chooser: FunctionChooser | None = None


_thread = _Thread()


def observe_functions(observer: FunctionObserver | None) -> None:
    """Let `observer` make the calls of mixer functions on this thread; None stops it."""
    _thread.observer = observer


def choose_functions(chooser: FunctionChooser | None) -> None:
    """Let `chooser` say what mixers call on this thread; None leaves it to transformers."""
    _thread.chooser = chooser


@dataclass(frozen=True)
class Mixer:
    """One Mamba block of a model.

    Attributes:
        layer: index among the model's Mamba blocks, from 0.
        module: the mixer, which calls the conv and scan functions.
        components: the modules that are components by themselves, in the order of execution.
        ssm_entry: the module whose call starts the state-space part: `x_proj` in Mamba-1, `bridge` in a
            pruned Mamba-2 that has one; what follows up to the scan makes dt, B, C. None where the scan
            function is all of it.
    """

    layer: int
    module: "nn.Module"
    components: tuple[tuple["nn.Module", Component], ...]
    ssm_entry: "nn.Module | None"

    @property
    def generation(self) -> Generation:
        """1 or 2; a Mamba-1 mixer makes dt, B and C from a projection of its own."""
        return 1 if hasattr(self.module, "x_proj") else 2


@dataclass(frozen=True)
class ComponentMap:
    """Every module of a model that is a component, or that calls one."""

    mixers: tuple[Mixer, ...]
    final_norm: "nn.Module | None"

    @property
    def generation(self) -> Generation:
        """That of the first mixer."""
        return self.mixers[0].generation

    def modules(self) -> Iterator[tuple["nn.Module", int, Component]]:
        """Each component that is a module, with its layer."""
        for mixer in self.mixers:
            for module, component in mixer.components:
                yield module, mixer.layer, component
        if self.final_norm is not None:
            yield self.final_norm, FINAL_LAYER, "norm"


def component_map(model: "nn.Module") -> ComponentMap:
    """Find the components of a transformers Mamba-1 or Mamba-2 model.

    Mixers are found by their parts (in_proj, conv1d, A_log, out_proj), not by the model's class.

    Raises:
        ModelError: if the model has no mixer.
    """
    modules = dict(model.named_modules())
    mixers = [
        (name, module)
        for name, module in modules.items()
        if all(hasattr(module, part) for part in _MIXER_PARTS)
    ]
    if not mixers:
        raise ModelError(
            f"{type(model).__name__} has no Mamba mixer (a module with {', '.join(_MIXER_PARTS)})"
        )
    blocks = tuple(
        _mixer(layer, modules[name.rpartition(".")[0]], module) for layer, (name, module) in enumerate(mixers)
    )
    final_norm = next((module for name, module in modules.items() if name.endswith("norm_f")), None)
    return ComponentMap(blocks, final_norm)


def _mixer(layer: int, block: "nn.Module", module: "nn.Module") -> Mixer:
    parts: list[tuple[nn.Module, Component]] = []
    if hasattr(block, "norm"):
        parts.append((block.get_submodule("norm"), "norm"))
    parts.append((module.get_submodule("in_proj"), "in_proj"))
    if hasattr(module, "norm"):
        parts.append((module.get_submodule("norm"), "norm"))
    parts.append((module.get_submodule("out_proj"), "out_proj"))
    ssm_entry = getattr(module, "x_proj", None) or getattr(module, "bridge", None)
    return Mixer(layer, module, tuple(parts), ssm_entry)


def install_mixer_functions(components: ComponentMap) -> None:
    """Put the stand-ins into the modeling modules of a model's mixers.

    Raises:
        ModelError: if a module has no conv or no scan function: transformers is older than 5.15, or the
            model brings code of its own.
    """
    for modeling in {type(mixer.module).__module__ for mixer in components.mixers}:
        namespace = vars(sys.modules[modeling])
        found = {name: component for name, component in MIXER_FUNCTIONS.items() if name in namespace}
        if set(found.values()) != {"conv", "ssm"}:
            raise ModelError(
                f"{modeling} calls none of {', '.join(MIXER_FUNCTIONS)}; transformers 5.17 or newer is needed"
            )
        for name in found:
            if not hasattr(namespace[name], _INSTALLED):
                namespace[name] = _stand_in(namespace[name], name)


def backend_packages(components: ComponentMap, device: "torch.device") -> dict[str, str]:
    """The packages whose code runs the conv and the scan on a device: `torch`, `causal_conv1d`, `mamba_ssm`.

    What transformers chose, that is. Call it after `install_mixer_functions`.
    """
    packages: dict[str, set[str]] = {"conv": set(), "ssm": set()}
    for modeling in {type(mixer.module).__module__ for mixer in components.mixers}:
        namespace = vars(sys.modules[modeling])
        for name, component in MIXER_FUNCTIONS.items():
            if name in namespace:
                packages[component].add(_package(namespace[name].__wrapped__, device))
    return {component: " and ".join(sorted(found)) for component, found in packages.items()}


def _package(function: Callable[..., Any], device: "torch.device") -> str:
    """The package of the implementation that transformers' wrapper of a function holds."""
    implementation = function if device.type == "cuda" else _cpu_function(function)
    while "implementation" not in (held := inspect.getclosurevars(implementation).nonlocals):
        if not hasattr(implementation, "__wrapped__"):
            break
        implementation = implementation.__wrapped__
    package = held.get("implementation", implementation).__module__.partition(".")[0]
    return "torch" if package == "transformers" else package


def _stand_in(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """What a mixer calls in place of `function`, which transformers calls by this name."""
    component, cpu_function = MIXER_FUNCTIONS[name], _cpu_function(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        implementation = function if args[0].is_cuda else cpu_function
        if _thread.chooser is not None:
            implementation = _thread.chooser(name, implementation)
        if _thread.observer is None:
            return implementation(*args, **kwargs)
        return _thread.observer(component, functools.partial(implementation, *args, **kwargs))

    vars(call)[_INSTALLED] = True
    return call


def _cpu_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """What to call for tensors on a CPU.

    transformers picks the implementation when it is imported, by whether mamba_ssm or causal_conv1d can
    be, and without a look at the device: with either installed, a model on a CPU would run CUDA kernels.
    """
    if any(importlib.util.find_spec(package) for package in ("mamba_ssm", "causal_conv1d")):
        torch_function: Callable[..., Any] = inspect.unwrap(function)
        return torch_function
    return function
