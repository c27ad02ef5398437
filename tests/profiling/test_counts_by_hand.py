"""The elementwise formulas against plain loops over numbers that count their own arithmetic."""

import math
from dataclasses import dataclass, field
from random import Random

import pytest

from perfmamba.profiling.counts import Count, Mamba1Dimensions, Mamba2Dimensions
from perfmamba.profiling.counts.layers import causal_conv, gated_rms_norm, rms_norm
from perfmamba.profiling.counts.scans import mamba1_ssm, mamba2_ssm

SHARED = {"n_layers": 1, "d_model": 1, "d_conv": 1, "vocab_size": 1, "use_bias": False, "use_conv_bias": True}


@dataclass
class Meter:
    """Arithmetic that counts itself: products into `matmul_flops`, the rest into `elementwise_flops`."""

    matmul_flops: int = 0
    elementwise_flops: int = 0
    random: Random = field(default_factory=lambda: Random(0))

    def value(self) -> float:
        return self.random.uniform(0.1, 1.0)

    def values(self, *shape: int) -> list:
        if not shape:
            return self.value()
        return [self.values(*shape[1:]) for _ in range(shape[0])]

    def one(self, result: float) -> float:
        self.elementwise_flops += 1
        return result

    def add(self, a: float, b: float) -> float:
        return self.one(a + b)

    def mul(self, a: float, b: float) -> float:
        return self.one(a * b)

    def div(self, a: float, b: float) -> float:
        return self.one(a / b)

    def exp(self, a: float) -> float:
        return self.one(math.exp(a))

    def log(self, a: float) -> float:
        return self.one(math.log(a))

    def root(self, a: float) -> float:
        return self.one(1 / math.sqrt(a))

    def silu(self, a: float) -> float:
        return self.div(a, self.add(1.0, self.exp(-a)))

    def softplus(self, a: float) -> float:
        return self.log(self.add(1.0, self.exp(a)))

    def dot(self, left: list, right: list) -> float:
        self.matmul_flops += 2 * len(left)
        return math.fsum(a * b for a, b in zip(left, right, strict=True))

    def flops(self) -> tuple[int, int]:
        return self.matmul_flops, self.elementwise_flops


def flops(counted: Count) -> tuple[int, int]:
    return counted.matmul_flops, counted.elementwise_flops


def norm_by_hand(meter: Meter, x: list, weight: list, groups: int) -> None:
    size = len(x) // groups
    for group in range(groups):
        part = range(group * size, (group + 1) * size)
        total = 0.0
        for i in part:
            total = meter.add(total, meter.mul(x[i], x[i]))
        scale = meter.root(meter.add(meter.div(total, size), 1e-5))
        for i in part:
            meter.mul(weight[i], meter.mul(x[i], scale))


@pytest.mark.parametrize(("features", "groups", "tokens"), [(1, 1, 1), (6, 1, 2), (6, 3, 2)])
def test_norms(features, groups, tokens):
    plain, gated = Meter(), Meter()
    weight = plain.values(features)
    for _ in range(tokens):
        norm_by_hand(plain, plain.values(features), weight, groups)
        y, z = gated.values(2, features)
        gated_y = [gated.mul(a, gated.silu(b)) for a, b in zip(y, z, strict=True)]
        norm_by_hand(gated, gated_y, weight, groups)
    assert plain.flops() == flops(rms_norm(features, tokens=tokens, groups=groups))
    assert gated.flops() == flops(gated_rms_norm(features, tokens=tokens, groups=groups))


@pytest.mark.parametrize("bias", [True, False])
def test_conv(bias):
    meter, channels, taps, length = Meter(), 3, 4, 5
    for _ in range(channels):
        weight = meter.values(taps)
        x = [0.0] * (taps - 1) + meter.values(length)
        for t in range(length):
            y = meter.dot(weight, x[t : t + taps])
            meter.silu(meter.add(y, 0.5) if bias else y)
    assert meter.flops() == flops(causal_conv(channels, taps, tokens=length, state_passes=0, bias=bias))


@pytest.mark.parametrize(("channels", "states", "rank", "length"), [(1, 1, 1, 1), (3, 4, 2, 5)])
def test_mamba1_scan(channels, states, rank, length):
    meter = Meter()
    x_proj, dt_proj = meter.values(rank + 2 * states, channels), meter.values(channels, rank)
    a, h = meter.values(channels, states), meter.values(channels, states)
    for _ in range(length):
        x, z = meter.values(2, channels)
        projected = [meter.dot(row, x) for row in x_proj]
        b, c = projected[rank : rank + states], projected[rank + states :]
        for d in range(channels):
            dt = meter.softplus(meter.add(meter.dot(dt_proj[d], projected[:rank]), 0.1))
            dt_x = meter.mul(dt, x[d])
            for n in range(states):
                decay = meter.exp(meter.mul(dt, -a[d][n]))
                h[d][n] = meter.add(meter.mul(decay, h[d][n]), meter.mul(dt_x, b[n]))
            y = meter.add(meter.dot(h[d], c), meter.mul(0.3, x[d]))
            meter.mul(y, meter.silu(z[d]))
    dims = Mamba1Dimensions(**SHARED, d_inner=channels, d_state=states, dt_rank=rank)
    assert meter.flops() == flops(mamba1_ssm(dims, tokens=length, state_passes=1))


@dataclass
class Sequence:
    """One Mamba-2 sequence; x is (positions, heads, head_dim), dt (positions, heads), B and C (positions,
    groups, states)."""

    x: list
    dt: list
    a: list
    b: list
    c: list

    @classmethod
    def draw(cls, meter: Meter, dims: Mamba2Dimensions, length: int) -> "Sequence":
        return cls(
            x=meter.values(length, dims.n_heads, dims.head_dim),
            dt=meter.values(length, dims.n_heads),
            a=meter.values(dims.n_heads),
            b=meter.values(length, dims.n_groups, dims.d_state),
            c=meter.values(length, dims.n_groups, dims.d_state),
        )


def zero_state(dims: Mamba2Dimensions) -> list:
    return [[[0.0] * dims.d_state for _ in range(dims.head_dim)] for _ in range(dims.n_heads)]


def recurrent_by_hand(meter: Meter, dims: Mamba2Dimensions, seq: Sequence) -> list:
    h, ys = zero_state(dims), []
    for x, dts, bs, cs in zip(seq.x, seq.dt, seq.b, seq.c, strict=True):
        y = []
        for head in range(dims.n_heads):
            b, c = (rows[head * dims.n_groups // dims.n_heads] for rows in (bs, cs))
            dt = meter.softplus(meter.add(dts[head], 0.1))
            decay = meter.exp(meter.mul(dt, -seq.a[head]))
            for p, value in enumerate(x[head]):
                dt_x = meter.mul(dt, value)
                row = h[head][p]
                for n in range(dims.d_state):
                    row[n] = meter.add(meter.mul(decay, row[n]), meter.mul(dt_x, b[n]))
                y.append(meter.add(meter.dot(row, c), meter.mul(0.3, value)))
        ys.append(y)
    return ys


def chunked_by_hand(meter: Meter, dims: Mamba2Dimensions, seq: Sequence) -> list:
    h, ys = zero_state(dims), []
    for start in range(0, len(seq.x), dims.chunk_size):
        chunk = range(start, min(start + dims.chunk_size, len(seq.x)))
        scores = {
            (g, t, s): meter.dot(seq.c[t][g], seq.b[s][g])
            for g in range(dims.n_groups)
            for t in chunk
            for s in chunk
            if s <= t
        }
        rows = {t: [] for t in chunk}
        for head in range(dims.n_heads):
            for t, y in head_of_chunk(meter, seq, chunk, head=head, scores=scores, state=h[head]).items():
                rows[t] += y
        ys += rows.values()
    return ys


def head_of_chunk(
    meter: Meter, seq: Sequence, chunk: range, *, head: int, scores: dict, state: list
) -> dict[int, list]:
    """Outputs of one head in one chunk; `state` (head_dim, states) becomes the one at the chunk's end."""
    g, total, sums, dt_x = head * len(seq.b[0]) // len(seq.a), 0.0, {}, {}
    for t in chunk:
        dt = meter.softplus(meter.add(seq.dt[t][head], 0.1))
        total = sums[t] = meter.add(total, meter.mul(dt, -seq.a[head]))
        dt_x[t] = [meter.mul(dt, value) for value in seq.x[t][head]]
    ys = {}
    for t in chunk:
        sources = [s for s in chunk if s <= t]
        masked = [meter.mul(scores[g, t, s], meter.exp(meter.add(sums[t], -sums[s]))) for s in sources]
        from_start = meter.exp(sums[t])
        ys[t] = []
        for p, value in enumerate(seq.x[t][head]):
            inside = meter.dot(masked, [dt_x[s][p] for s in sources])
            before = meter.mul(from_start, meter.dot(state[p], seq.c[t][g]))
            ys[t].append(meter.add(meter.add(inside, before), meter.mul(0.3, value)))
    to_end = {t: meter.exp(meter.add(total, -sums[t])) for t in chunk}
    decayed = {t: [meter.mul(to_end[t], value) for value in dt_x[t]] for t in chunk}
    decay = meter.exp(total)
    for p, row in enumerate(state):
        for n, value in enumerate(row):
            new = meter.dot([decayed[t][p] for t in chunk], [seq.b[t][g][n] for t in chunk])
            row[n] = meter.add(meter.mul(decay, value), new)
    return ys


@pytest.mark.parametrize("length", [1, 3, 4, 7, 8])
@pytest.mark.parametrize(("heads", "head_dim", "groups", "states"), [(1, 1, 1, 1), (4, 3, 2, 5)])
def test_mamba2_scans(heads, head_dim, groups, states, length):
    dims = Mamba2Dimensions(
        **SHARED,
        d_inner=heads * head_dim,
        d_state=states,
        n_heads=heads,
        n_groups=groups,
        chunk_size=4,
    )
    outputs = {}
    for form, by_hand in (("recurrent", recurrent_by_hand), ("chunked", chunked_by_hand)):
        meter = Meter()
        outputs[form] = by_hand(meter, dims, Sequence.draw(meter, dims, length))
        assert meter.flops() == flops(mamba2_ssm(dims, batch=1, seqlen=length, form=form, state_passes=1))
    # What was counted is the same function, twice.
    for left, right in zip(outputs["recurrent"], outputs["chunked"], strict=True):
        assert left == pytest.approx(right, rel=1e-12)
