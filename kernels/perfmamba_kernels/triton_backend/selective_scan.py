"""Mamba-1's scan as one kernel, bounded by its exponentials: one for each position, channel and n.

In and out: as `perfmamba_kernels.reference`. Here shapes become a launch; `selective_scan_kernels` computes.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product

import torch
import triton
from torch import Tensor

from perfmamba_kernels.triton_backend.compiling import STATE_SIZES, CompileCase
from perfmamba_kernels.triton_backend.launching import Launch, launches, strides
from perfmamba_kernels.triton_backend.selective_scan_kernels import interleave_kernel, scan_kernel

LANES = 32
RUN = 8  # positions of a lane
ENOUGH_WARPS = 2048  # four for each of the schedulers of 132 multiprocessors


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
    """`reference.selective_scan` as one kernel.

    Returns:
        y (b, d, l), its axes in memory in the order of u's, and the state after the last position (b, d, n),
        in float32 and with d contiguous.
    """
    batch, channels, length = u.shape
    states = A.shape[1]
    y = torch.empty_like(u)
    state = u.new_empty(batch, states, channels, dtype=torch.float32).transpose(1, 2)
    runs = runs_of_a_channel(batch, channels, length)
    projections = _interleaved(B, C, runs * RUN)
    arguments = (
        *(u, delta, A, projections, D, z, delta_bias, initial_state, y, state),
        *u.stride(),
        *delta.stride(),
        *A.stride(),
        *projections.stride()[:2],
        *strides(D, 1),
        *strides(z, 3),
        *strides(delta_bias, 1),
        *strides(initial_state, 3),
        *y.stride(),
        *state.stride(),
        *(states, channels, length),
    )
    constants = {
        "DELTA_SOFTPLUS": delta_softplus,
        "RUNS": runs,
        "RUN": RUN,
        "CHANNELS": LANES // runs,
    }
    grid = (triton.cdiv(channels, LANES // runs), batch)
    Launch(scan_kernel, grid, arguments, constants, num_warps=1, num_stages=1).run()
    return y, state


def _interleaved(B: Tensor, C: Tensor, tile: int) -> Tensor:
    """B and C (b, n, l) as (b, n, l, 2) in float32, with zeros up to a multiple of a tile."""
    batch, states, length = B.shape
    padded = triton.cdiv(length, tile) * tile
    pairs = B.new_empty(batch, states, padded, 2, dtype=torch.float32)
    arguments = (B, C, pairs, *B.stride(), *C.stride(), *pairs.stride()[:2], states, length, padded)
    constants = {"STATES": 16, "POSITIONS": 64}
    grid = (triton.cdiv(padded, 64), triton.cdiv(states, 16), batch)
    Launch(interleave_kernel, grid, arguments, constants, num_warps=2, num_stages=1).run()
    return pairs


def runs_of_a_channel(batch: int, channels: int, length: int) -> int:
    """The lanes that share a channel: as few as give a GPU enough warps, for each more costs shuffles."""
    wanted = triton.next_power_of_2(triton.cdiv(ENOUGH_WARPS * LANES, max(1, batch * channels)))
    useful = triton.next_power_of_2(triton.cdiv(max(1, length), RUN))
    return int(min(wanted, useful, LANES))


def compile_cases() -> Iterator[CompileCase]:
    """A layer of mamba-130m at the batches that share a channel among one to 32 lanes."""
    for states, dtype in product(STATE_SIZES, (torch.float32, torch.bfloat16)):
        for batch in (1, 8, 64):
            for launch in launches(
                selective_scan, **_example(batch, 2048, states, dtype), delta_softplus=True
            ):
                label = f"{launch.kernel.__name__} {dtype}, batch {batch}"
                yield CompileCase.of(f"selective_scan {label}".replace("torch.", ""), states, launch)


def _example(batch: int, length: int, states: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """The arguments that a layer of mamba-130m has, whose axes are not all in one order."""
    empty = partial(torch.empty, device="meta")
    projected = empty(batch, length, 48 + 2 * states, dtype=dtype).transpose(1, 2)
    return {
        "u": empty(batch, length, 1536, dtype=dtype).transpose(1, 2),
        "delta": empty(batch, 1536, length, dtype=dtype),
        "A": empty(1536, states),
        "B": projected[:, 48:-states],
        "C": projected[:, -states:],
        "D": empty(1536),
        "z": empty(batch, length, 2 * 1536, dtype=dtype)[..., 1536:].transpose(1, 2),
        "delta_bias": empty(1536),
    }
