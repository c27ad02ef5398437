"""What every scan does around its recurrence: the step size, the skip connection, the gate.

In and out: tensors. The reference and the torch backend differ in the recurrence only, and share this.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

NO_LIMIT = (0.0, math.inf)
"""The limits of dt by default: nothing but that it is not negative."""


def arithmetic(x: Tensor) -> torch.dtype:
    """The dtype to compute in: the tensor's, or float32 where that is narrower."""
    return torch.promote_types(x.dtype, torch.float32)


def activate_(y: Tensor, activation: str | None) -> Tensor:
    """SiLU of y in place, if asked for; y.

    Raises:
        ValueError: if the activation is none of None, "silu" and "swish".
    """
    if activation not in {None, "silu", "swish"}:
        message = f"activation {activation!r} is not one of None, 'silu', 'swish'"
        raise ValueError(message)
    return y if activation is None else silu(y, inplace=True)


def decay(logarithm: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the exponential, but at least 7e-16 (1e-123 in float64).

    A state that decays so much is zero beside what it gains later, unless that is as small. Without the
    bound, smaller decays and their products would be subnormal numbers, which take a CPU many times as long,
    and models do forget that fast. The square of the bound is still a normal number.
    """
    return torch.clamp(logarithm, min=math.log(torch.finfo(logarithm.dtype).tiny) * 0.4, out=out).exp_()


def first_state(x: Tensor, shape: tuple[int, ...], initial: Tensor | None) -> Tensor:
    """A state of its own to start from: a copy of the initial one, or zeros."""
    state = x.new_zeros(shape, dtype=arithmetic(x))
    return state if initial is None else state.copy_(initial)


def step_size(dt: Tensor, bias: Tensor | None, use_softplus: bool) -> Tensor:
    """The sum of dt and bias, through softplus if asked for, in dt's dtype."""
    dt = dt if bias is None else dt + bias.to(dt.dtype)
    return softplus(dt) if use_softplus else dt


def skip_and_gate_(y: Tensor, x: Tensor, skip: Tensor | None, gate: Tensor | None) -> Tensor:
    """(y + skip x) SiLU(gate), without what is None, in y's place and dtype; y."""
    if skip is not None:
        y.addcmul_(x, skip.to(y.dtype))
    return y if gate is None else y.mul_(silu(gate.to(y.dtype)))
