"""Mamba-1's scan as one kernel, bounded by its exponentials: one for each position, channel and n.

A program is one warp that walks over the sequence, a tile of positions at a time, for a few channels. A lane
has one channel and a run of consecutive positions, whose recurrence it computes in its registers; the lanes
of a channel pass its state from run to run with shuffles. So a position costs a handful of instructions
beside its exponential, and small batches get their parallelism from positions where large ones get it from
channels. Between tiles the states are kept in the tensor that is returned.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product

import torch
import triton
import triton.language as tl
from torch import Tensor

from perfmamba_kernels.triton_backend.compiling import STATE_SIZES, CompileCase
from perfmamba_kernels.triton_backend.launching import Launch, launches, strides
from perfmamba_kernels.triton_backend.steps import LOG2_E, silu, step_size

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
    arguments = (
        *(u, delta, A, B, C, D, z, delta_bias, initial_state, y, state),
        *u.stride(),
        *delta.stride(),
        *A.stride(),
        *B.stride(),
        *C.stride(),
        *strides(D, 1),
        *strides(z, 3),
        *strides(delta_bias, 1),
        *strides(initial_state, 3),
        *y.stride(),
        *state.stride(),
        *(channels, length),
    )
    runs = runs_of_a_channel(batch, channels, length)
    constants = {
        "N": states,
        "DELTA_SOFTPLUS": delta_softplus,
        "RUNS": runs,
        "RUN": RUN,
        "CHANNELS": LANES // runs,
    }
    grid = (triton.cdiv(channels, LANES // runs), batch)
    Launch(_scan_kernel, grid, arguments, constants, num_warps=1, num_stages=1).run()
    return y, state


def runs_of_a_channel(batch: int, channels: int, length: int) -> int:
    """The lanes that share a channel: as few as give a GPU enough warps, for each more costs shuffles."""
    wanted = triton.next_power_of_2(triton.cdiv(ENOUGH_WARPS * LANES, max(1, batch * channels)))
    useful = triton.next_power_of_2(triton.cdiv(max(1, length), RUN))
    return int(min(wanted, useful, LANES))


def compile_cases() -> Iterator[CompileCase]:
    """A layer of mamba-130m at the batches that share a channel among one to 32 lanes."""
    for states, dtype in product(STATE_SIZES, (torch.float32, torch.bfloat16)):
        for batch in (1, 8, 64):
            (launch,) = launches(selective_scan, **_example(batch, 2048, states, dtype), delta_softplus=True)
            yield CompileCase.of(
                f"selective_scan {dtype}, batch {batch}".replace("torch.", ""), states, launch
            )


@triton.jit
def _after_both(
    decay: tl.tensor, state: tl.tensor, next_decay: tl.tensor, next_state: tl.tensor
) -> tuple[tl.tensor, tl.tensor]:
    return decay * next_decay, next_decay * state + next_state


@triton.jit(do_not_specialize=["length"])
def _scan_kernel(
    u: tl.tensor,  # (b, d, l)
    delta: tl.tensor,  # (b, d, l)
    A: tl.tensor,  # (d, n)
    B: tl.tensor,  # (b, n, l)
    C: tl.tensor,  # (b, n, l)
    D: tl.tensor,  # (d,)
    z: tl.tensor,  # (b, d, l)
    delta_bias: tl.tensor,  # (d,)
    initial_state: tl.tensor,  # (b, d, n)
    y: tl.tensor,  # (b, d, l)
    state: tl.tensor,  # (b, d, n)
    u_b: tl.tensor,
    u_d: tl.tensor,
    u_l: tl.tensor,
    delta_b: tl.tensor,
    delta_d: tl.tensor,
    delta_l: tl.tensor,
    A_d: tl.tensor,
    A_n: tl.tensor,
    B_b: tl.tensor,
    B_n: tl.tensor,
    B_l: tl.tensor,
    C_b: tl.tensor,
    C_n: tl.tensor,
    C_l: tl.tensor,
    D_d: tl.tensor,
    z_b: tl.tensor,
    z_d: tl.tensor,
    z_l: tl.tensor,
    bias_d: tl.tensor,
    initial_b: tl.tensor,
    initial_d: tl.tensor,
    initial_n: tl.tensor,
    y_b: tl.tensor,
    y_d: tl.tensor,
    y_l: tl.tensor,
    state_b: tl.tensor,
    state_d: tl.tensor,
    state_n: tl.tensor,
    channels: tl.tensor,
    length: tl.tensor,
    N: tl.constexpr,
    DELTA_SOFTPLUS: tl.constexpr,
    RUNS: tl.constexpr,
    RUN: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    batch = tl.program_id(1).to(tl.int64)
    d = (tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)).to(tl.int64)
    in_d = d < channels
    run = tl.arange(0, RUNS)[:, None]  # tiles are (run, channel), one for each position of a run

    state += batch * state_b + d * state_d  # (d,)
    for n in range(N):
        first_state = tl.zeros((CHANNELS,), tl.float32)
        if initial_state is not None:
            at = initial_state + batch * initial_b + d * initial_d + n * initial_n
            first_state = tl.load(at, mask=in_d, other=0.0).to(tl.float32)
        tl.store(state + n * state_n, first_state, mask=in_d)
    tl.debug_barrier()

    bias = tl.zeros((CHANNELS,), tl.float32)
    if delta_bias is not None:
        bias = tl.load(delta_bias + d * bias_d, mask=in_d, other=0.0).to(tl.float32)
    u += batch * u_b + d[None, :] * u_d
    delta += batch * delta_b + d[None, :] * delta_d
    B += batch * B_b
    C += batch * C_b
    y += batch * y_b + d[None, :] * y_d
    for first in range(0, length, RUNS * RUN):
        t = first + run.to(tl.int64) * RUN  # (run, 1)
        steps, gains, outputs = (), (), ()
        run_step = tl.zeros((RUNS, CHANNELS), tl.float32)
        for k in tl.static_range(RUN):
            inside = (t + k < length) & in_d[None, :]
            value = tl.load(u + (t + k) * u_l, mask=inside, other=0.0).to(tl.float32)
            step = tl.load(delta + (t + k) * delta_l, mask=inside, other=0.0).to(tl.float32)
            # Past the end, a step of zero leaves the state as it is.
            step = tl.where(inside, step_size(step, bias[None, :], DELTA_SOFTPLUS), 0.0)
            run_step += step
            steps += (step,)
            gains += (step * value,)
            outputs += (tl.zeros((RUNS, CHANNELS), tl.float32),)

        for n in range(N):
            rate = tl.load(A + d * A_d + n * A_n, mask=in_d, other=0.0).to(tl.float32)[None, :] * LOG2_E
            before = tl.load(state + n * state_n, mask=in_d, other=0.0)[None, :]
            h = tl.zeros((RUNS, CHANNELS), tl.float32)
            decays, added = (), ()
            for k in tl.static_range(RUN):
                decay = tl.exp2(steps[k] * rate)
                b = tl.load(B + n * B_n + (t + k) * B_l, mask=t + k < length, other=0.0).to(tl.float32)
                h = decay * h + gains[k] * b
                decays += (decay,)
                added += (gains[k] * b,)
            h = _state_before_run(h, tl.exp2(run_step * rate), before, run)
            sums = ()
            for k in tl.static_range(RUN):
                c = tl.load(C + n * C_n + (t + k) * C_l, mask=t + k < length, other=0.0).to(tl.float32)
                h = decays[k] * h + added[k]
                sums += (outputs[k] + h * c,)
            outputs = sums
            at = tl.broadcast_to((state + n * state_n)[None, :], (RUNS, CHANNELS))
            tl.store(at, h, mask=(run == RUNS - 1) & in_d[None, :])
        tl.debug_barrier()

        for k in tl.static_range(RUN):
            inside = (t + k < length) & in_d[None, :]
            out = outputs[k]
            if D is not None:
                value = tl.load(u + (t + k) * u_l, mask=inside, other=0.0).to(tl.float32)
                out += value * tl.load(D + d * D_d, mask=in_d, other=0.0).to(tl.float32)[None, :]
            if z is not None:
                at = z + batch * z_b + d[None, :] * z_d + (t + k) * z_l
                out *= silu(tl.load(at, mask=inside, other=0.0).to(tl.float32))
            tl.store(y + (t + k) * y_l, out, mask=inside)


@triton.jit
def _state_before_run(
    end: tl.tensor,  # (run, d), the state after each run if it were zero before it
    decay: tl.tensor,  # (run, d), of a whole run
    before: tl.tensor,  # (1, d), the state before the first run
    run: tl.tensor,  # (run, 1)
) -> tl.tensor:
    """The state (run, d) that each run starts from."""
    end = tl.where(run == 0, end + decay * before, end)
    if end.shape[0] > 1:
        _, end = tl.associative_scan((decay, end), 0, _after_both)
        end = tl.gather(end, tl.broadcast_to(tl.maximum(run - 1, 0), end.shape), 0)
    return tl.where(run == 0, before, end)


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
