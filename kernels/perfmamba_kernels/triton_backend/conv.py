"""The causal convolution of Mamba layers over a sequence, and its decode step.

A program of the convolution makes one tile of channels by positions, reading its inputs once for each tap:
from memory the first time, from the cache the others. Tensors may have either axis contiguous; the tile is
long along that of x.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product

import torch
import triton
import triton.language as tl
from torch import Tensor

from perfmamba_kernels.triton_backend.compiling import CompileCase
from perfmamba_kernels.triton_backend.launching import Launch, launches, strides
from perfmamba_kernels.triton_backend.steps import silu

NUM_WARPS = 4
UPDATE_CHANNELS = 256  # of a program of the decode step


def causal_conv1d(
    x: Tensor,  # (b, c, l)
    weight: Tensor,  # (c, k)
    bias: Tensor | None = None,  # (c,)
    *,
    initial_states: Tensor | None = None,  # (b, c, k - 1), the inputs before x; zeros by default
    activation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """`reference.causal_conv1d` as one kernel; y has the order of x's axes in memory.

    Returns:
        y (b, c, l) and the last k - 1 inputs (b, c, k - 1).
    """
    batch, channels, length = x.shape
    taps = weight.shape[1]
    y, final_states = torch.empty_like(x), x.new_empty(batch, channels, taps - 1)
    arguments = (
        *(x, weight, bias, initial_states, y, final_states),
        *x.stride(),
        *weight.stride(),
        *strides(bias, 1),
        *strides(initial_states, 3),
        *y.stride(),
        *final_states.stride(),
        *(channels, length),
    )
    shape = tile(x)
    constants = {"K": taps, "SILU": activation is not None, "CHANNELS": shape[0], "POSITIONS": shape[1]}
    # A sequence of no positions, too, has final states.
    grid = (max(1, triton.cdiv(length, shape[1])), triton.cdiv(channels, shape[0]), batch)
    Launch(_conv_kernel, grid, arguments, constants, NUM_WARPS, num_stages=1).run()
    return y, final_states


def causal_conv1d_update(
    x: Tensor,  # (b, c)
    conv_state: Tensor,  # (b, c, s), s >= k - 1, updated in place: the last s inputs
    weight: Tensor,  # (c, k)
    bias: Tensor | None = None,  # (c,)
    *,
    activation: str | None = None,
) -> Tensor:
    """`reference.causal_conv1d_update` as one kernel; returns y (b, c)."""
    y = torch.empty_like(x)
    batch, channels = x.shape
    arguments = (
        *(x, conv_state, weight, bias, y),
        *x.stride(),
        *conv_state.stride(),
        *weight.stride(),
        *strides(bias, 1),
        *y.stride(),
        channels,
    )
    window = conv_state.shape[2]
    constants = {
        "K": weight.shape[1],
        "S": window,
        "SILU": activation is not None,
        "CHANNELS": UPDATE_CHANNELS,
        "WIDTH": triton.next_power_of_2(max(1, window)),
    }
    grid = (triton.cdiv(channels, UPDATE_CHANNELS), batch)
    Launch(_conv_update_kernel, grid, arguments, constants, NUM_WARPS, num_stages=1).run()
    return y


def tile(x: Tensor) -> tuple[int, int]:
    """Channels and positions of a program: 32 elements a thread, 128 bytes or more in a row."""
    return (64, 64) if x.stride(1) <= x.stride(2) else (8, 512)


def compile_cases() -> Iterator[CompileCase]:
    """A layer of mamba2-130m: both axis orders, with and without initial states, and the step."""
    for dtype, states in product((torch.float32, torch.bfloat16), (38, 128)):
        empty, channels = partial(torch.empty, device="meta", dtype=dtype), 1536 + 2 * states
        weight, bias, projected = empty(channels, 4), empty(channels), empty(8, 2048, 1536 + channels)
        inputs = {
            "channels last": projected[..., 1536:].transpose(1, 2),
            "positions last": empty(8, channels, 2048),
        }
        for (order, x), initial in product(inputs.items(), (None, empty(8, channels, 3))):
            (launch,) = launches(causal_conv1d, x, weight, bias, initial_states=initial, activation="silu")
            label = f"{dtype}, {order}{'' if initial is None else ', carried'}".replace("torch.", "")
            yield CompileCase.of(f"causal_conv1d {label}", states, launch)
        (launch,) = launches(
            causal_conv1d_update,
            projected[:, 0, 1536:],
            empty(8, channels, 4),
            weight,
            bias,
            activation="silu",
        )
        yield CompileCase.of(f"causal_conv1d_update {dtype}".replace("torch.", ""), states, launch)


@triton.jit
def _from_initial_states(
    initial_states: tl.tensor,  # (c,) of the first of the k - 1 inputs
    weight: tl.tensor,  # (c,) of the first tap
    initial_k: tl.tensor,
    weight_k: tl.tensor,
    first: tl.tensor,  # the tile's first position in its sequence
    t: tl.tensor,  # the tile's positions, from 0
    in_c: tl.tensor,
    K: tl.constexpr,
) -> tl.tensor:
    """What the inputs before a sequence add to a tile's outputs (c, t)."""
    total = tl.zeros((in_c.shape[0], t.shape[0]), tl.float32)
    if first == 0:
        for earlier in tl.static_range(K - 1):
            inputs = tl.load(initial_states + earlier * initial_k, mask=in_c, other=0.0).to(tl.float32)
            for k in tl.static_range(earlier + 1):
                tap = tl.load(weight + k * weight_k, mask=in_c, other=0.0).to(tl.float32)
                total += tl.where((t == earlier - k)[None, :], (tap * inputs)[:, None], 0.0)
    return total


@triton.jit
def _input_at(
    position: tl.tensor,
    x: tl.tensor,  # (c,) at the sequence's first position
    initial_states: tl.tensor,  # (c,) of the first of the k - 1 inputs
    x_l: tl.tensor,
    initial_k: tl.tensor,
    in_c: tl.tensor,
    K: tl.constexpr,
) -> tl.tensor:
    """The input (c,) at a position, which is one of the k - 1 before the sequence if negative."""
    value = tl.zeros(in_c.shape, x.dtype.element_ty)
    if position >= 0:
        value = tl.load(x + position.to(tl.int64) * x_l, mask=in_c, other=0.0)
    elif initial_states is not None:
        earlier = initial_states + (position + K - 1) * initial_k
        value = tl.load(earlier, mask=in_c, other=0.0).to(x.dtype.element_ty)
    return value


@triton.jit(do_not_specialize=["length"])
def _conv_kernel(
    x: tl.tensor,  # (b, c, l)
    weight: tl.tensor,  # (c, k)
    bias: tl.tensor,  # (c,)
    initial_states: tl.tensor,  # (b, c, k - 1)
    y: tl.tensor,  # (b, c, l)
    final_states: tl.tensor,  # (b, c, k - 1)
    x_b: tl.tensor,
    x_c: tl.tensor,
    x_l: tl.tensor,
    weight_c: tl.tensor,
    weight_k: tl.tensor,
    bias_c: tl.tensor,
    initial_b: tl.tensor,
    initial_c: tl.tensor,
    initial_k: tl.tensor,
    y_b: tl.tensor,
    y_c: tl.tensor,
    y_l: tl.tensor,
    final_b: tl.tensor,
    final_c: tl.tensor,
    final_k: tl.tensor,
    channels: tl.tensor,
    length: tl.tensor,
    K: tl.constexpr,
    SILU: tl.constexpr,
    CHANNELS: tl.constexpr,
    POSITIONS: tl.constexpr,
) -> None:
    batch = tl.program_id(2).to(tl.int64)
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)).to(tl.int64)
    first = tl.program_id(0).to(tl.int64) * POSITIONS
    t = tl.arange(0, POSITIONS)
    in_c = c < channels
    in_tile = in_c[:, None] & (t < length - first)[None, :]
    before = tl.minimum(first, K).to(tl.int32)  # positions before the tile, as many as matter

    x += batch * x_b + c * x_c  # (c,), and so are the next two
    weight += c * weight_c
    if initial_states is not None:
        initial_states += batch * initial_b + c * initial_c

    total = tl.zeros((CHANNELS, POSITIONS), tl.float32)
    for k in tl.static_range(K):
        tap = tl.load(weight + k * weight_k, mask=in_c, other=0.0).to(tl.float32)
        source = t + (k - K + 1)  # counted from the tile's first position, as t
        inputs = x[:, None] + first * x_l + source[None, :] * x_l
        inputs = tl.load(inputs, mask=in_tile & (source >= -before)[None, :], other=0.0)
        total += tap[:, None] * inputs.to(tl.float32)
    if initial_states is not None:
        total += _from_initial_states(initial_states, weight, initial_k, weight_k, first, t, in_c, K)
    if bias is not None:
        total += tl.load(bias + c * bias_c, mask=in_c, other=0.0).to(tl.float32)[:, None]
    if SILU:
        total = silu(total)
    y += batch * y_b + first * y_l
    tl.store(y + c[:, None] * y_c + t[None, :] * y_l, total, mask=in_tile)

    final_states += batch * final_b + c * final_c
    if first + POSITIONS >= length:
        for k in tl.static_range(K - 1):
            kept = _input_at(length - (K - 1) + k, x, initial_states, x_l, initial_k, in_c, K)
            tl.store(final_states + k * final_k, kept, mask=in_c)


@triton.jit
def _conv_update_kernel(
    x: tl.tensor,  # (b, c)
    conv_state: tl.tensor,  # (b, c, s)
    weight: tl.tensor,  # (c, k)
    bias: tl.tensor,  # (c,)
    y: tl.tensor,  # (b, c)
    x_b: tl.tensor,
    x_c: tl.tensor,
    state_b: tl.tensor,
    state_c: tl.tensor,
    state_s: tl.tensor,
    weight_c: tl.tensor,
    weight_k: tl.tensor,
    bias_c: tl.tensor,
    y_b: tl.tensor,
    y_c: tl.tensor,
    channels: tl.tensor,
    K: tl.constexpr,
    S: tl.constexpr,
    SILU: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    batch = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    s = tl.arange(0, WIDTH)
    in_c = c < channels
    inside = in_c[:, None] & (s < S)[None, :]

    newest = tl.load(x + batch * x_b + c * x_c, mask=in_c, other=0.0).to(tl.float32)
    at = conv_state + batch * state_b + c[:, None] * state_c + s[None, :] * state_s
    state = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    shifted = tl.load(at + state_s, mask=inside & (s < S - 1)[None, :], other=0.0).to(tl.float32)
    tl.debug_barrier()  # all has been read before any is overwritten

    tap = s - (S - K + 1)  # the last input of the state meets the last tap but one
    taps = tl.load(
        weight + c[:, None] * weight_c + tap[None, :] * weight_k, mask=inside & (tap >= 0)[None, :], other=0.0
    )
    out = tl.sum(state * taps.to(tl.float32), axis=1)  # (c,)
    out += newest * tl.load(weight + c * weight_c + (K - 1) * weight_k, mask=in_c, other=0.0).to(tl.float32)
    if bias is not None:
        out += tl.load(bias + c * bias_c, mask=in_c, other=0.0).to(tl.float32)
    if SILU:
        out = silu(out)
    tl.store(at, tl.where((s == S - 1)[None, :], newest[:, None], shifted), mask=inside)
    tl.store(y + batch * y_b + c * y_c, out, mask=in_c)
