"""The causal convolution and its decode step in torch, for any device: fast on a CPU.

In and out: as `perfmamba_kernels.reference`, whose numbers these give up to the order of sums.

A depthwise convolution with a few taps is as many products and sums of shifted rows. torch's own convolution
wants each channel's positions to lie together, and a model's projection gives the channels of a position
together: it would copy everything to and fro.
"""

import torch
from torch import Tensor

from perfmamba_kernels.elementwise import activate_, arithmetic

BLOCK = 64
"""Positions at a time: few enough that they stay in the cache for all taps."""


def causal_conv1d(
    x: Tensor,  # (b, c, l)
    weight: Tensor,  # (c, k)
    bias: Tensor | None = None,  # (c,)
    *,
    initial_states: Tensor | None = None,  # (b, c, k - 1), the inputs before x; zeros by default
    activation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """`reference.causal_conv1d`, a shifted row for each tap.

    Returns:
        y (b, c, l), its axes in the order of x in memory, and the last k - 1 inputs (b, c, k - 1).
    """
    dtype, taps, length = arithmetic(x), weight.shape[1], x.shape[2]
    before = x.new_zeros((*x.shape[:2], taps - 1)) if initial_states is None else initial_states.to(x.dtype)
    filters = weight.t().to(dtype).contiguous()[..., None]  # (k, c, 1): a tap's values next to each other
    bias = bias if bias is None else bias.to(dtype)[:, None]
    y = torch.empty_like(x)
    block = max(BLOCK, taps - 1)  # no later block looks back to before x
    head = _join(before, x[:, :, :block])  # (b, c, k - 1 + block)
    for start in range(0, length, block):
        end = min(start + block, length)
        window = x[:, :, start - taps + 1 : end] if start else head
        _filter(window.to(dtype), filters, bias, y[:, :, start:end], activation)
    last = _join(before, x[:, :, max(0, length - taps + 1) :])
    return y, last[:, :, last.shape[2] - taps + 1 :].clone()


def _join(before: Tensor, x: Tensor) -> Tensor:
    """One behind the other along the positions, the axes in the order of x in memory."""
    if x.stride(1) == 1:
        return torch.cat([before.transpose(1, 2), x.transpose(1, 2)], dim=1).transpose(1, 2)
    return torch.cat([before, x], dim=2)


def _filter(window: Tensor, filters: Tensor, bias: Tensor | None, y: Tensor, activation: str | None) -> None:
    """Write the outputs of a window (b, c, k - 1 + q) to y (b, c, q)."""
    length = y.shape[2]
    total = y if y.dtype == window.dtype else torch.empty_like(y, dtype=window.dtype)
    if bias is None:
        torch.mul(window[:, :, :length], filters[0], out=total)
    else:
        torch.addcmul(bias, window[:, :, :length], filters[0], out=total)
    for tap in range(1, len(filters)):
        total.addcmul_(window[:, :, tap : tap + length], filters[tap])
    activate_(total, activation)
    if total is not y:
        y.copy_(total)


def causal_conv1d_update(
    x: Tensor,  # (b, c)
    conv_state: Tensor,  # (b, c, s), s >= k - 1, updated in place: the last s inputs
    weight: Tensor,  # (c, k)
    bias: Tensor | None = None,  # (c,)
    *,
    activation: str | None = None,
) -> Tensor:
    """`reference.causal_conv1d_update`, one product for all taps.

    Returns:
        y (b, c).
    """
    dtype, taps = arithmetic(x), weight.shape[1]
    window = torch.cat([conv_state.to(x.dtype), x[..., None]], dim=2)  # (b, c, s + 1)
    conv_state.copy_(window[:, :, 1:])
    y = (window[:, :, window.shape[2] - taps :].to(dtype) * weight.to(dtype)).sum(2)
    if bias is not None:
        y.add_(bias.to(dtype))
    return activate_(y, activation).to(x.dtype)
