"""Mamba-1's selective scan and its decode step in torch, for any device: fast on a CPU.

In and out: as `perfmamba_kernels.reference`, whose numbers these give up to the order of sums.

Each channel and state decays at a rate of its own, so there is no matrix product to be had, and the
recurrence itself goes from position to position: one call a position. All else is done for a block of
positions at a time, and what needs no states for a chunk of blocks. Channels come last in memory, because
they are many and states are few. What is needed beside inputs and outputs does not grow with the length.
Letters: see `reference`; q positions of a chunk, k of a block.
"""

import torch
from torch import Tensor

from perfmamba_kernels.elementwise import arithmetic, decay, first_state, skip_and_gate_, step_size
from perfmamba_kernels.torch_backend.blocks import ELEMENTS, in_cache

CHUNK, LEAST_BLOCK = 64, 8
"""Positions of a chunk, and the fewest of a block: more, if as many states are a block for the cache."""


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
    """`reference.selective_scan`, chunk by chunk.

    Returns:
        y (b, d, l), with the channels of a position next to each other in memory, and the state after the
        last position (b, d, n).
    """
    dtype, (batch, channels, length), states = arithmetic(u), u.shape, A.shape[1]
    final = first_state(u, (batch, channels, states), initial_state)
    y = u.new_empty((batch, length, channels))
    rates = A.t().to(dtype).contiguous()  # (n, d)
    chunk = _SelectiveScanChunk(u, states)
    for row in range(batch):
        state = final[row].t().contiguous()  # (n, d)
        for start in range(0, length, CHUNK):
            part = (row, slice(None), slice(start, start + CHUNK))
            inputs = _channels_last(u[part]).to(dtype)  # (q, d)
            steps = step_size(_channels_last(delta[part]).to(dtype), delta_bias, delta_softplus)  # (q, d)
            writes, reads = (_channels_last(matrix[part]).to(dtype) for matrix in (B, C))  # (q, n)
            scanned = chunk.scan(state, inputs, steps, rates, writes, reads)
            gate = None if z is None else _channels_last(z[part])
            y[row, start : start + CHUNK] = skip_and_gate_(scanned, inputs, D, gate)
        final[row] = state.t()
    return y.transpose(1, 2), final


def _channels_last(x: Tensor) -> Tensor:
    """Some positions (d, q) as (q, d), the channels next to each other in memory.

    Where the positions were, they are brought together first: to go down a column of rows that lie a power
    of two apart takes six times as long, because few places of the cache hold all its elements.
    """
    return x.t() if x.stride(0) == 1 else x.contiguous().t().contiguous()


class _SelectiveScanChunk:
    """The scan of one chunk, and the buffers that it writes.

    Args:
        u: (b, d, l), for its dtype, device and number of channels.
        states: n.
    """

    def __init__(self, u: Tensor, states: int) -> None:
        dtype, (_, channels, length) = arithmetic(u), u.shape
        cached = ELEMENTS // max(1, states * channels) if u.device.type == "cpu" else CHUNK
        self._block = max(LEAST_BLOCK, cached)
        self._decays = u.new_empty((min(self._block, CHUNK, length), states, channels), dtype=dtype)
        self._states = torch.empty_like(self._decays)
        self._y = u.new_empty((min(CHUNK, length), 1, channels), dtype=dtype)

    def scan(self, state: Tensor, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        """The chunk's y (q, d), valid until the next call.

        Args:
            state: before the chunk, (n, d); after it when this returns.
            u: (q, d).
            dt: step sizes, (q, d).
            A: (n, d).
            B: (q, n).
            C: (q, n).
        """
        y = self._y[: len(u)]
        for block in zip(*(torch.split(rows, self._block) for rows in (dt, dt * u, B, C, y)), strict=True):
            self._scan_block(state, A, *block)
        return y[:, 0]

    def _scan_block(
        self, state: Tensor, A: Tensor, dt: Tensor, weighted: Tensor, B: Tensor, C: Tensor, y: Tensor
    ) -> None:
        """Take the state through a block, and write its y (k, 1, d)."""
        decays = torch.mul(dt[:, None], A, out=self._decays[: len(dt)])  # (k, n, d)
        decay(decays, out=decays)
        states = torch.mul(weighted[:, None], B[..., None], out=self._states[: len(dt)])  # (k, n, d)
        before = state
        for after, decayed in zip(states.unbind(), decays.unbind(), strict=True):
            before = after.addcmul_(decayed, before)
        state.copy_(before)
        torch.bmm(C[:, None], states, out=y)


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
    """`reference.selective_state_update`, of a few sequences at a time, whose states stay in the cache.

    Returns:
        y (b, d).
    """
    dtype = arithmetic(x)
    inputs, steps = x.to(dtype), step_size(dt.to(dtype), dt_bias, dt_softplus)
    A, B, C = A.to(dtype), B.to(dtype)[:, None], C.to(dtype)[..., None]
    weighted, steps = (steps * inputs)[..., None], steps[..., None]  # (b, d, 1)
    y = torch.empty_like(inputs, memory_format=torch.contiguous_format)
    for states, step, written, writes, reads, read in in_cache(state, steps, weighted, B, C, y[..., None]):
        h = states.to(dtype)  # (b, d, n), the state itself if it has that dtype
        h.mul_((step * A).exp_()).addcmul_(written, writes)
        torch.bmm(h, reads, out=read)
        if h is not states:
            states.copy_(h)
    return skip_and_gate_(y, inputs, D, z).to(x.dtype)
