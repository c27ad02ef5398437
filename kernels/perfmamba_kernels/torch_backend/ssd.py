"""Mamba-2's SSD and its decode step in torch, for any device: fast on a CPU.

In and out: as `perfmamba_kernels.reference`, whose numbers these give up to the order of sums.

The scan goes through each sequence in chunks and carries the state, so what it needs beside its inputs and
outputs does not grow with the length. Within a chunk a position sees the earlier ones through an
attention-like product. The scores C B^T are computed once a group, not once a head; what all heads of a group
do with the state is one matrix product for all of them; and a chunk's buffers are written again and again, so
that they stay in the cache. Letters: see `reference`; q positions of a chunk, r = h / g heads of a group.
"""

import torch
from torch import Tensor

from perfmamba_kernels.elementwise import NO_LIMIT, arithmetic, decay, first_state, skip_and_gate_, step_size
from perfmamba_kernels.packing import each_sequence
from perfmamba_kernels.torch_backend.blocks import in_cache

CHUNK = 32
"""Positions a chunk. The work within chunks grows with it, calls and passes over the state get fewer."""


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
    """`reference.ssd` chunk by chunk.

    Source: Mamba-2 paper (arXiv 2405.21060), section 6, the states passed on from one chunk to the next.

    Returns:
        y (b, l, h, p) and the state after the last position (b, h, p, n).
    """
    if cu_seqlens is not None:
        options = {"dt_softplus": dt_softplus, "dt_limit": dt_limit}
        return each_sequence(ssd, (x, dt, A, B, C, D, z, dt_bias), cu_seqlens, initial_states, **options)
    dtype, (batch, length, heads, head_dim), (groups, states) = arithmetic(x), x.shape, B.shape[2:]
    final = first_state(x, (batch, heads, head_dim, states), initial_states)
    y = x.new_empty(x.shape)
    skip = None if D is None else D[:, None]  # (h, 1)
    full_chunk = _SsdChunk(x, groups, min(CHUNK, length))
    last_chunk = _SsdChunk(x, groups, length % CHUNK)
    for row in range(batch):
        state = final[row].reshape(groups, -1, states).transpose(1, 2).contiguous()  # (g, n, r p)
        for start in range(0, length, CHUNK):
            part = (row, slice(start, start + CHUNK))
            chunk = full_chunk if length - start >= CHUNK else last_chunk
            inputs = x[part].to(dtype)  # (q, h, p)
            steps = step_size(dt[part].to(dtype), dt_bias, dt_softplus).clamp(*dt_limit)  # (q, h)
            scanned = chunk.scan(
                state, inputs, steps, steps * A.to(dtype), B[part].to(dtype), C[part].to(dtype)
            )
            y[part] = skip_and_gate_(scanned, inputs, skip, None if z is None else z[part])
        final[row] = state.transpose(1, 2).reshape(heads, head_dim, states)
    return y, final


class _SsdChunk:
    """The scan of one chunk, and the buffers that it writes: of the size of a chunk, for any length.

    Args:
        x: (b, l, h, p), for its dtype, device and sizes.
        groups: g.
        length: q.
    """

    def __init__(self, x: Tensor, groups: int, length: int) -> None:
        heads, head_dim = x.shape[2:]

        def buffer(*shape: int) -> Tensor:
            return x.new_empty(shape, dtype=arithmetic(x))

        self._shares = (groups, heads // groups)
        self._weighted = buffer(length, heads, head_dim)
        self._scores = buffer(groups, length, length)
        self._attention = buffer(heads, length, length)
        self._within = buffer(heads, length, head_dim)
        self._before = buffer(groups, length, heads // groups * head_dim)
        self._y = buffer(length, heads, head_dim)

    def scan(self, state: Tensor, x: Tensor, dt: Tensor, log_decay: Tensor, B: Tensor, C: Tensor) -> Tensor:
        """The chunk's y (q, h, p), valid until the next call.

        Args:
            state: before the chunk, (g, n, r p); after it when this returns.
            x: (q, h, p).
            dt: step sizes, (q, h).
            log_decay: dt A, (q, h).
            B: (q, g, n).
            C: (q, g, n).
        """
        B, C = B.transpose(0, 1), C.transpose(0, 1)  # (g, q, n)
        since_start = log_decay.cumsum(0)  # (q, h)
        weighted = torch.mul(x, dt[..., None], out=self._weighted)  # (q, h, p)
        attention = self._attend(since_start.t().contiguous(), B, C)  # (h, q, q)
        within = torch.bmm(attention, weighted.transpose(0, 1), out=self._within)  # (h, q, p)
        before = torch.bmm(C, state, out=self._before)  # (g, q, r p)
        self._decayed_output(before, decay(since_start)).add_(within.transpose(0, 1))
        whole = since_start[-1]  # (h,)
        by_head = torch.unflatten(state, 2, (self._shares[1], -1))  # (g, n, r, p)
        by_head.mul_(decay(whole).view(self._shares)[:, None, :, None])
        weighted.mul_(decay(whole - since_start)[..., None])
        added = weighted.view(len(x), self._shares[0], -1).transpose(0, 1)  # (g, q, r p)
        state.baddbmm_(B.transpose(1, 2), added)
        return self._y

    def _attend(self, since_start: Tensor, B: Tensor, C: Tensor) -> Tensor:
        """(C_t . B_s) exp(log decay from s to t) where s <= t, else 0: (h, q, q)."""
        scores = torch.bmm(C, B.transpose(1, 2), out=self._scores).tril_()  # (g, q, q)
        torch.sub(since_start[..., None], since_start[:, None], out=self._attention)
        # above the diagonal the difference may be large, and its exponential infinite
        decays = decay(self._attention.tril_(), out=self._attention)
        decays.view(*self._shares, *scores.shape[1:]).mul_(scores[:, None])
        return decays

    def _decayed_output(self, before: Tensor, decays: Tensor) -> Tensor:
        """What the state before the chunk gives at each position: (q, h, p)."""
        by_group = torch.unflatten(self._y, 1, self._shares)  # (q, g, r, p)
        decays = torch.unflatten(decays, 1, self._shares)[..., None]  # (q, g, r, 1)
        before = torch.unflatten(before, 2, (self._shares[1], -1)).transpose(0, 1)  # (q, g, r, p)
        torch.mul(before, decays, out=by_group)
        return self._y


def ssd_update(
    state: Tensor,  # (b, h, p, n), updated in place
    x: Tensor,  # (b, h, p)
    dt: Tensor,  # (b, h)
    A: Tensor,  # (h,)
    B: Tensor,  # (b, g, n)
    C: Tensor,  # (b, g, n)
    D: Tensor | None = None,  # (h,)
    z: Tensor | None = None,  # (b, h, p)
    dt_bias: Tensor | None = None,  # (h,)
    *,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = NO_LIMIT,
) -> Tensor:
    """`reference.ssd_update`, of a few sequences at a time, whose states are in the cache for all passes.

    Returns:
        y (b, h, p).
    """
    dtype, groups = arithmetic(x), B.shape[1]
    shared = x.shape[1] // groups * x.shape[2]  # r p
    inputs, B, C = x.to(dtype), B.to(dtype), C.to(dtype)
    steps = step_size(dt.to(dtype), dt_bias, dt_softplus).clamp(*dt_limit)  # (b, h)
    decays = decay(steps * A.to(dtype))[..., None, None]  # (b, h, 1, 1)
    weighted = torch.unflatten(steps[..., None] * inputs, 1, (groups, -1))[..., None]  # (b, g, r, p, 1)
    y = torch.empty_like(inputs, memory_format=torch.contiguous_format)
    for states, decayed, written, writes, reads, read in in_cache(state, decays, weighted, B, C, y):
        h = states.to(dtype)  # (b, h, p, n), the state itself if it has that dtype
        torch.unflatten(h.mul_(decayed), 1, (groups, -1)).addcmul_(written, writes[:, :, None, None])
        by_group = h.reshape(len(h) * groups, shared, h.shape[3])  # (b g, r p, n)
        torch.bmm(by_group, reads.reshape(*by_group.shape[::2], 1), out=read.view(*by_group.shape[:2], 1))
        if h is not states:
            states.copy_(h)
    return skip_and_gate_(y, inputs, None if D is None else D[:, None], z).to(x.dtype)
