"""The recurrences of Mamba-1 and Mamba-2, one position after the other: slow, readable, exact.

Every other implementation is held against these. Tensors come in the field's order and layouts
(`causal_conv1d`, `mamba_ssm`); a function over a sequence always returns its output and its final state, and
a step updates the state in place. All arithmetic is in the input's dtype, in float32 where that is narrower;
in float64 the results serve as ground truth. Outputs have the input's dtype; final states of scans have the
dtype of the arithmetic.

Letters: b batch, l positions, c or d channels, k taps, n states, h heads, p channels a head, g groups.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from perfmamba_kernels.elementwise import (
    NO_LIMIT,
    activate_,
    arithmetic,
    first_state,
    skip_and_gate_,
    step_size,
)
from perfmamba_kernels.packing import each_sequence


def causal_conv1d(
    x: Tensor,  # (b, c, l)
    weight: Tensor,  # (c, k)
    bias: Tensor | None = None,  # (c,)
    *,
    initial_states: Tensor | None = None,  # (b, c, k - 1), the inputs before x; zeros by default
    activation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """A depthwise causal convolution, y_t = sum_j weight_j x_(t-k+1+j) + bias, then SiLU if asked.

    Returns:
        y (b, c, l) and the last k - 1 inputs (b, c, k - 1).
    """
    dtype, taps, length = arithmetic(x), weight.shape[1], x.shape[2]
    window = x if initial_states is None else torch.cat([initial_states.to(x.dtype), x], dim=2)
    window = pad(window, (taps - 1 + length - window.shape[2], 0))  # (b, c, k - 1 + l)
    y = torch.zeros_like(x, dtype=dtype)
    for j in range(taps):
        y += weight[:, j, None].to(dtype) * window[:, :, j : j + length].to(dtype)
    if bias is not None:
        y += bias[:, None].to(dtype)
    return activate_(y, activation).to(x.dtype), window[:, :, length:].clone()


def causal_conv1d_update(
    x: Tensor,  # (b, c)
    conv_state: Tensor,  # (b, c, s), s >= k - 1, updated in place: the last s inputs
    weight: Tensor,  # (c, k)
    bias: Tensor | None = None,  # (c,)
    *,
    activation: str | None = None,
) -> Tensor:
    """One step of `causal_conv1d`; returns y (b, c)."""
    before = conv_state[:, :, conv_state.shape[2] - weight.shape[1] + 1 :]  # (b, c, k - 1)
    y, _ = causal_conv1d(x[:, :, None], weight, bias, initial_states=before, activation=activation)
    conv_state.copy_(torch.cat([conv_state[:, :, 1:], x[:, :, None].to(conv_state.dtype)], dim=2))
    return y[:, :, 0]


def selective_scan(
    u: Tensor,  # (b, d, l)
    delta: Tensor,  # (b, d, l)
    A: Tensor,  # (d, n)
    B: Tensor,  # (b, n, l)
    C: Tensor,  # (b, n, l)
    D: Tensor | None = None,  # (d,)
    z: Tensor | None = None,  # (b, d, l)
    delta_bias: Tensor | None = None,  # (d,)
    *,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,  # (b, d, n), zeros by default
) -> tuple[Tensor, Tensor]:
    """Mamba-1's scan: `selective_state_update` at each position in turn.

    Source: Mamba paper (arXiv 2312.00752), equation 2 and algorithm 2.

    Returns:
        y (b, d, l) and the state after the last position (b, d, n).
    """
    shape = (*u.shape[:2], A.shape[1])
    state = first_state(u, shape, initial_state)
    y = torch.empty_like(u)
    for t in range(u.shape[2]):
        y[:, :, t] = selective_state_update(
            state,
            u[:, :, t],
            delta[:, :, t],
            A,
            B[:, :, t],
            C[:, :, t],
            D,
            None if z is None else z[:, :, t],
            delta_bias,
            dt_softplus=delta_softplus,
        )
    return y, state


def selective_state_update(
    state: Tensor,  # (b, d, n), updated in place
    x: Tensor,  # (b, d)
    dt: Tensor,  # (b, d)
    A: Tensor,  # (d, n)
    B: Tensor,  # (b, n)
    C: Tensor,  # (b, n)
    D: Tensor | None = None,  # (d,)
    z: Tensor | None = None,  # (b, d)
    dt_bias: Tensor | None = None,  # (d,)
    *,
    dt_softplus: bool = False,
) -> Tensor:
    """One step of Mamba-1: h = exp(dt A) h + dt B x, y = C h + D x, gated by SiLU(z); returns y (b, d)."""
    dtype = arithmetic(x)
    inputs, dt = x.to(dtype), step_size(dt.to(dtype), dt_bias, dt_softplus)
    decay = torch.exp(dt[:, :, None] * A.to(dtype))  # (b, d, n)
    h = decay * state.to(dtype) + (dt * inputs)[:, :, None] * B.to(dtype)[:, None, :]
    state.copy_(h)
    y = (h * C.to(dtype)[:, None, :]).sum(-1)  # (b, d)
    return skip_and_gate_(y, inputs, D, z).to(x.dtype)


def ssd(
    x: Tensor,  # (b, l, h, p)
    dt: Tensor,  # (b, l, h)
    A: Tensor,  # (h,)
    B: Tensor,  # (b, l, g, n)
    C: Tensor,  # (b, l, g, n)
    D: Tensor | None = None,  # (h,)
    z: Tensor | None = None,  # (b, l, h, p)
    dt_bias: Tensor | None = None,  # (h,)
    *,
    initial_states: Tensor | None = None,  # (b, h, p, n), zeros by default
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = NO_LIMIT,
    cu_seqlens: Tensor | None = None,  # (s + 1,)
) -> tuple[Tensor, Tensor]:
    """Mamba-2's SSD: `ssd_update` at each position in turn.

    Source: Mamba-2 paper (arXiv 2405.21060), equation 2 with a scalar A a head.

    With `cu_seqlens`, sequences of any lengths lie behind each other in a batch of 1: sequence i is at
    positions cu_seqlens[i] to cu_seqlens[i + 1], and states are (s, h, p, n), one for each sequence.

    Returns:
        y (b, l, h, p) and the state after the last position (b, h, p, n).
    """
    if cu_seqlens is not None:
        options = {"dt_softplus": dt_softplus, "dt_limit": dt_limit}
        return each_sequence(ssd, (x, dt, A, B, C, D, z, dt_bias), cu_seqlens, initial_states, **options)
    batch, length, heads, head_dim = x.shape
    state = first_state(x, (batch, heads, head_dim, B.shape[3]), initial_states)
    y = torch.empty_like(x)
    for t in range(length):
        y[:, t] = ssd_update(
            state,
            x[:, t],
            dt[:, t],
            A,
            B[:, t],
            C[:, t],
            D,
            None if z is None else z[:, t],
            dt_bias,
            dt_softplus=dt_softplus,
            dt_limit=dt_limit,
        )
    return y, state


def chunked(
    x: Tensor,  # (b, l, h, p)
    dt: Tensor,  # (b, l, h), the step sizes themselves: after bias, softplus and limits
    A: Tensor,  # (h,)
    B: Tensor,  # (b, l, g, n)
    C: Tensor,  # (b, l, g, n)
    *,
    chunk: int = 64,
    initial_states: Tensor | None = None,  # (b, h, p, n), zeros by default
) -> tuple[Tensor, Tensor]:
    """Compute the recurrence of `ssd` chunk by chunk, as matrix products: the form that fast kernels take.

    Within a chunk, position t sees the earlier ones s through an attention-like matrix, (C_t . B_s) times the
    decay from s to t. What came before the chunk is summed up in the state, which is passed on. The skip
    connection, the gate and the options of dt are left out.

    This is the page to read before `torch_backend/ssd.py`, which does the same with the scores computed once
    a group, the heads of a group in one product, and buffers that stay in the cache.

    Source: Mamba-2 paper (arXiv 2405.21060), section 6.

    Returns:
        y (b, l, h, p) and the state after the last position (b, h, p, n).
    """
    dtype, heads_a_group = arithmetic(x), x.shape[2] // B.shape[2]
    state = first_state(x, (len(x), *x.shape[2:], B.shape[3]), initial_states)
    inputs = x.to(dtype) * dt.to(dtype)[..., None]  # (b, l, h, p)
    log_decay = dt.to(dtype) * A.to(dtype)  # (b, l, h)
    B = B.to(dtype).repeat_interleave(heads_a_group, dim=2)  # (b, l, h, n)
    C = C.to(dtype).repeat_interleave(heads_a_group, dim=2)  # (b, l, h, n)
    y = torch.empty_like(x)
    for start in range(0, x.shape[1], chunk):
        part = slice(start, start + chunk)
        since_start = log_decay[:, part].cumsum(1)  # (b, q, h)
        between = since_start[:, :, None] - since_start[:, None]  # (b, t, s, h)
        future = torch.ones(between.shape[1:3], dtype=torch.bool, device=x.device).triu(1)  # (t, s): s > t
        decays = between.masked_fill(future[..., None], -torch.inf).exp()
        attention = torch.einsum("bthn,bshn->btsh", C[:, part], B[:, part]) * decays
        within = torch.einsum("btsh,bshp->bthp", attention, inputs[:, part])
        before = torch.einsum("bthn,bhpn->bthp", C[:, part], state) * since_start.exp()[..., None]
        y[:, part] = within + before
        until_end = (since_start[:, -1:] - since_start).exp()  # (b, q, h)
        added = torch.einsum("bsh,bshp,bshn->bhpn", until_end, inputs[:, part], B[:, part])
        state = state * since_start[:, -1].exp()[..., None, None] + added
    return y, state


def ssd_update(
    state: Tensor,  # (b, h, p, n), updated in place
    x: Tensor,  # (b, h, p)
    dt: Tensor,  # (b, h)
    A: Tensor,  # (h,)
    B: Tensor,  # (b, g, n), each group shared by h / g heads in a row
    C: Tensor,  # (b, g, n)
    D: Tensor | None = None,  # (h,)
    z: Tensor | None = None,  # (b, h, p)
    dt_bias: Tensor | None = None,  # (h,)
    *,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = NO_LIMIT,
) -> Tensor:
    """One step of Mamba-2: h = exp(dt A) h + dt x B^T, y = h C + D x, gated by SiLU(z).

    Returns:
        y (b, h, p).
    """
    dtype, heads_a_group = arithmetic(x), x.shape[1] // B.shape[1]
    inputs, dt = x.to(dtype), step_size(dt.to(dtype), dt_bias, dt_softplus).clamp(*dt_limit)
    B = B.to(dtype).repeat_interleave(heads_a_group, dim=1)  # (b, h, n)
    C = C.to(dtype).repeat_interleave(heads_a_group, dim=1)  # (b, h, n)
    decay = torch.exp(dt * A.to(dtype))[:, :, None, None]  # (b, h, 1, 1)
    h = decay * state.to(dtype) + (dt[:, :, None] * inputs)[..., None] * B[:, :, None, :]
    state.copy_(h)
    y = (h * C[:, :, None, :]).sum(-1)  # (b, h, p)
    return skip_and_gate_(y, inputs, None if D is None else D[:, None], z).to(x.dtype)
