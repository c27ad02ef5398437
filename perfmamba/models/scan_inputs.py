"""What a model's scans are called with, in one layout for Mamba-1 and Mamba-2.

In: a model. For the time of a `with observe_scans(model, receive):` block, each scan of a sequence gives its
inputs to `receive` before it runs, whatever backend runs it. Decode steps are not scans of a sequence.

Letters: b batch, l positions, h heads, p channels a head, n states, g groups. In Mamba-1 each channel is a
head of its own, and there is one group.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from perfmamba_kernels.elementwise import NO_LIMIT, arithmetic, step_size
from torch import Tensor

from perfmamba.components import Component
from perfmamba.models.mixers import Mixer, component_map, install_mixer_functions, observe_functions

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False)
class ScanInputs:
    """The recurrence h_t = exp(dt_t A) h_(t-1) + dt_t x_t B_t^T, read as y_t = h_t C_t.

    All have the dtype of the arithmetic: the model's, or float32 where that is narrower.

    Attributes:
        x: (b, l, h, p).
        dt: (b, l, h), the step sizes themselves: after bias, softplus and limits.
        A: (h,), or (h, n) in Mamba-1, where each state decays at a rate of its own.
        B: (b, l, g, n), each group shared by h / g heads in a row.
        C: (b, l, g, n).
    """

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor


@contextmanager
def observe_scans(model: "nn.Module", receive: Callable[[int, ScanInputs], None]) -> Iterator[None]:
    """Give the inputs of each scan to `receive`, with the layer, while the block runs.

    The layer is the index among the model's Mamba blocks. One forward pass at a time, and not together with
    `annotate` or `component_replays`: a mixer's functions have one observer.

    Raises:
        ModelError: if the model is not a transformers Mamba-1 or Mamba-2 model.
    """
    components = component_map(model)
    install_mixer_functions(components)
    with ExitStack() as hooks:
        for mixer in components.mixers:
            enter = _entering(mixer, receive)
            hooks.callback(mixer.module.register_forward_pre_hook(enter).remove)
            hooks.callback(mixer.module.register_forward_hook(_leave, always_call=True).remove)
        yield


def _entering(mixer: Mixer, receive: Callable[[int, ScanInputs], None]) -> Callable[..., None]:
    inputs_of = _ssd_inputs if mixer.generation == 2 else _selective_scan_inputs

    def observe(component: Component, call: Callable[[], Any]) -> Any:
        assert isinstance(call, partial)
        tensors = [argument for argument in call.args if isinstance(argument, Tensor)]
        # a scan has x (b, l, h, p) or (b, d, l); a decode step starts with its state, and has B without l
        if component == "ssm" and tensors[3].ndim == (4 if mixer.generation == 2 else 3):
            receive(mixer.layer, inputs_of(tensors[:5], **call.keywords))
        return call()

    def enter(*_: Any) -> None:
        observe_functions(observe)

    return enter


def _leave(*_: Any) -> None:
    observe_functions(None)


def _ssd_inputs(
    tensors: Sequence[Tensor],  # x (b, l, h, p), dt (b, l, h), A (h,), B and C (b, l, g, n)
    *,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = NO_LIMIT,
    **_: Any,
) -> ScanInputs:
    x, dt, rates, writes, reads = (tensor.to(arithmetic(tensors[0])) for tensor in tensors)
    return ScanInputs(x, step_size(dt, dt_bias, dt_softplus).clamp(*dt_limit), rates, writes, reads)


def _selective_scan_inputs(
    tensors: Sequence[Tensor],  # u and delta (b, d, l), A (d, n), B and C (b, n, l)
    *,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    **_: Any,
) -> ScanInputs:
    x, dt, rates, writes, reads = (tensor.to(arithmetic(tensors[0])) for tensor in tensors)
    steps = step_size(dt.mT, delta_bias, delta_softplus)
    return ScanInputs(x.mT[..., None], steps, rates, writes.mT[:, :, None], reads.mT[:, :, None])
