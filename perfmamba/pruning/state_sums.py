"""Sums over all positions of what the states of one layer do, gathered chunk by chunk.

In: what a scan is called with. Out: means over the positions seen so far. The states of a chunk are never
written out in Mamba-2: 196,608 numbers a position in mamba2-130m, and 50 MFLOP for their second moment. They are
h_t = w_t0 h_0 + sum of w_tu x_u B_u^T over the positions u of the chunk up to t, so that every sum of squares
falls into three parts of a few products each: of the chunk's own inputs with themselves, of these with the state
before the chunk, and of that state with itself. That is exact, and about 3 MFLOP a position.

Letters: b batch, q positions of a chunk, g groups, r heads of a group, p channels a head, n states; t, u and m are
positions of the chunk.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from perfmamba.models.scan_inputs import ScanInputs

CHUNK = 32
"""Positions a chunk. The work on a chunk's own inputs grows with it, that on the state before it shrinks."""


@dataclass(frozen=True)
class ChunkSums:
    """What the states of a chunk hold.

    Attributes:
        after: (b, g, r, p, n) the state after the chunk.
        energy: (b, g, q, n) at each position, the sum of h_s^2 over the group's heads and their channels.
        moment: (g, n, n) the sum of h h^T over heads, channels, positions and sequences.
    """

    after: Tensor
    energy: Tensor
    moment: Tensor


class StateSums:
    """The sums of one layer, in float64 on the device of its scan.

    Args:
        scan: what the layer's scan is called with; it is only asked for sizes.
    """

    def __init__(self, scan: ScanInputs) -> None:
        groups, states = scan.B.shape[2:]

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=scan.x.device)

        self._positions = 0
        self._sums = {
            "dt": zeros(scan.x.shape[2]),
            "write": zeros(groups, states),
            "output": zeros(groups, states),
            "state_moment": zeros(groups, states, states),
            "output_moment": zeros(groups, states, states),
        }

    def add(self, scan: ScanInputs) -> None:
        """Take in all positions of a scan, which starts from a state of zeros."""
        groups, states = scan.B.shape[2:]
        batch, length, heads, channels = scan.x.shape
        state = scan.x.new_zeros(batch, groups, heads // groups, channels, states)
        for start in range(0, length, CHUNK):
            part = slice(start, start + CHUNK)
            state = self._add_chunk(
                state,
                scan.x[:, part].unflatten(2, (groups, -1)).movedim(1, 3),  # (b, g, r, q, p)
                scan.dt[:, part].unflatten(2, (groups, -1)).movedim(1, 3),  # (b, g, r, q)
                scan.A.unflatten(0, (groups, -1)),  # (g, r) or (1, d, n)
                scan.B[:, part].movedim(1, 2),  # (b, g, q, n)
                scan.C[:, part].movedim(1, 2),  # (b, g, q, n)
            )
        self._positions += batch * length

    def _add_chunk(self, state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        scan_chunk = ssd_chunk if A.ndim == 2 else selective_chunk
        chunk = scan_chunk(state, x, dt, A, B)
        mean_dt = dt.mean(2)[..., None]  # (b, g, q, 1)
        self._sums["dt"] += dt.sum((0, 3)).flatten()
        self._sums["write"] += (mean_dt * B.abs()).sum((0, 2))
        self._sums["output"] += (C.square() * chunk.energy).sum((0, 2))
        self._sums["state_moment"] += chunk.moment
        self._sums["output_moment"] += (C.mT @ C).sum(0)
        return chunk.after

    def finite(self) -> bool:
        """Whether no sum is NaN or infinite."""
        return all(bool(total.isfinite().all()) for total in self._sums.values())

    def means(self) -> dict[str, Tensor]:
        """The means over all positions, on the CPU, by the names of `LayerActivity`."""
        return {name: (total / self._positions).cpu() for name, total in self._sums.items()}


def ssd_chunk(
    state: Tensor,  # (b, g, r, p, n)
    x: Tensor,  # (b, g, r, q, p)
    dt: Tensor,  # (b, g, r, q)
    A: Tensor,  # (g, r)
    B: Tensor,  # (b, g, q, n)
) -> ChunkSums:
    """The sums of a chunk of Mamba-2, from the state before it.

    Source: the recurrence of arXiv 2405.21060, equation 2, squared and summed.
    """
    since_start = (dt * A[..., None]).cumsum(-1)  # (b, g, r, q), the log of w_t0
    decay = (since_start[..., :, None] - since_start[..., None, :]).tril().exp().tril()  # w_tu: (.., t, u)
    inputs = dt[..., None] * x  # (b, g, r, q, p)
    pairs = _input_pairs(inputs, decay)  # (b, g, m, t, u)
    from_start = since_start.exp()  # (b, g, r, t)
    mixed = inputs @ state  # (b, g, r, u, n)
    mixing = from_start[..., None] * decay  # (b, g, r, t, u)
    kept = from_start.square()  # (b, g, r, t)

    energy = ((pairs @ B[:, :, None]) * B[..., None, :]).sum(2)  # (b, g, t, n)
    energy += 2 * mixing.transpose(2, 3).flatten(3) @ (mixed * B[:, :, None]).flatten(2, 3)
    energy += kept.mT @ state.square().sum(3)

    within = B.mT @ pairs.sum(3) @ B  # (b, g, n, n)
    across = 2 * B.mT @ (mixing.sum(3)[..., None] * mixed).sum(2)
    weighted = (kept.sum(3)[..., None, None] * state).flatten(2, 3)  # (b, g, r p, n)
    before = weighted.mT @ state.flatten(2, 3)
    half = (within + across).sum(0) / 2

    whole = since_start[..., -1:]  # (b, g, r, 1)
    reaching = (whole - since_start).exp()[..., None] * inputs  # (b, g, r, q, p)
    after = whole.exp()[..., None] * state + reaching.mT @ B[:, :, None]
    return ChunkSums(after, energy, half + half.mT + before.sum(0))


def _input_pairs(inputs: Tensor, decay: Tensor) -> Tensor:
    """What the inputs u and m <= t of a chunk share at t: sum of w_tu w_tm x_u . x_m over heads, (b, g, m, t, u).

    Each pair of different positions is there once, where u < m, doubled. Since w_tu w_tm = w_tm^2 w_mu, this is
    one product over the heads for each m.
    """
    shared = (inputs @ inputs.mT) * decay  # (b, g, r, m, u): x_u . x_m w_mu, zero where u > m
    shared = 2 * shared - shared * torch.eye(shared.shape[-1], dtype=shared.dtype, device=shared.device)
    later = decay.square()  # (b, g, r, t, m)
    return later.permute(0, 1, 4, 3, 2) @ shared.permute(0, 1, 3, 2, 4)


def selective_chunk(
    state: Tensor,  # (b, 1, d, 1, n)
    x: Tensor,  # (b, 1, d, q, 1)
    dt: Tensor,  # (b, 1, d, q)
    A: Tensor,  # (1, d, n)
    B: Tensor,  # (b, 1, q, n)
) -> ChunkSums:
    """The sums of a chunk of Mamba-1, from the state before it.

    Each channel and state decays at a rate of its own, so that nothing is gained by sums over pairs of
    positions; but the states are few, and are written out for the chunk.

    Source: the recurrence of arXiv 2312.00752, equation 2.
    """
    steps = dt[:, 0].permute(2, 0, 1)  # (q, b, d)
    inputs = steps * x[:, 0, ..., 0].permute(2, 0, 1)  # (q, b, d)
    decays = (steps[..., None] * A[0]).exp()  # (q, b, d, n)
    states = inputs[..., None] * B[:, 0].transpose(0, 1)[:, :, None]  # (q, b, d, n)
    before = state[:, 0, :, 0]
    for decay, after in zip(decays, states, strict=True):
        before = after.addcmul_(decay, before)
    energy = states.square().sum(2).transpose(0, 1)[:, None]  # (b, 1, q, n)
    rows = states.flatten(0, 2)  # (q b d, n)
    return ChunkSums(before[:, None, :, None].clone(), energy, (rows.mT @ rows)[None])
