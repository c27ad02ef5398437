"""Profiler ranges around every component of a model, without a change to its results.

In: a model. For the time of a `with annotate(model):` block, each forward pass opens the range
`perfmamba::model` and, inside it, one range for each component of each layer. The ranges are
`torch.profiler.record_function` ones: on the CPU's timeline, seen by any torch profiler.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch.profiler import record_function

from perfmamba.components import MODEL_RANGE, Component, component_range
from perfmamba.models.mixers import Mixer, component_map, install_mixer_functions, observe_functions

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle


@contextmanager
def annotate(model: "nn.Module") -> Iterator[None]:
    """Emit the ranges of `perfmamba.components` while the block runs.

    Works for prefill, decode and `generate`, with any kernels that transformers picked. One forward pass
    at a time: the model must not be called from two threads at once.

    Raises:
        ModelError: if the model is not a transformers Mamba-1 or Mamba-2 model.
    """
    components = component_map(model)
    install_mixer_functions(components)
    handles = _range_around(model, MODEL_RANGE)
    for module, layer, component in components.modules():
        handles += _range_around(module, component_range(layer, component))
    for mixer in components.mixers:
        handles += _ranges_inside(mixer)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _range_around(module: "nn.Module", name: str) -> list["RemovableHandle"]:
    """Hooks that open a range before each call of a module and close it after."""
    open_ranges: list[ExitStack] = []

    def enter(*_: Any) -> None:
        open_ranges.append(_open(name))

    def leave(*_: Any) -> None:
        _close(open_ranges)

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]


def _ranges_inside(mixer: Mixer) -> list["RemovableHandle"]:
    """Hooks that put ranges around the functions that a mixer calls.

    The `ssm` range opens at `ssm_entry`, where there is one, and closes when the scan returns.
    """
    open_ssm: list[ExitStack] = []

    def observe(component: Component, call: Callable[[], Any]) -> Any:
        if component == "ssm" and open_ssm:
            result = call()
            _close(open_ssm)
            return result
        with record_function(component_range(mixer.layer, component)):
            return call()

    def enter_mixer(*_: Any) -> None:
        observe_functions(observe)

    def leave_mixer(*_: Any) -> None:
        observe_functions(None)
        _close(open_ssm)  # still open only when the mixer raised

    def enter_ssm(*_: Any) -> None:
        open_ssm.append(_open(component_range(mixer.layer, "ssm")))

    handles = [
        mixer.module.register_forward_pre_hook(enter_mixer),
        mixer.module.register_forward_hook(leave_mixer, always_call=True),
    ]
    if mixer.ssm_entry is not None:
        handles.append(mixer.ssm_entry.register_forward_pre_hook(enter_ssm))
    return handles


def _open(name: str) -> ExitStack:
    opened = ExitStack()
    opened.enter_context(record_function(name))
    return opened


def _close(ranges: list[ExitStack]) -> None:
    if ranges:
        ranges.pop().close()
