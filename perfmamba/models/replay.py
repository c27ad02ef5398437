"""The work of each component by itself: its calls in one forward pass, to be made again.

In: a model and a forward pass of it. Out: for each component a call that does what the component did in one
layer, on the same inputs, with nothing around it. So a component can be timed without a profiler.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from perfmamba.components import Component
from perfmamba.models.mixers import component_map, install_mixer_functions, observe_functions

if TYPE_CHECKING:
    from torch import nn

Replay = Callable[[], list[Any]]
"""Makes a component's calls of one layer again, in their order; gives their results."""


def component_replays(
    model: "nn.Module", forward: Callable[[], Any], *, layer: int = 0
) -> dict[Component, Replay]:
    """Record what each component of one layer is called with in one forward pass.

    The `norm` of a layer is its RMSNorm and, in Mamba-2, its gated norm; `ssm` is the scan alone: Mamba-1's
    projections to dt, B and C, which profiles count to it, are left out. The inputs stay in memory for as
    long as the replays do.

    Args:
        model: a transformers Mamba-1 or Mamba-2 model.
        forward: runs the model once. A prefill: the calls of a decode step change their states, so that
            making them again does not give the same results.
        layer: index among the Mamba blocks.

    Raises:
        ModelError: if the model is not a Mamba model.
    """
    components = component_map(model)
    install_mixer_functions(components)
    mixer = components.mixers[layer]
    calls: dict[Component, list[Callable[[], Any]]] = {}

    def record(component: Component, call: Callable[[], Any]) -> Any:
        calls.setdefault(component, []).append(call)
        return call()

    def record_module(component: Component, module: "nn.Module", args: Any, kwargs: Any) -> None:
        calls.setdefault(component, []).append(partial(module, *args, **kwargs))

    with ExitStack() as hooks:
        for module, component in mixer.components:
            hook = partial(record_module, component)
            hooks.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        hooks.callback(mixer.module.register_forward_pre_hook(lambda *_: observe_functions(record)).remove)
        leave = mixer.module.register_forward_hook(lambda *_: observe_functions(None), always_call=True)
        hooks.callback(leave.remove)
        forward()
    return {component: partial(_again, made) for component, made in calls.items()}


def _again(calls: list[Callable[[], Any]]) -> list[Any]:
    return [call() for call in calls]
