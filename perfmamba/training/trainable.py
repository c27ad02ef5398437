"""Small models that can be trained on a CPU in minutes.

In: a model, such as `random_model` makes. While it is `trainable`, transformers' own torch functions run it,
because they have gradients and this project's kernels do not. The exception is the scan of Mamba-1, which is
written here.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from perfmamba.models.backends import use_backend
from perfmamba.models.mixers import choose_functions, component_map

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def trainable(model: "PreTrainedModel") -> Iterator[None]:
    """Run a model with functions that have gradients; afterwards it has transformers' own."""
    use_backend(model, "hf")
    mixers = [mixer.module for mixer in component_map(model).mixers]
    # registered after those of use_backend, so that this choice is the one that counts
    hooks = [mixer.register_forward_pre_hook(_choose) for mixer in mixers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


Measured_co = TypeVar("Measured_co", covariant=True)


@dataclass(frozen=True)
class TrainingCheck(Generic[Measured_co]):
    """How good a model is at one moment of its training.

    Attributes:
        step: optimizer steps so far, in this stage of the training.
        steps: the most steps that the stage takes.
        measured: how the model does on data that it is not trained on.
        stage: the number of the stage, from 0.
        steps_before: optimizer steps in all stages before this one.
    """

    step: int
    steps: int
    measured: Measured_co
    stage: int = 0
    steps_before: int = 0

    @property
    def total_steps(self) -> int:
        """Optimizer steps so far, in all stages."""
        return self.steps_before + self.step


def descend(
    model: "PreTrainedModel", optimizer: torch.optim.Optimizer, loss: Tensor, *, learning_rate: float
) -> None:
    """Take one step of an optimizer down the gradient of a loss, clipped to a norm of 1."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def selective_scan(
    u: Tensor,  # (b, d, l)
    delta: Tensor,  # (b, d, l)
    rates: Tensor,  # (d, n), the papers' A
    writes: Tensor,  # (b, n, l), B
    reads: Tensor,  # (b, n, l), C
    *,
    D: Tensor,  # (d,)  # noqa: N803  # the mixer calls it by this name
    z: Tensor,  # (b, d, l)
    delta_bias: Tensor,  # (d,)
    **_: Any,
) -> Tensor:
    """Mamba-1's scan, as its mixer calls it without a cache.

    transformers' own makes tensors (b, d, l, n) and takes positions out of them one by one, each of which
    costs the backward pass a gradient of full size. Here nothing is larger than a state.

    Source: Mamba paper (arXiv 2312.00752), equation 2 and algorithm 2.

    Returns:
        y (b, d, l).
    """
    dt = softplus(delta + delta_bias[:, None])
    state = torch.zeros_like(rates)  # (b, d, n) from the first position on
    ys = []
    positions = (each.permute(2, 0, 1).contiguous().unbind() for each in (u, dt, writes, reads))
    for u_t, dt_t, write, read in zip(*positions, strict=True):
        state = torch.exp(dt_t[..., None] * rates) * state + (dt_t * u_t)[..., None] * write[:, None]
        ys.append((state @ read[..., None]).squeeze(2))  # (b, d)
    return (torch.stack(ys, dim=2) + u * D[:, None]) * silu(z)


def _choose(*_: Any) -> None:
    choose_functions(_function_with_gradients)


def _function_with_gradients(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    return selective_scan if name == "mamba_selective_scan" else inspect.unwrap(function)
