"""The state of one head inside a kernel: a (channels, states) matrix with any number of states.

Triton's blocks have power-of-two sides, and states padded to a power of two would cost as much as that many.
So a kernel holds a state of N columns as a tuple of blocks that cover N rounded up to a multiple of 16, the
shortest sum that a matrix instruction takes: 89 states are three blocks of 32 columns. None is wider, which
keeps the operands of one matrix product in few registers.
"""

import triton
import triton.language as tl


@triton.constexpr_function
def _widths(states: int, widest: int) -> list[int]:
    """The columns of each block, the widest first."""
    left, widths = -(-states // 16) * 16, list[int]()
    while left:
        widths.append(min(1 << (left.bit_length() - 1), widest))
        left -= widths[-1]
    return widths


@triton.constexpr_function
def part_count(states: int, widest: int) -> int:
    """The number of blocks that hold a state of this many columns."""
    return len(_widths(states, widest))


@triton.constexpr_function
def part_width(states: int, widest: int, part: int) -> int:
    """The columns of a block."""
    return int(_widths(states, widest)[part])


@triton.constexpr_function
def part_start(states: int, widest: int, part: int) -> int:
    """The first column of a block."""
    return sum(_widths(states, widest)[:part])


@triton.jit
def zero_state(P: tl.constexpr, N: tl.constexpr, WIDEST: tl.constexpr) -> tl.tuple:
    """A state of zeros in float32."""
    state: tl.tuple = ()
    for i in tl.static_range(part_count(N, WIDEST)):
        state += (tl.zeros((P, part_width(N, WIDEST, i)), tl.float32),)
    return state


@triton.jit
def load_part(
    pointer: tl.tensor,
    channels: tl.tensor,
    part: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    WIDEST: tl.constexpr,
) -> tl.tensor:
    """A block of some channels of a contiguous (P, N) matrix in float32; zeros beyond its sides."""
    columns = part_start(N, WIDEST, part) + tl.arange(0, part_width(N, WIDEST, part))
    mask = (channels < P)[:, None] & (columns < N)[None, :]
    pointers = pointer + channels[:, None] * N + columns[None, :]
    return tl.load(pointers, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def store_state(
    pointer: tl.tensor,
    state: tl.tuple,
    channels: tl.tensor,
    P: tl.constexpr,
    N: tl.constexpr,
    WIDEST: tl.constexpr,
) -> None:
    """Write a state to some channels of a contiguous (P, N) matrix."""
    for i in tl.static_range(part_count(N, WIDEST)):
        columns = part_start(N, WIDEST, i) + tl.arange(0, part_width(N, WIDEST, i))
        mask = (channels < P)[:, None] & (columns < N)[None, :]
        tl.store(pointer + channels[:, None] * N + columns[None, :], state[i], mask=mask)
