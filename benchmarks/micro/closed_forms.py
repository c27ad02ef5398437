"""The recurrences of Mamba-1 and Mamba-2 in closed form, in float64: the expected results of the kernels.

In: the arguments of a function of `perfmamba_kernels.reference`, by name and in its order, and the state
before the first position. Out: the output at every position, and the state after the last position. Softplus
is applied to dt. Letters: b batch, l positions (t is later than s), d channels, n states, h heads,
p channels of one head.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv1d, silu, softplus


def convolved(window: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """SiLU of the causal convolution, (b, c, l), of a window of inputs, (b, c, k - 1 + l)."""
    y = conv1d(window.double(), weight.double()[:, None], bias.double(), groups=len(weight))
    return silu(y)


def scanned(first: Tensor, arguments: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mamba-1: h_t = exp(A S_t) (h_0 + sum_(s <= t) exp(-A S_s) dt_s B_s u_s), S_t = dt_1 + ... + dt_t.

    Both exponentials must fit into a double. With usual values of dt this allows a few hundred positions.

    Args:
        first: h_0, (b, d, n).
        arguments: those of `selective_scan`: u, delta, A, B, C, D, z, delta_bias.
    """
    u, delta, a, b, c, d, z, bias = (value.double() for value in arguments.values())
    dt = softplus(delta + bias[:, None])  # (b, d, l)
    exponent = a[..., None] * dt.cumsum(-1)[:, :, None]  # (b, d, n, l)
    added = torch.exp(-exponent) * (dt * u)[:, :, None] * b[:, None]  # (b, d, n, l)
    h = torch.exp(exponent) * (first.double()[..., None] + added.cumsum(-1))
    y = (h * c[:, None]).sum(2) + d[:, None] * u  # (b, d, l)
    return y * silu(z), h[..., -1]


def attended(first: Tensor, arguments: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mamba-2: y_t = sum_(s <= t) (C_t . B_s) exp(A (S_t - S_s)) dt_s x_s, plus the decayed share of h_0.

    Source: Mamba-2 paper (arXiv 2405.21060), the quadratic mode of SSD.

    Args:
        first: h_0, (b, h, p, n).
        arguments: those of `ssd` with one group: x, dt, A, B, C, D, dt_bias.
    """
    x, dt, a, b, c, d, bias = (value.double() for value in arguments.values())
    b, c, first = b[:, :, 0], c[:, :, 0], first.double()  # (b, l, n)
    dt = softplus(dt + bias)  # (b, l, h)
    exponent = (a * dt.cumsum(1)).transpose(1, 2)  # (b, h, l)
    since_start = torch.exp(exponent)
    since = torch.exp(exponent[..., :, None] - exponent[..., None, :]).tril()  # (b, h, t, s)
    inputs = dt[..., None] * x  # (b, l, h, p)
    y = torch.einsum("btn,bsn,bhts,bshp->bthp", c, b, since, inputs)
    y += torch.einsum("btn,bht,bhpn->bthp", c, since_start, first)
    state = torch.einsum("bhs,bsn,bshp->bhpn", since[:, :, -1], b, inputs)
    state += since_start[..., -1, None, None] * first
    return y + d[:, None] * x, state
