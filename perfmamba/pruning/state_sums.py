"""Sums over all positions of what the states of one layer do, gathered chunk by chunk.

In: the inputs of a scan. Out: means over the positions seen so far.

In Mamba-2 the states are never written out: a layer of mamba2-130m has 196,608 values a position, and their
second moment takes 50 MFLOP. Within a chunk h_t = w_t0 h_0 + sum of w_tu x_u B_u^T over its positions u up to
t. So every sum of squares falls into three parts, each a few products: of the chunk's inputs with themselves,
of these with the state before the chunk, and of that state with itself. This is exact and takes 3 MFLOP a
position.

Letters: b batch, q positions of a chunk, g groups, r heads of a group, p channels a head, n states; t, u and
m are positions of the chunk. In Mamba-1 there is one group, whose heads are the channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from perfmamba_kernels.elementwise import decay
from torch import Tensor

from perfmamba.models.scan_inputs import ScanInputs

SSD_CHUNK = 32
"""Positions a chunk in Mamba-2. A longer chunk has more work on its own inputs, less on the state before."""

SELECTIVE_CHUNK = 8
"""Positions a chunk in Mamba-1, whose states are written out: few enough that they stay in the cache."""


@dataclass(frozen=True, eq=False)
class ScanChunk:
    """Some positions of a scan, by group.

    Attributes:
        x: (b, g, r, q, p).
        dt: (b, g, r, q).
        A: (g, r), or (1, d, n) in Mamba-1.
        B: (b, g, q, n).
        C: (b, g, q, n).
    """

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor


@dataclass(frozen=True, eq=False)
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
        scan: the inputs of the layer's scan, of which only the sizes matter here.
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
        """Add all positions of a scan, which starts from a state of zeros."""
        batch, length, _, _ = scan.x.shape
        at_once = 1 if scan.x.device.type == "cpu" else batch  # on a CPU one sequence's chunk fills the cache
        for first in range(0, batch, at_once):
            rows = slice(first, first + at_once)
            self._add(replace(scan, x=scan.x[rows], dt=scan.dt[rows], B=scan.B[rows], C=scan.C[rows]))
        self._positions += batch * length

    def _add(self, scan: ScanInputs) -> None:
        batch, _, heads, channels = scan.x.shape
        groups, states = scan.B.shape[2:]
        state = scan.x.new_zeros(batch, groups, heads // groups, channels, states)
        is_ssd = scan.A.ndim == 1
        for chunk in _chunks(scan, SSD_CHUNK if is_ssd else SELECTIVE_CHUNK):
            sums = ssd_chunk(state, chunk) if is_ssd else selective_chunk(state, chunk)
            state = sums.after
            mean_dt = chunk.dt.mean(2)[..., None]  # (b, g, q, 1)
            self._sums["dt"] += chunk.dt.sum((0, 3)).flatten()
            self._sums["write"] += (mean_dt * chunk.B.abs()).sum((0, 2))
            self._sums["output"] += (chunk.C.square() * sums.energy).sum((0, 2))
            self._sums["state_moment"] += sums.moment
            self._sums["output_moment"] += (chunk.C.mT @ chunk.C).sum(0)

    def finite(self) -> bool:
        """Whether no sum is NaN or infinite."""
        return all(bool(total.isfinite().all()) for total in self._sums.values())

    def means(self) -> dict[str, Tensor]:
        """The means over all positions, on the CPU, by the names of `LayerActivity`."""
        return {name: (total / self._positions).cpu() for name, total in self._sums.items()}


def _chunks(scan: ScanInputs, length: int) -> Iterator[ScanChunk]:
    """The chunks of a scan, `length` positions each."""
    by_group = (scan.B.shape[2], -1)
    rates = torch.unflatten(scan.A, 0, by_group)
    for start in range(0, scan.x.shape[1], length):
        part = (slice(None), slice(start, start + length))
        yield ScanChunk(
            x=torch.unflatten(scan.x[part], 2, by_group).movedim(1, 3),
            dt=torch.unflatten(scan.dt[part], 2, by_group).movedim(1, 3),
            A=rates,
            B=scan.B[part].movedim(1, 2),
            C=scan.C[part].movedim(1, 2),
        )


def ssd_chunk(state: Tensor, chunk: ScanChunk) -> ChunkSums:
    """The sums of a chunk of Mamba-2, from the state (b, g, r, p, n) before it.

    Source: the recurrence of arXiv 2405.21060, equation 2, squared and summed.
    """
    log_decay = (chunk.dt * chunk.A[..., None]).cumsum(-1)  # (b, g, r, t) of w_t0
    from_start = decay(log_decay)  # (b, g, r, t)
    between = decay((log_decay[..., None] - log_decay[..., None, :]).tril()).tril()  # w_tu (b, g, r, t, u)
    inputs = chunk.dt[..., None] * chunk.x  # (b, g, r, u, p)
    pairs = _input_pairs(inputs, between)  # (b, g, m, t, u)
    seen = inputs @ state  # x_u . h_0 (b, g, r, u, n)
    seen_decay = from_start[..., None] * between  # w_t0 w_tu (b, g, r, t, u)
    kept = from_start.square()  # w_t0^2 (b, g, r, t)

    own = ((pairs @ chunk.B[:, :, None]) * chunk.B[..., None, :]).sum(2)  # (b, g, t, n)
    across = _over_heads(seen_decay) @ (seen * chunk.B[:, :, None]).flatten(2, 3)  # (b, g, t, n)
    energy = own + 2 * across + kept.mT @ state.square().sum(3)

    halves = pairs.sum(3) @ chunk.B / 2 + (seen_decay.sum(3)[..., None] * seen).sum(2)  # (b, g, u, n)
    half = (chunk.B.mT @ halves).sum(0)  # (g, n, n)
    before = (kept.sum(3)[..., None, None] * state).flatten(2, 3).mT @ state.flatten(2, 3)  # (b, g, n, n)

    to_end = decay(log_decay[..., -1:] - log_decay)[..., None] * inputs  # (b, g, r, u, p)
    after = from_start[..., -1:, None] * state + to_end.mT @ chunk.B[:, :, None]
    return ChunkSums(after, energy, half + half.mT + before.sum(0))


def _over_heads(weights: Tensor) -> Tensor:
    """(b, g, r, t, u) as (b, g, t, r u), for a product that sums over heads and positions at once."""
    return weights.transpose(2, 3).flatten(3)


def _input_pairs(inputs: Tensor, between: Tensor) -> Tensor:
    """The sum over heads of w_tu w_tm x_u . x_m, for u <= m <= t: (b, g, m, t, u).

    A pair of different positions counts twice. As w_tu w_tm = w_tm^2 w_mu, this is a product over the heads
    for each m.
    """
    shared = inputs @ inputs.mT * between  # w_mu x_u . x_m (b, g, r, m, u)
    shared = 2 * shared.tril(-1) + shared * torch.eye(
        shared.shape[-1], dtype=shared.dtype, device=shared.device
    )
    later = between.square()  # w_tm^2 (b, g, r, t, m)
    return later.permute(0, 1, 4, 3, 2) @ shared.permute(0, 1, 3, 2, 4)


def selective_chunk(state: Tensor, chunk: ScanChunk) -> ChunkSums:
    """The sums of a chunk of Mamba-1, from the state (b, 1, d, 1, n) before it.

    Each channel and state decays at a rate of its own, so that sums over pairs of positions would save no
    work. The states are few, so they are written out for the chunk.

    Source: the recurrence of arXiv 2312.00752, equation 2.
    """
    steps = chunk.dt[:, 0].permute(2, 0, 1)  # (q, b, d)
    inputs = steps * chunk.x[:, 0, ..., 0].permute(2, 0, 1)  # (q, b, d)
    decays = decay(steps[..., None] * chunk.A[0])  # (q, b, d, n)
    states = inputs[..., None] * chunk.B[:, 0].transpose(0, 1)[:, :, None]  # (q, b, d, n)
    last = state[:, 0, :, 0]
    for decayed, added in zip(decays, states, strict=True):
        last = added.addcmul_(decayed, last)
    energy = states.square().sum(2).transpose(0, 1)[:, None]  # (b, 1, q, n)
    rows = states.flatten(0, 2)  # (q b d, n)
    return ChunkSums(last[:, None, :, None], energy, (rows.mT @ rows)[None])
