"""Mamba-2's chunked scan as one kernel, and a second one that lets long sequences be cut into segments.

A program has one sequence, head, block of channels and segment, and walks over the segment in chunks of Q
positions with the state in registers. With a_t the logarithm of the decay from the chunk's start to t,

    y_t = exp(a_t) C_t S + sum over s <= t of exp(a_t - a_s) (C_t . B_s) dt_s x_s        S before the chunk
    S  <- exp(a_Q) S + sum over s of exp(a_Q - a_s) dt_s x_s B_s^T

which is four matrix products a chunk (Mamba-2 paper, arXiv 2405.21060, section 6). Only y and the last state
are written. Where there are too few programs for a device, `segment_states` first finds what each segment
leaves in a state of zeros, and each program of `scan` folds those of the segments before its own.

Logarithms have base 2. No exponential is taken of a positive number while dt A is not positive.
"""

import triton
import triton.language as tl

from perfmamba_kernels.triton_backend.ssd_state import (
    load_part,
    part_count,
    part_start,
    part_width,
    store_state,
    zero_state,
)
from perfmamba_kernels.triton_backend.steps import LOG2_E, silu, step_size


@triton.jit(do_not_specialize=["length", "segment", "x_b", "dt_b", "B_b", "C_b", "z_b"])
def scan_kernel(
    x: tl.tensor,  # (b, l, h, p)
    dt: tl.tensor,  # (b, l, h)
    A: tl.tensor,  # (h,)
    B: tl.tensor,  # (b, l, g, n)
    dt_bias: tl.tensor | None,  # (h,)
    offsets: tl.tensor | None,  # (s + 1,)
    left_states: tl.tensor | None,  # (slot, h, p, n)
    left_decays: tl.tensor | None,  # (slot, h)
    length: tl.tensor,
    segment: tl.tensor,
    dt_low: tl.tensor,
    dt_high: tl.tensor,
    x_b: tl.tensor,
    x_h: tl.tensor,
    dt_b: tl.tensor,
    dt_l: tl.tensor,
    dt_h: tl.tensor,
    B_b: tl.tensor,
    B_g: tl.tensor,
    C: tl.tensor,  # (b, l, g, n)
    D: tl.tensor | None,  # (h,)
    z: tl.tensor | None,  # (b, l, h, p)
    initial: tl.tensor | None,  # (s, h, p, n)
    y: tl.tensor,  # (b, l, h, p)
    final: tl.tensor,  # (s, h, p, n)
    C_b: tl.tensor,
    C_g: tl.tensor,
    z_b: tl.tensor,
    z_h: tl.tensor,
    x_l: tl.constexpr,
    B_l: tl.constexpr,
    B_N: tl.constexpr,
    X_BYTES: tl.constexpr,
    B_BYTES: tl.constexpr,
    H: tl.constexpr,
    G: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    USE_SOFTPLUS: tl.constexpr,
    WIDEN: tl.constexpr,
    PRECISION: tl.constexpr,
    Q: tl.constexpr,
    BLOCK_P: tl.constexpr,
    WIDEST: tl.constexpr,
    C_l: tl.constexpr,
    C_N: tl.constexpr,
    z_l: tl.constexpr,
    C_BYTES: tl.constexpr,
    Z_BYTES: tl.constexpr,
) -> None:
    """The output and the final state; a program a (block of channels, head, sequence) and segment."""
    head, sequence, channels = _program(H, P, BLOCK_P)
    batch, begin, origin, length = _span(offsets, sequence, length)
    number = tl.program_id(1)
    first = number * segment
    if (number > 0) & (first >= length):
        return
    last = tl.minimum(first + segment, length)
    operand = tl.float32 if WIDEN else x.dtype.element_ty

    of_sequence = (sequence * H + head).to(tl.int64) * (P * N)
    state = _first_state(
        initial,
        of_sequence,
        left_states,
        left_decays,
        (origin // segment + sequence) * H + head,
        number,
        channels,
        H,
        P,
        N,
        WIDEST,
    )

    x += batch * x_b + (begin + first) * x_l + head * x_h
    dt += batch * dt_b + (begin + first) * dt_l + head * dt_h
    B += batch * B_b + (begin + first) * B_l + head // (H // G) * B_g
    C += batch * C_b + (begin + first) * C_l + head // (H // G) * C_g
    y += ((origin + first) * H + head) * P
    if z is not None:
        z += batch * z_b + (begin + first) * z_l + head * z_h
    rate, bias, skip = _scalar(A, head) * LOG2_E, _scalar(dt_bias, head), _scalar(D, head)

    rows = tl.arange(0, Q)
    ahead = _column(dt, rows, dt_l, last - first)
    for start in range(first, last, Q):
        end = last - start
        raw, dt = ahead, dt + Q * dt_l
        ahead = _column(dt, rows, dt_l, end - Q)
        total, step, whole = _decays(raw, bias, rate, rows, end, dt_low, dt_high, Q, USE_SOFTPLUS)

        inputs = _tile(x, rows, channels, x_l, end, P if P % BLOCK_P else 0, X_BYTES).to(operand)  # (q, p)
        writes = _writes(inputs, step, whole - total).to(operand)  # (p, q)
        scores = tl.zeros((Q, Q), tl.float32)
        out = tl.zeros((Q, BLOCK_P), tl.float32)
        after: tl.tuple = ()
        for i in tl.static_range(part_count(N, WIDEST)):
            b = _states(B, rows, B_l, end, i, N, WIDEST, B_N, B_BYTES).to(operand)  # (q, n)
            c = _states(C, rows, C_l, end, i, N, WIDEST, C_N, C_BYTES).to(operand)
            out = tl.dot(c, tl.trans(state[i].to(operand)), out, input_precision=PRECISION)
            after += (tl.dot(writes, b, state[i] * tl.exp2(whole), input_precision=PRECISION),)
            scores = tl.dot(c, tl.trans(b), scores, input_precision=PRECISION)
        state = after
        out *= tl.exp2(total)[:, None]
        weights = _weights(scores, total, step, rows).to(operand)
        out = tl.dot(weights, inputs, out, input_precision=PRECISION)
        if D is not None:
            out += skip * inputs.to(tl.float32)
        if z is not None:
            gate = _tile(z, rows, channels, z_l, end, P if P % BLOCK_P else 0, Z_BYTES)
            out *= silu(gate.to(tl.float32))
            z += Q * z_l
        pointers = y + rows[:, None] * (H * P) + channels[None, :]
        tl.store(pointers, out.to(y.dtype.element_ty), mask=(rows < end)[:, None] & (channels < P)[None, :])

        x, y = x + Q * x_l, y + Q * H * P
        B, C = B + Q * B_l, C + Q * C_l

    if last == length:
        store_state(final + of_sequence, state, channels, P, N, WIDEST)


@triton.jit(do_not_specialize=["length", "segment", "x_b", "dt_b", "B_b"])
def segment_states_kernel(
    x: tl.tensor,  # (b, l, h, p)
    dt: tl.tensor,  # (b, l, h)
    A: tl.tensor,  # (h,)
    B: tl.tensor,  # (b, l, g, n)
    dt_bias: tl.tensor | None,  # (h,)
    offsets: tl.tensor | None,  # (s + 1,)
    left_states: tl.tensor,  # (slot, h, p, n)
    left_decays: tl.tensor,  # (slot, h)
    length: tl.tensor,
    segment: tl.tensor,
    dt_low: tl.tensor,
    dt_high: tl.tensor,
    x_b: tl.tensor,
    x_h: tl.tensor,
    dt_b: tl.tensor,
    dt_l: tl.tensor,
    dt_h: tl.tensor,
    B_b: tl.tensor,
    B_g: tl.tensor,
    x_l: tl.constexpr,
    B_l: tl.constexpr,
    B_N: tl.constexpr,
    X_BYTES: tl.constexpr,
    B_BYTES: tl.constexpr,
    H: tl.constexpr,
    G: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    USE_SOFTPLUS: tl.constexpr,
    WIDEN: tl.constexpr,
    PRECISION: tl.constexpr,
    Q: tl.constexpr,
    BLOCK_P: tl.constexpr,
    WIDEST: tl.constexpr,
) -> None:
    """What every segment but the last of its sequence leaves in a state of zeros, and its whole decay."""
    head, sequence, channels = _program(H, P, BLOCK_P)
    batch, begin, origin, length = _span(offsets, sequence, length)
    number = tl.program_id(1)
    first = number * segment
    last = first + segment
    if last >= length:
        return
    operand = tl.float32 if WIDEN else x.dtype.element_ty

    x += batch * x_b + (begin + first) * x_l + head * x_h
    dt += batch * dt_b + (begin + first) * dt_l + head * dt_h
    B += batch * B_b + (begin + first) * B_l + head // (H // G) * B_g
    rate, bias = _scalar(A, head) * LOG2_E, _scalar(dt_bias, head)

    rows = tl.arange(0, Q)
    state = zero_state(BLOCK_P, N, WIDEST)
    decay = 0.0
    ahead = _column(dt, rows, dt_l, last - first)
    for start in range(first, last, Q):
        end = last - start
        raw, dt = ahead, dt + Q * dt_l
        ahead = _column(dt, rows, dt_l, end - Q)
        total, step, whole = _decays(raw, bias, rate, rows, end, dt_low, dt_high, Q, USE_SOFTPLUS)
        decay += whole
        inputs = _tile(x, rows, channels, x_l, end, P if P % BLOCK_P else 0, X_BYTES).to(operand)
        writes = _writes(inputs, step, whole - total).to(operand)
        after: tl.tuple = ()
        for i in tl.static_range(part_count(N, WIDEST)):
            b = _states(B, rows, B_l, end, i, N, WIDEST, B_N, B_BYTES).to(operand)
            after += (tl.dot(writes, b, state[i] * tl.exp2(whole), input_precision=PRECISION),)
        state = after
        x, B = x + Q * x_l, B + Q * B_l

    left = (origin // segment + sequence + number) * H + head
    store_state(left_states + left * (P * N), state, channels, P, N, WIDEST)
    tl.store(left_decays + left, decay)


@triton.jit
def _program(H: tl.constexpr, P: tl.constexpr, BLOCK_P: tl.constexpr) -> tl.tuple:
    """Head, sequence and channels of this program; heads that share B and C run beside each other."""
    BLOCKS: tl.constexpr = (P + BLOCK_P - 1) // BLOCK_P
    program = tl.program_id(0)
    channels = program % BLOCKS * BLOCK_P + tl.arange(0, BLOCK_P)
    return program // BLOCKS % H, program // (BLOCKS * H), channels


@triton.jit
def _span(offsets: tl.tensor | None, sequence: tl.tensor, length: tl.tensor) -> tl.tuple:
    """Batch row, position in it, position in all sequences laid behind each other, and length."""
    if offsets is None:
        batch = sequence.to(tl.int64)
        return batch, batch * 0, batch * length, length
    else:  # noqa: RET505 -- Triton compiles only the branch that is taken where a return ends both
        begin = tl.load(offsets + sequence).to(tl.int64)
        end = tl.load(offsets + sequence + 1).to(tl.int64)
        return begin * 0, begin, begin, (end - begin).to(tl.int32)


@triton.jit
def _first_state(
    initial: tl.tensor | None,
    of_sequence: tl.tensor,
    left_states: tl.tensor | None,
    left_decays: tl.tensor | None,
    left: tl.tensor,
    number: tl.tensor,
    channels: tl.tensor,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    WIDEST: tl.constexpr,
) -> tl.tuple:
    """The state before a segment: the sequence's initial one, and what the segments before leave in it.

    `left` is where the first of these left its state and decay; the next ones are H further on each.
    """
    state: tl.tuple = ()
    for i in tl.static_range(part_count(N, WIDEST)):
        part = tl.zeros((channels.shape[0], part_width(N, WIDEST, i)), tl.float32)
        if initial is not None:
            part = load_part(initial + of_sequence, channels, i, P, N, WIDEST)
        if left_states is not None:
            for before in range(number):
                place = left + before * H
                added = load_part(left_states + place * (P * N), channels, i, P, N, WIDEST)
                part = part * tl.exp2(tl.load(left_decays + place)) + added
        state += (part,)
    return state


@triton.jit
def _scalar(vector: tl.tensor | None, index: tl.tensor) -> tl.tensor:
    """An element of a vector; zero of none."""
    value = 0.0
    if vector is not None:
        value = tl.load(vector + index).to(tl.float32)
    return value


@triton.jit
def _column(pointer: tl.tensor, rows: tl.tensor, stride: tl.tensor, end: tl.tensor) -> tl.tensor:
    """The first rows of a strided vector; zeros from `end` on."""
    return tl.load(pointer + rows * stride, mask=rows < end, other=0.0).to(tl.float32)


@triton.jit
def _decays(
    raw: tl.tensor,
    bias: tl.tensor,
    rate: tl.tensor,
    rows: tl.tensor,
    end: tl.tensor,
    low: tl.tensor,
    high: tl.tensor,
    Q: tl.constexpr,
    USE_SOFTPLUS: tl.constexpr,
) -> tl.tuple:
    """The logarithm of the decay from a chunk's start to each position, the step sizes, and its whole decay.

    From `end` on the step is zero, which neither decays a state nor adds to it.
    """
    step = tl.minimum(tl.maximum(step_size(raw, bias, USE_SOFTPLUS), low), high)
    step = tl.where(rows < end, step, 0.0)
    # The scan passes the steps through: what follows a scan is converted to the layout of its use, while
    # what precedes one would be computed again there, by every thread for all that it needs.
    total, step = tl.associative_scan((step * rate, step), 0, _sum_and_last)
    return total, step, tl.sum(tl.where(rows == Q - 1, total, 0.0))


@triton.jit
def _sum_and_last(
    total: tl.tensor, _step: tl.tensor, next_total: tl.tensor, next_step: tl.tensor
) -> tl.tuple:
    return total + next_total, next_step


@triton.jit
def _weights(scores: tl.tensor, total: tl.tensor, step: tl.tensor, rows: tl.tensor) -> tl.tensor:
    """How much of each input of a chunk is in each of its outputs; (q, q)."""
    causal = rows[:, None] >= rows[None, :]
    between = tl.where(causal, total[:, None] - total[None, :], float("-inf"))
    return scores * tl.exp2(between) * step[None, :]


@triton.jit
def _writes(inputs: tl.tensor, step: tl.tensor, decay: tl.tensor) -> tl.tensor:
    """What a chunk's inputs (q, p) are worth at its end: (p, q)."""
    return tl.trans(inputs.to(tl.float32) * (step * tl.exp2(decay))[:, None])


@triton.jit
def _tile(
    pointer: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    stride: tl.tensor,
    end: tl.tensor,
    COLUMNS: tl.constexpr,
    BYTES: tl.constexpr,
) -> tl.tensor:
    """A block of a matrix whose columns are contiguous; zeros beyond its sides.

    The block must lie between the matrix's sides if COLUMNS is 0: a mask, even one that is always true,
    keeps the loads from being as wide as they could be.
    """
    pointers = tl.multiple_of(pointer + rows[:, None] * stride + columns[None, :], (BYTES, BYTES))
    mask = (rows < end)[:, None]
    if COLUMNS > 0:
        mask = mask & (columns < COLUMNS)[None, :]
    return tl.load(pointers, mask=mask, other=0.0)


@triton.jit
def _states(
    pointer: tl.tensor,
    rows: tl.tensor,
    stride: tl.tensor,
    end: tl.tensor,
    part: tl.constexpr,
    N: tl.constexpr,
    WIDEST: tl.constexpr,
    COLUMNS: tl.constexpr,
    BYTES: tl.constexpr,
) -> tl.tensor:
    """The columns of B or C that belong to a part of the state."""
    WIDTH: tl.constexpr = part_width(N, WIDEST, part)
    columns = part_start(N, WIDEST, part) + tl.arange(0, WIDTH)
    BEYOND: tl.constexpr = part_start(N, WIDEST, part) + WIDTH > COLUMNS
    return _tile(pointer, rows, columns, stride, end, COLUMNS if BEYOND else 0, BYTES)
