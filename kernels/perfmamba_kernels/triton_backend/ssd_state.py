"""The state of one head inside a kernel: a (channels, states) matrix with any number of states.

Triton's blocks have power-of-two sides, and states padded to a power of two would cost as much as that many.
So a kernel holds a state of N columns as a tuple of blocks that cover N rounded up to a multiple of 16, the
shortest sum that a matrix instruction takes: 89 states are three blocks of 32 columns. None is wider, which
keeps the operands of one matrix product in few registers.
"""

import triton
import triton.language as tl


@triton.constexpr_function
def _widths(states: int) -> list[int]:
    """The columns of each block, the widest first."""
    steps = -(-states // 16)
    return [32] * (steps // 2) + [16] * (steps % 2)


@triton.constexpr_function
def part_count(states: int) -> int:
    """The number of blocks that hold a state of this many columns."""
    return len(_widths(states))


@triton.constexpr_function
def part_width(states: int, part: int) -> int:
    """The columns of a block."""
    return _widths(states)[part]


@triton.constexpr_function
def part_start(states: int, part: int) -> int:
    """The first column of a block."""
    return sum(_widths(states)[:part])


@triton.jit
def zero_state(P: tl.constexpr, N: tl.constexpr) -> tl.tuple:
    """A state of zeros in float32."""
    state = ()
    for i in tl.static_range(part_count(N)):
        state += (tl.zeros((P, part_width(N, i)), tl.float32),)
    return state


@triton.jit
def load_state(pointer: tl.tensor, channels: tl.tensor, P: tl.constexpr, N: tl.constexpr) -> tl.tuple:
    """Some channels of a contiguous (P, N) matrix, as a state; zeros beyond its sides."""
    state = ()
    for i in tl.static_range(part_count(N)):
        columns = part_start(N, i) + tl.arange(0, part_width(N, i))
        mask = (channels < P)[:, None] & (columns < N)[None, :]
        part = tl.load(pointer + channels[:, None] * N + columns[None, :], mask=mask, other=0.0)
        state += (part.to(tl.float32),)
    return state


@triton.jit
def store_state(
    pointer: tl.tensor, state: tl.tuple, channels: tl.tensor, P: tl.constexpr, N: tl.constexpr
) -> None:
    """Write a state to some channels of a contiguous (P, N) matrix."""
    for i in tl.static_range(part_count(N)):
        columns = part_start(N, i) + tl.arange(0, part_width(N, i))
        mask = (channels < P)[:, None] & (columns < N)[None, :]
        tl.store(pointer + channels[:, None] * N + columns[None, :], state[i], mask=mask)


@triton.jit
def add_decayed(state: tl.tuple, decay: tl.tensor, other: tl.tuple, N: tl.constexpr) -> tl.tuple:
    """The sum decay * state + other, with a scalar decay."""
    result = ()
    for i in tl.static_range(part_count(N)):
        result += (state[i] * decay + other[i],)
    return result
