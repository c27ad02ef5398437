"""What an operation needs at the least, and how soon a device could be done with that: the floor of its time.

In: sizes, and the rates of a device. Out: a `Work` (products, exponentials, bytes) and seconds. The bytes are
those of one kernel that reads each input once, writes each output once, and keeps everything between them on
the chip; what several kernels hand to each other through memory comes on top. No real kernel reaches a floor:
latency, shared memory, registers and everything elementwise are left out.

Letters: b batch, l positions, h heads of p channels, d = h p channels, n states, g groups, k taps. Inputs and
outputs of a sequence take `itemsize` bytes a number; A, D and biases are float32, as the models keep them.
"""

import math
from dataclasses import dataclass

CHUNK = 64
"""Positions that a scan on matrix units takes at a time; fewer would leave their tiles part empty."""

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Work:
    """What an operation computes and moves.

    Attributes:
        matmul_flops: in matrix products and convolutions, two a multiply-add.
        exponentials: and logarithms; a softplus is one of each, a SiLU one exponential.
        moved_bytes: read or written, each once.
    """

    matmul_flops: int
    exponentials: int
    moved_bytes: int


@dataclass(frozen=True)
class Rates:
    """What a device does in a second, at its best.

    Attributes:
        name: of the device.
        matmul_flops: FLOPs of a matrix product, in the dtype of the operation.
        moved_bytes: bytes read or written.
        exponentials: of float32 numbers.
    """

    name: str
    matmul_flops: float
    moved_bytes: float
    exponentials: float = math.inf


# Matrix rates are those of 16-bit tensor cores without sparsity, as in NVIDIA's data sheets of the A100
# (SXM) and the H100 (SXM5). Exponentials: 16 results a cycle and multiprocessor (CUDA C++ Programming
# Guide, throughput of arithmetic instructions, capabilities 8.0 and 9.0), on 108 multiprocessors at 1.41
# GHz and on 132 at 1.83 GHz, the clocks that the matrix rates hold at.
A100_40GB = Rates("A100 40 GB", matmul_flops=312e12, moved_bytes=1.555e12, exponentials=16 * 108 * 1.41e9)
A100_80GB = Rates("A100 80 GB", matmul_flops=312e12, moved_bytes=2.039e12, exponentials=16 * 108 * 1.41e9)
H100_SXM = Rates("H100 SXM", matmul_flops=989.4e12, moved_bytes=3.35e12, exponentials=16 * 132 * 1.83e9)


def floor_seconds(work: Work, rates: Rates) -> float:
    """The least time for some work: the three kinds of it at their full rates, side by side."""
    return max(
        work.matmul_flops / rates.matmul_flops,
        work.moved_bytes / rates.moved_bytes,
        work.exponentials / rates.exponentials,
    )


def ssd(
    *,
    batch: int,
    seqlen: int,
    heads: int,
    head_dim: int,
    states: int,
    groups: int = 1,
    itemsize: int,
    gated: bool = False,
    chunk: int | None = CHUNK,
) -> Work:
    """Mamba-2's scan with dt bias, softplus, D and the final state.

    A chunk of q positions, with its q (q + 1) / 2 pairs on and below the diagonal: scores C B^T, pairs x g n
    multiply-adds; scores X, pairs x d; the state's update and its read-out, q d n each. An exponential for
    each pair and head, two for each position and head (decay from the chunk's start, and to its end), one for
    each chunk and head. As the recurrence: the read-out, 2 d n FLOPs a position, and one exponential a head;
    the rest of it is no matrix product.
    Source: Mamba-2 paper (arXiv 2405.21060), sections 3 and 6.

    Args:
        batch: b.
        seqlen: l.
        heads: h.
        head_dim: p.
        states: n.
        groups: g.
        itemsize: bytes a number of x, dt, B, C, z and y.
        gated: whether y is multiplied by SiLU(z).
        chunk: q; None for the recurrence.
    """
    channels = heads * head_dim
    state = channels * states
    multiply_adds, exponentials = seqlen * state, seqlen * heads
    if chunk is not None:
        pairs = _causal_pairs(seqlen, chunk)
        chunks = -(-seqlen // chunk)
        multiply_adds = pairs * (groups * states + channels) + 2 * seqlen * state
        exponentials = heads * (pairs + 2 * seqlen + chunks)
    exponentials += seqlen * (2 * heads + gated * channels)
    numbers = seqlen * ((2 + gated) * channels + 2 * groups * states + heads)  # x, y and z; B and C; dt
    constants = 3 * heads  # A, D, the bias of dt
    return Work(
        matmul_flops=2 * batch * multiply_adds,
        exponentials=batch * exponentials,
        moved_bytes=batch * (itemsize * numbers + FLOAT32_BYTES * state) + FLOAT32_BYTES * constants,
    )


def ssd_update(
    *,
    batch: int,
    heads: int,
    head_dim: int,
    states: int,
    groups: int = 1,
    itemsize: int,
    state_itemsize: int = FLOAT32_BYTES,
    gated: bool = False,
) -> Work:
    """One decode step of Mamba-2: the state is read and written once.

    Args:
        batch: b.
        heads: h.
        head_dim: p.
        states: n.
        groups: g.
        itemsize: bytes a number of x, dt, B, C, z and y.
        state_itemsize: bytes a number of the state.
        gated: whether y is multiplied by SiLU(z).
    """
    channels = heads * head_dim
    numbers = (2 + gated) * channels + 2 * groups * states + heads
    constants = 3 * heads
    return Work(
        matmul_flops=2 * batch * channels * states,
        exponentials=batch * (3 * heads + gated * channels),
        moved_bytes=batch * (itemsize * numbers + 2 * state_itemsize * channels * states)
        + FLOAT32_BYTES * constants,
    )


def selective_scan(*, batch: int, seqlen: int, channels: int, states: int, itemsize: int) -> Work:
    """Mamba-1's scan with dt bias, softplus, D, the gate and the final state.

    An exponential for each position, channel and state, which bounds it on a GPU. Of the recurrence only the
    read-out y = C h counts as a product, though it is none for matrix units.
    Source: Mamba paper (arXiv 2312.00752), algorithm 2.

    Args:
        batch: b.
        seqlen: l.
        channels: d.
        states: n.
        itemsize: bytes a number of u, delta, B, C, z and y.
    """
    state = channels * states
    numbers = seqlen * (4 * channels + 2 * states)  # u, delta, z and y; B and C
    return Work(
        matmul_flops=2 * batch * seqlen * state,
        exponentials=batch * seqlen * (state + 3 * channels),
        moved_bytes=batch * (itemsize * numbers + FLOAT32_BYTES * state)
        + FLOAT32_BYTES * (state + 2 * channels),
    )


def selective_state_update(
    *, batch: int, channels: int, states: int, itemsize: int, state_itemsize: int = FLOAT32_BYTES
) -> Work:
    """One decode step of Mamba-1, gated: the state is read and written once.

    Args:
        batch: b.
        channels: d.
        states: n.
        itemsize: bytes a number of x, dt, B, C, z and y.
        state_itemsize: bytes a number of the state.
    """
    state = channels * states
    numbers = 4 * channels + 2 * states
    return Work(
        matmul_flops=2 * batch * state,
        exponentials=batch * (state + 3 * channels),
        moved_bytes=batch * (itemsize * numbers + 2 * state_itemsize * state)
        + FLOAT32_BYTES * (state + 2 * channels),
    )


def causal_conv1d(*, batch: int, seqlen: int, channels: int, taps: int, itemsize: int) -> Work:
    """The causal convolution with bias and SiLU, and the last inputs that a decode step goes on from.

    Args:
        batch: b.
        seqlen: l.
        channels: d.
        taps: k.
        itemsize: bytes a number of x, y, the last inputs, the weight and the bias.
    """
    numbers = channels * (batch * (2 * seqlen + taps - 1) + taps + 1)
    return Work(
        matmul_flops=2 * batch * seqlen * channels * taps,
        exponentials=batch * seqlen * channels,
        moved_bytes=itemsize * numbers,
    )


def causal_conv1d_update(*, batch: int, channels: int, taps: int, itemsize: int) -> Work:
    """One decode step of the convolution, with a state of k inputs a channel that is read and written once.

    Args:
        batch: b.
        channels: d.
        taps: k.
        itemsize: bytes a number of x, y, the state, the weight and the bias.
    """
    numbers = channels * (batch * (2 + 2 * taps) + taps + 1)
    return Work(
        matmul_flops=2 * batch * channels * taps,
        exponentials=batch * channels,
        moved_bytes=itemsize * numbers,
    )


def _causal_pairs(seqlen: int, chunk: int) -> int:
    """Pairs of positions in one chunk, the later with the earlier or itself, over a sequence."""
    full, rest = divmod(seqlen, chunk)
    return full * chunk * (chunk + 1) // 2 + rest * (rest + 1) // 2
