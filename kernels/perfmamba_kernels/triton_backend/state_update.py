"""The decode steps of Mamba-1 and Mamba-2: one kernel that reads and writes each element of the state once.

A program holds some rows (channels) of one head's state with all their n; the grid is (blocks of rows, heads,
batch). In Mamba-2 the channels of a head share its step size and A. Mamba-1 is one head whose channels have a
step size each and an A for each n.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product

import torch
import triton
import triton.language as tl
from torch import Tensor

from perfmamba_kernels.elementwise import NO_LIMIT
from perfmamba_kernels.triton_backend.compiling import STATE_SIZES, CompileCase
from perfmamba_kernels.triton_backend.launching import Launch, launches, strides
from perfmamba_kernels.triton_backend.steps import LOG2_E, silu, step_size

NUM_WARPS = 4


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
    """`reference.ssd_update` as one kernel; returns y (b, h, p)."""
    y = torch.empty_like(x)
    batch, heads, head_dim, states = state.shape
    arguments = (
        *(state, x, dt, A, B, C, D, z, dt_bias, y),
        *state.stride(),
        *x.stride(),
        *(*dt.stride(), 0),
        *(*A.stride(), 0, 0),
        *B.stride(),
        *C.stride(),
        *(*strides(D, 1), 0),
        *strides(z, 3),
        *(*strides(dt_bias, 1), 0),
        *y.stride(),
        *dt_limit,
        *(head_dim, heads // B.shape[1]),
    )
    chosen = tile(batch, heads, head_dim, states, state.itemsize)
    constants = {"N": states, "A_OF_EACH_N": False, "DT_SOFTPLUS": dt_softplus, **asdict(chosen)}
    grid = (triton.cdiv(head_dim, chosen.ROWS), heads, batch)
    Launch(_state_update_kernel, grid, arguments, constants, NUM_WARPS, num_stages=1).run()
    return y


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
    """`reference.selective_state_update` as one kernel; returns y (b, d)."""
    y = torch.empty_like(x)
    batch, channels, states = state.shape
    arguments = (
        *(state, x, dt, A, B, C, D, z, dt_bias, y),
        *_with_one_head(state, 3),
        *_with_one_head(x, 2),
        *_with_one_head(dt, 2),
        *(0, *A.stride()),
        *_with_one_head(B, 2),
        *_with_one_head(C, 2),
        *(0, *strides(D, 1)),
        *_with_one_head(z, 2),
        *(0, *strides(dt_bias, 1)),
        *_with_one_head(y, 2),
        *(-math.inf, math.inf),
        *(channels, 1),
    )
    chosen = tile(batch, 1, channels, states, state.itemsize)
    constants = {"N": states, "A_OF_EACH_N": True, "DT_SOFTPLUS": dt_softplus, **asdict(chosen)}
    grid = (triton.cdiv(channels, chosen.ROWS), 1, batch)
    Launch(_state_update_kernel, grid, arguments, constants, NUM_WARPS, num_stages=1).run()
    return y


@dataclass(frozen=True)
class Tile:
    """The state that a program holds: ROWS channels, whose n it passes through WIDTH at a time."""

    ROWS: int
    WIDTH: int


def tile(batch: int, heads: int, head_dim: int, states: int, itemsize: int) -> Tile:
    """The tile for a state (b, h, p, n) of elements of `itemsize` bytes.

    Idle lanes move no bytes, but a warp that is half idle needs twice the instructions: blocks over n are as
    wide as they can be with an eighth of their lanes idle, 16 wide if none can. A program gets 8 KiB, which
    is four 16-byte loads in flight for each of its 128 threads, or a quarter of that where this would leave
    a GPU's multiprocessors (108 or 132) fewer than two programs each.
    """
    widest = triton.next_power_of_2(states)
    width = next((width for width in (256, 128, 64, 32) if -states % width <= states // 8), 16)
    few = batch * heads * head_dim * widest * itemsize < 256 * 8192
    rows = (2048 if few else 8192) // (widest * itemsize)
    return Tile(max(1, min(rows, triton.next_power_of_2(head_dim), 128)), min(width, widest))


def compile_cases() -> Iterator[CompileCase]:
    """Both models' steps at batch 1 and 64, with the dtypes that a model and its state may have."""
    dtypes = (torch.float32, torch.float32), (torch.bfloat16, torch.float32), (torch.bfloat16, torch.bfloat16)
    for states, (dtype, state_dtype), batch in product(STATE_SIZES, dtypes, (1, 64)):
        label = f"{dtype}, {state_dtype} state, batch {batch}".replace("torch.", "")
        for operation, example in (ssd_update, _mamba2_step), (selective_state_update, _mamba1_step):
            (launch,) = launches(operation, **example(batch, states, dtype, state_dtype), dt_softplus=True)
            yield CompileCase.of(f"{operation.__name__} {label}", states, launch)


@triton.jit
def _state_update_kernel(
    state: tl.tensor,  # (b, h, p, n)
    x: tl.tensor,  # (b, h, p)
    dt: tl.tensor,  # (b, h, p)
    A: tl.tensor,  # (h, p, n)
    B: tl.tensor,  # (b, g, n)
    C: tl.tensor,  # (b, g, n)
    D: tl.tensor,  # (h, p)
    z: tl.tensor,  # (b, h, p)
    dt_bias: tl.tensor,  # (h, p)
    y: tl.tensor,  # (b, h, p)
    state_b: tl.tensor,
    state_h: tl.tensor,
    state_p: tl.tensor,
    state_n: tl.tensor,
    x_b: tl.tensor,
    x_h: tl.tensor,
    x_p: tl.tensor,
    dt_b: tl.tensor,
    dt_h: tl.tensor,
    dt_p: tl.tensor,
    A_h: tl.tensor,
    A_p: tl.tensor,
    A_n: tl.tensor,
    B_b: tl.tensor,
    B_g: tl.tensor,
    B_n: tl.tensor,
    C_b: tl.tensor,
    C_g: tl.tensor,
    C_n: tl.tensor,
    D_h: tl.tensor,
    D_p: tl.tensor,
    z_b: tl.tensor,
    z_h: tl.tensor,
    z_p: tl.tensor,
    dt_bias_h: tl.tensor,
    dt_bias_p: tl.tensor,
    y_b: tl.tensor,
    y_h: tl.tensor,
    y_p: tl.tensor,
    dt_low: tl.tensor,
    dt_high: tl.tensor,
    head_dim: tl.tensor,
    heads_a_group: tl.tensor,
    N: tl.constexpr,
    A_OF_EACH_N: tl.constexpr,
    DT_SOFTPLUS: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    batch, head = tl.program_id(2).to(tl.int64), tl.program_id(1)
    group = head // heads_a_group
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = p < head_dim

    inputs = tl.load(x + batch * x_b + head * x_h + p * x_p, mask=inside, other=0.0).to(tl.float32)
    step = tl.load(dt + batch * dt_b + head * dt_h + p * dt_p, mask=inside, other=0.0).to(tl.float32)
    bias = 0.0
    if dt_bias is not None:
        bias = tl.load(dt_bias + head * dt_bias_h + p * dt_bias_p, mask=inside, other=0.0).to(tl.float32)
    step = step_size(step, bias, DT_SOFTPLUS)
    step = tl.minimum(tl.maximum(step, dt_low), dt_high)  # (p,)
    exponent = step * LOG2_E
    if not A_OF_EACH_N:
        decay = tl.exp2(exponent * tl.load(A + head * A_h).to(tl.float32))[:, None]
    gain = (step * inputs)[:, None]

    products = tl.zeros((ROWS, WIDTH), tl.float32)
    for first in tl.static_range(0, N, WIDTH):
        n = first + tl.arange(0, WIDTH)
        in_n = n < N
        in_tile = inside[:, None] & in_n[None, :]
        if A_OF_EACH_N:
            at = A + head * A_h + p[:, None] * A_p + n[None, :] * A_n
            decay = tl.exp2(exponent[:, None] * tl.load(at, mask=in_tile, other=0.0).to(tl.float32))
        b = tl.load(B + batch * B_b + group * B_g + n * B_n, mask=in_n, other=0.0).to(tl.float32)
        c = tl.load(C + batch * C_b + group * C_g + n * C_n, mask=in_n, other=0.0).to(tl.float32)
        at = state + batch * state_b + head * state_h + p[:, None] * state_p + n[None, :] * state_n
        h = decay * tl.load(at, mask=in_tile, other=0.0).to(tl.float32) + gain * b[None, :]
        tl.store(at, h, mask=in_tile)
        products += h * c[None, :]

    out = tl.sum(products, axis=1)  # (p,)
    if D is not None:
        out += inputs * tl.load(D + head * D_h + p * D_p, mask=inside, other=0.0).to(tl.float32)
    if z is not None:
        gate = tl.load(z + batch * z_b + head * z_h + p * z_p, mask=inside, other=0.0).to(tl.float32)
        out *= silu(gate)
    tl.store(y + batch * y_b + head * y_h + p * y_p, out, mask=inside)


def _with_one_head(tensor: Tensor | None, dims: int) -> tuple[int, ...]:
    """The strides of a tensor (b, ...) of that many dimensions as one of (b, h, ...), h being 1."""
    first, *others = strides(tensor, dims)
    return first, 0, *others


def _mamba2_step(batch: int, states: int, dtype: torch.dtype, state_dtype: torch.dtype) -> dict[str, Tensor]:
    """The arguments that a layer of mamba2-130m has: views of the rows of its projections."""
    empty = partial(torch.empty, device="meta")
    convolved = empty(batch, 1536 + 2 * states, dtype=dtype)
    projected = empty(batch, 2 * 1536 + 2 * states + 24, dtype=dtype)
    return {
        "state": empty(batch, 24, 64, states, dtype=state_dtype),
        "x": convolved[:, :1536].view(batch, 24, 64),
        "dt": projected[:, -24:],
        "A": empty(24),
        "B": convolved[:, None, 1536:-states],
        "C": convolved[:, None, -states:],
        "D": empty(24),
        "z": projected[:, :1536].view(batch, 24, 64),
        "dt_bias": empty(24),
    }


def _mamba1_step(batch: int, states: int, dtype: torch.dtype, state_dtype: torch.dtype) -> dict[str, Tensor]:
    """The arguments that a layer of mamba-130m has."""
    empty = partial(torch.empty, device="meta")
    projected = empty(batch, 48 + 2 * states, dtype=dtype)
    return {
        "state": empty(batch, 1536, states, dtype=state_dtype),
        "x": empty(batch, 1536, dtype=dtype),
        "dt": empty(batch, 1536, dtype=dtype),
        "A": empty(1536, states),
        "B": projected[:, 48:-states],
        "C": projected[:, -states:],
        "D": empty(1536),
        "z": empty(batch, 2 * 1536, dtype=dtype)[:, 1536:],
        "dt_bias": empty(1536),
    }
