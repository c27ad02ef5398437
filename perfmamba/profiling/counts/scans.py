"""FLOPs and moved elements of the scans: Mamba-1's selective scan and Mamba-2's SSD.

In: sizes. Out: a `Count`, by the conventions of `perfmamba.profiling.counts.layers`. Letters are those of
the papers: D channels in H heads of P each, N states, G groups, Q positions in a chunk. A = -exp(A_log)
depends on the weights alone and is not counted. The limits on dt are not counted either.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from perfmamba.profiling.counts.dimensions import Mamba1Dimensions, Mamba2Dimensions
from perfmamba.profiling.counts.layers import SILU_FLOPS, SOFTPLUS_FLOPS, Count, linear

SsdForm = Literal["chunked", "recurrent", "tiled", "transformers"]
"""How Mamba-2 scans a sequence. All forms give the same result, but their work differs.

- `chunked`: the SSD algorithm without wasted work: the causal half of each chunk, scores once for each group,
  and a last chunk without padding.
- `recurrent`: the recurrence, one position after the other.
- `tiled`: `chunked` in tiles of 64 x 64, as a kernel on matrix units does it: all scores of a chunk, products
  for the tiles on and below the diagonal, and lengths rounded up to whole tiles.
- `transformers`: what the torch path of transformers (5.18 and later) executes: all Q x Q pairs, scores once
  for each head, the last chunk padded to Q, and states passed between chunks by a product over all pairs of
  chunks.
"""

SSD_FORMS: tuple[SsdForm, ...] = get_args(SsdForm)

TILE = 64
"""Positions along a side of a tile in the `tiled` form."""


def mamba1_ssm(dims: Mamba1Dimensions, *, tokens: int, state_passes: int) -> Count:
    """x_proj, dt_proj, softplus, discretization, recurrence, D skip and gate of Mamba-1.

    Per token, with h (D, N): exp(dt A) 2DN; dt x D; (dt x) B DN; h = decay h + input 2DN; y = h C 2DN,
    counted as a product; bias and softplus of dt; D skip; y SiLU(z).
    Source: Mamba paper (arXiv 2312.00752), algorithm 2 and equation 4; `MambaMixer.forward` and
    `mamba_selective_scan` in transformers. B, C and dt stay inside the component and are not moved.

    Args:
        dims: the model's sizes.
        tokens: positions scanned, summed over the batch.
        state_passes: reads and writes of one sequence's state, summed over the batch.
    """
    channels, states, rank = dims.d_inner, dims.d_state, dims.dt_rank
    projections = (
        linear(channels, rank + 2 * states, tokens=tokens).matmul_flops
        + linear(rank, channels, tokens=tokens).matmul_flops
    )
    dt_flops = channels * (1 + SOFTPLUS_FLOPS)
    recurrence_flops = 5 * channels * states + channels
    output_flops = channels * (2 + SILU_FLOPS + 1)
    weights = channels * (rank + 2 * states) + (rank + 1) * channels + channels * states + channels
    return Count(
        matmul_flops=projections + 2 * tokens * channels * states,
        elementwise_flops=tokens * (dt_flops + recurrence_flops + output_flops),
        elements=tokens * 3 * channels + weights,  # x, z in; y out
        state_elements=state_passes * channels * states,
    )


def mamba2_ssm(dims: Mamba2Dimensions, *, batch: int, seqlen: int, form: SsdForm, state_passes: int) -> Count:
    """Bridge, softplus of dt, SSD scan and D skip of Mamba-2. The gate is counted with the norm.

    A bridge takes one matrix product for each token, group and matrix. Its results stay inside the component
    and are not moved.

    Source: Mamba-2 paper (arXiv 2405.21060), sections 3 (recurrent form) and 6 (block decomposition);
    `mamba2_selective_state_update` and `mamba2_chunk_scan` in transformers.

    Args:
        dims: the model's sizes.
        batch: sequences.
        seqlen: positions scanned in each.
        form: how a sequence is scanned; one of `SSD_FORMS`.
        state_passes: reads and writes of one sequence's state, summed over the batch.
    """
    scan = _recurrent(dims, seqlen) if form == "recurrent" else _chunked(dims, seqlen, form)
    # dt: bias, softplus, product with A and with x; then y + D x.
    shared_flops = seqlen * (dims.n_heads * (1 + SOFTPLUS_FLOPS + 1) + 3 * dims.d_inner)
    moved = seqlen * (2 * dims.d_inner + dims.bc_channels + dims.n_heads)  # x, B, C, dt; y
    weights = 3 * dims.n_heads + dims.bridge_weights  # A_log, D, dt_bias; P, Q
    return scan * batch + Count(
        matmul_flops=2 * batch * seqlen * dims.bridge_weights,
        elementwise_flops=batch * shared_flops,
        elements=batch * moved + weights,
        state_elements=state_passes * dims.d_inner * dims.d_state,
    )


def _recurrent(dims: Mamba2Dimensions, seqlen: int) -> Count:
    """One sequence: exp(dt A) a head; (dt x) B^T, decay and sum 3DN; y = h C 2DN, counted as a product."""
    state = dims.d_inner * dims.d_state
    return Count(matmul_flops=seqlen * 2 * state, elementwise_flops=seqlen * (3 * state + dims.n_heads))


def _chunked(dims: Mamba2Dimensions, seqlen: int, form: SsdForm) -> Count:
    """One sequence by the block decomposition, between dt x going in and D x being added.

    Products, with multiply-adds: scores C B^T (pairs N); scores X (pairs D); chunk states B^T X and their
    read-out C h (positions DN each). Elementwise: the cumulative sum of dt A; for each pair and head a
    difference, an exponential and a product with the score; for each position and head the decay to the
    chunk's end (2) and from its start (1), applied to x (D) and, with the sum, to y (2D); for each chunk
    its decay and the state it hands on (H + 2DN).
    """
    work = _chunk_work(dims, seqlen, form)
    heads, channels, states = dims.n_heads, dims.d_inner, dims.d_state
    multiply_adds = (
        work.score_copies * work.scores * states
        + work.pairs * channels
        + 2 * work.positions * channels * states
        + work.state_products * channels * states
    )
    elementwise = (
        3 * work.pairs * heads
        + work.positions * (4 * heads + 3 * channels)
        + work.chunks * heads
        + 2 * work.state_sums * channels * states
    )
    return Count(matmul_flops=2 * multiply_adds, elementwise_flops=elementwise)


@dataclass(frozen=True)
class _ChunkWork:
    """The amount of each step of the block decomposition, for one sequence.

    Attributes:
        chunks: number of chunks, the last one included.
        positions: positions computed, padding included.
        score_copies: how often the scores are computed: once for each group, or once for each head.
        scores: position pairs of C B^T.
        pairs: position pairs of the decay mask and of its product with x.
        state_products: pairs of chunks if a matrix product passes the states on; else 0.
        state_sums: chunks if the states are passed on from one chunk to the next; else 0.
    """

    chunks: int
    positions: int
    score_copies: int
    scores: int
    pairs: int
    state_products: int
    state_sums: int


def _chunk_work(dims: Mamba2Dimensions, seqlen: int, form: SsdForm) -> _ChunkWork:
    size = dims.chunk_size
    chunks = -(-seqlen // size)
    if form == "transformers":
        pairs = chunks * size * size
        return _ChunkWork(chunks, chunks * size, dims.n_heads, pairs, pairs, (chunks + 1) ** 2, 0)
    full, rest = divmod(seqlen, size)
    lengths = [(size, full), (rest, 1)]  # (positions, how many such chunks)
    tile = min(TILE, size) if form == "tiled" else 1
    tiles = [(-(-length // tile), times) for length, times in lengths]
    pairs = sum(times * tile * tile * n * (n + 1) // 2 for n, times in tiles)
    scores = sum(times * (tile * n) ** 2 for n, times in tiles) if form == "tiled" else pairs
    positions = sum(times * tile * n for n, times in tiles)
    return _ChunkWork(chunks, positions, dims.n_groups, scores, pairs, 0, chunks)
