"""The kernels of Mamba-1's scan: B and C side by side, and the scan itself.

A program is one warp that walks over the sequence, a tile of positions at a time, for a few channels. A lane
has one channel and a run of consecutive positions, whose recurrence it computes in its registers; the lanes
of a channel pass its state from run to run with shuffles. So a position costs a handful of instructions
beside its exponential, and small batches get their parallelism from positions where large ones get it from
channels. Between tiles the states are kept in the tensor that is returned.
"""

import triton
import triton.language as tl

from perfmamba_kernels.triton_backend.steps import LOG2_E, silu, step_size


@triton.jit(do_not_specialize=["length"])
def interleave_kernel(
    B: tl.tensor,  # (b, n, l)
    C: tl.tensor,  # (b, n, l)
    pairs: tl.tensor,  # (b, n, l, 2)
    B_b: tl.tensor,
    B_n: tl.tensor,
    B_l: tl.tensor,
    C_b: tl.tensor,
    C_n: tl.tensor,
    C_l: tl.tensor,
    pairs_b: tl.tensor,
    pairs_n: tl.tensor,
    states: tl.tensor,
    length: tl.tensor,
    padded: tl.tensor,
    STATES: tl.constexpr,
    POSITIONS: tl.constexpr,
) -> None:
    """Write B and C side by side, with zeros up to a multiple of a tile, so that one load brings both."""
    batch = tl.program_id(2).to(tl.int64)
    n = (tl.program_id(1) * STATES + tl.arange(0, STATES)).to(tl.int64)[:, None]
    t = (tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)).to(tl.int64)[None, :]
    inside = (n < states) & (t < length)
    b = tl.load(B + batch * B_b + n * B_n + t * B_l, mask=inside, other=0.0).to(tl.float32)
    c = tl.load(C + batch * C_b + n * C_n + t * C_l, mask=inside, other=0.0).to(tl.float32)
    at = (pairs + batch * pairs_b + n * pairs_n + 2 * t)[:, :, None] + tl.arange(0, 2)[None, None, :]
    tl.store(at, tl.join(b, c), mask=((n < states) & (t < padded))[:, :, None])


@triton.jit
def _after_both(
    decay: tl.tensor,
    state: tl.tensor,
    _early_decay: tl.tensor,
    _early_state: tl.tensor,
    next_decay: tl.tensor,
    next_state: tl.tensor,
    next_early_decay: tl.tensor,
    next_early_state: tl.tensor,
) -> tuple[tl.tensor, ...]:
    """Two spans of runs as one: its decay and state, of all its runs and of all but the last."""
    return (
        decay * next_decay,
        next_decay * state + next_state,
        decay * next_early_decay,
        next_early_decay * state + next_early_state,
    )


@triton.jit(do_not_specialize=["u_d", "delta_d", "z_d", "y_d", "state_d", "states", "length"])
def scan_kernel(
    u: tl.tensor,  # (b, d, l)
    delta: tl.tensor,  # (b, d, l)
    A: tl.tensor,  # (d, n)
    projections: tl.tensor,  # (b, n, l, 2), contiguous: B and C, zero past the end
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
    projections_b: tl.tensor,
    projections_n: tl.tensor,
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
    states: tl.tensor,
    channels: tl.tensor,
    length: tl.tensor,
    DELTA_SOFTPLUS: tl.constexpr,
    RUNS: tl.constexpr,
    RUN: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Write y of all positions of one sequence and a few channels, and the state after the last."""
    batch = tl.program_id(1).to(tl.int64)
    d = (tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)).to(tl.int64)
    in_d = d < channels
    run = tl.arange(0, RUNS)[None, :]  # tiles are (channel, run), one for each position of a run

    # From here on pointers are to the program's own (channels, 1), those of A and the states to (channels,).
    u += batch * u_b + d[:, None] * u_d
    delta += batch * delta_b + d[:, None] * delta_d
    A += d * A_d
    projections += batch * projections_b
    y += batch * y_b + d[:, None] * y_d
    state += batch * state_b + d * state_d
    initial = None if initial_state is None else initial_state + batch * initial_b + d * initial_d
    gate = None if z is None else z + batch * z_b + d[:, None] * z_d
    bias, skip = _channel_values(delta_bias, bias_d, d, in_d), _channel_values(D, D_d, d, in_d)
    _store_first_state(state, state_n, initial, initial_n, in_d, states)

    for first in range(0, length, RUNS * RUN):
        t = first + run.to(tl.int64) * RUN  # (1, run), the first positions of the runs
        steps: tl.tuple = ()
        gains: tl.tuple = ()
        outputs: tl.tuple = ()
        run_step = tl.zeros((CHANNELS, RUNS), tl.float32)
        for k in tl.static_range(RUN):
            inside = (t + k < length) & in_d[:, None]
            inputs = tl.load(u + (t + k) * u_l, mask=inside, other=0.0).to(tl.float32)
            step = tl.load(delta + (t + k) * delta_l, mask=inside, other=0.0).to(tl.float32)
            # Past the end, a step of zero leaves the state as it is.
            step = tl.where(inside, step_size(step, bias, DELTA_SOFTPLUS), 0.0)
            run_step += step
            steps += (step,)
            gains += (step * inputs,)
            outputs += (skip * inputs,)

        for n in range(states):
            rate = tl.load(A + n * A_n, mask=in_d, other=0.0).to(tl.float32)[:, None] * LOG2_E
            before = tl.load(state + n * state_n, mask=in_d, other=0.0)[:, None]
            pairs = tl.broadcast_to(projections + n * projections_n + 2 * t, (CHANNELS, RUNS))
            decays: tl.tuple = ()
            added: tl.tuple = ()
            readouts: tl.tuple = ()
            for k in tl.static_range(0, RUN, 2):
                b_0, c_0, b_1, c_1 = _four_from(pairs + 2 * k)
                decays += (tl.exp2(steps[k] * rate), tl.exp2(steps[k + 1] * rate))
                added += (gains[k] * b_0, gains[k + 1] * b_1)
                readouts += (c_0, c_1)
            h = tl.zeros((CHANNELS, RUNS), tl.float32)
            if RUNS > 1:
                for k in tl.static_range(RUN):
                    h = decays[k] * h + added[k]
            h = _state_before_run(h, tl.exp2(run_step * rate), before, run)
            sums: tl.tuple = ()
            for k in tl.static_range(RUN):
                h = decays[k] * h + added[k]
                sums += (outputs[k] + h * readouts[k],)
            outputs = sums
            tl.store(
                tl.broadcast_to((state + n * state_n)[:, None], (CHANNELS, RUNS)),
                h,
                mask=(run == RUNS - 1) & in_d[:, None],
            )
        tl.debug_barrier()  # the next tile's lanes read what these have stored

        for k in tl.static_range(RUN):
            inside = (t + k < length) & in_d[:, None]
            tl.store(y + (t + k) * y_l, _gated(outputs[k], gate, (t + k) * z_l, inside), mask=inside)


@triton.jit
def _gated(out: tl.tensor, gate: tl.tensor, offset: tl.tensor, inside: tl.tensor) -> tl.tensor:
    if gate is not None:
        out *= silu(tl.load(gate + offset, mask=inside, other=0.0).to(tl.float32))
    return out


@triton.jit
def _channel_values(pointer: tl.tensor, stride: tl.tensor, d: tl.tensor, in_d: tl.tensor) -> tl.tensor:
    """One value for each channel (d, 1), zeros where there are none."""
    values = tl.zeros(d.shape, tl.float32)
    if pointer is not None:
        values = tl.load(pointer + d * stride, mask=in_d, other=0.0).to(tl.float32)
    return values[:, None]


@triton.jit
def _store_first_state(
    state: tl.tensor,  # (d,) of the first n, as the next
    state_n: tl.tensor,
    initial: tl.tensor,
    initial_n: tl.tensor,
    in_d: tl.tensor,
    states: tl.tensor,
) -> None:
    for n in range(states):
        values = tl.zeros(in_d.shape, tl.float32)
        if initial is not None:
            values = tl.load(initial + n * initial_n, mask=in_d, other=0.0).to(tl.float32)
        tl.store(state + n * state_n, values, mask=in_d)
    tl.debug_barrier()


@triton.jit
def _four_from(pointer: tl.tensor) -> tl.tuple:
    """The four numbers from each lane's pointer on."""
    four = tl.load(pointer[:, :, None] + tl.arange(0, 4)[None, None, :])
    even, odd = tl.split(four.reshape(pointer.shape[0], pointer.shape[1], 2, 2))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def _state_before_run(
    end: tl.tensor,  # (d, run), the state after each run if it were zero before it
    decay: tl.tensor,  # (d, run), of a whole run
    before: tl.tensor,  # (d, 1), the state before the first run
    run: tl.tensor,  # (1, run)
) -> tl.tensor:
    """The state (d, run) that each run starts from."""
    if end.shape[1] > 1:
        end = tl.where(run == 0, end + decay * before, end)
        ones, zeros = tl.full(end.shape, 1.0, tl.float32), tl.zeros(end.shape, tl.float32)
        _, _, _, end = tl.associative_scan((decay, end, ones, zeros), 1, _after_both)
    return tl.where(run == 0, before, end)
