"""The cost model against the package's counts, against counting one by one, and against hand-made numbers."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfmamba_kernels import costs
from perfmamba_kernels.costs import A100_40GB, A100_80GB, H100_SXM, Rates, Work, floor_seconds

from perfmamba.models import published_config
from perfmamba.profiling.counts.dimensions import Mamba2Dimensions, dimensions
from perfmamba.profiling.counts.layers import causal_conv, linear
from perfmamba.profiling.counts.scans import mamba1_ssm, mamba2_ssm

MAMBA2 = {"heads": 24, "head_dim": 64}
BF16, F32 = 2, 4

sizes = st.integers(1, 9)


def mamba2_dimensions(heads, head_dim, states, groups, chunk):
    return Mamba2Dimensions(
        n_layers=1,
        d_model=1,
        d_inner=heads * head_dim,
        d_state=states,
        d_conv=4,
        vocab_size=1,
        use_bias=False,
        use_conv_bias=True,
        n_heads=heads,
        n_groups=groups,
        chunk_size=chunk,
    )


@given(
    batch=sizes,
    seqlen=st.integers(1, 300),
    per_group=sizes,
    head_dim=sizes,
    states=sizes,
    groups=sizes,
    chunk=st.integers(1, 100),
)
def test_ssd_is_counted_as_the_package_counts_it(*, per_group, groups, chunk, head_dim, states, **lengths):
    """Chunked and recurrent; in float32, where all numbers moved are of one size."""
    heads = per_group * groups
    dims = mamba2_dimensions(heads, head_dim, states, groups, chunk)
    for form, used in (("chunked", chunk), ("recurrent", None)):
        counted = mamba2_ssm(dims, **lengths, form=form, state_passes=lengths["batch"])
        work = costs.ssd(
            **lengths,
            heads=heads,
            head_dim=head_dim,
            states=states,
            groups=groups,
            itemsize=F32,
            chunk=used,
        )
        assert work.matmul_flops == counted.matmul_flops
        assert work.moved_bytes == counted.moved_bytes(element_bytes=F32, state_bytes=F32)


def test_an_ssd_update_is_a_recurrence_of_one_position_that_reads_its_state():
    dims = dimensions(published_config("mamba2-130m"))
    counted = mamba2_ssm(dims, batch=8, seqlen=1, form="recurrent", state_passes=2 * 8)
    work = costs.ssd_update(batch=8, **MAMBA2, states=128, itemsize=F32)
    assert work.matmul_flops == counted.matmul_flops
    assert work.moved_bytes == counted.moved_bytes(element_bytes=F32)


def test_mamba1_is_counted_as_the_package_counts_it_but_for_its_projections():
    dims = dimensions(published_config("mamba-130m"))
    tokens, channels, states = 8 * 512, dims.d_inner, dims.d_state
    projections = (
        linear(channels, dims.dt_rank + 2 * states, tokens=tokens)
        + linear(dims.dt_rank, channels, tokens=tokens)
    ).matmul_flops
    whole = mamba1_ssm(dims, tokens=tokens, state_passes=8).matmul_flops
    scan = costs.selective_scan(batch=8, seqlen=512, channels=channels, states=states, itemsize=BF16)
    step = costs.selective_state_update(batch=tokens, channels=channels, states=states, itemsize=BF16)
    assert scan.matmul_flops == step.matmul_flops == whole - projections
    assert scan.exponentials == step.exponentials


def test_the_convolution_is_counted_as_the_package_counts_it():
    counted = causal_conv(1792, 4, tokens=8 * 512, state_passes=8, bias=True)
    work = costs.causal_conv1d(batch=8, seqlen=512, channels=1792, taps=4, itemsize=BF16)
    assert work.matmul_flops == counted.matmul_flops
    one_column_less = 8 * 1792 * BF16  # we hand on k - 1 inputs, transformers k
    assert work.moved_bytes == counted.moved_bytes(element_bytes=BF16) - one_column_less
    step = causal_conv(1792, 4, tokens=8, state_passes=16, bias=True)
    work = costs.causal_conv1d_update(batch=8, channels=1792, taps=4, itemsize=BF16)
    assert work.matmul_flops == step.matmul_flops
    assert work.moved_bytes == step.moved_bytes(element_bytes=BF16)


@pytest.mark.parametrize("seqlen", [1, 5, 16, 37])
def test_exponentials_are_those_of_a_loop_over_the_chunks(seqlen):
    heads, chunk = 3, 16
    positions = list(range(seqlen))
    counted = 0
    for start in range(0, seqlen, chunk):
        inside = positions[start : start + chunk]
        counted += heads * sum(source <= target for target in inside for source in inside)  # masks
        counted += heads * (2 * len(inside) + 1)  # decay from the start, to the end, of the whole chunk
    counted += 2 * heads * seqlen  # softplus
    arguments = {"batch": 2, "seqlen": seqlen, "heads": heads, "head_dim": 4, "states": 5, "itemsize": F32}
    assert costs.ssd(**arguments, chunk=chunk).exponentials == 2 * counted
    assert costs.ssd(**arguments, chunk=None).exponentials == 2 * 3 * heads * seqlen
    gated = costs.ssd(**arguments, chunk=None, gated=True)
    assert gated.exponentials == 2 * seqlen * (3 * heads + heads * 4)
    assert gated.moved_bytes - costs.ssd(**arguments).moved_bytes == 2 * seqlen * heads * 4 * F32


@pytest.mark.parametrize(
    ("states", "kilobytes"), [(128, 6.70), (89, 6.55), (64, 6.45), (38, 6.34), (12, 6.24)]
)
def test_bytes_a_token_of_mamba2_130m_in_16_bits(states, kilobytes):
    """Worked out by hand for x, y, B, C and dt: 2 (2 * 1536 + 2 N) + 2 * 24."""
    one, two = (
        costs.ssd(batch=1, seqlen=seqlen, **MAMBA2, states=states, itemsize=BF16) for seqlen in (64, 128)
    )
    assert (two.moved_bytes - one.moved_bytes) / 64 / 1e3 == pytest.approx(kilobytes, abs=0.006)


@pytest.mark.parametrize(
    ("rates", "seqlen", "states", "microseconds"),
    [
        (A100_40GB, 2048, 128, 71),
        (A100_40GB, 16384, 12, 526),
        (H100_SXM, 2048, 128, 33),
        (H100_SXM, 16384, 64, 252),
    ],
)
def test_floors_of_a_fused_scan_at_batch_8(rates, seqlen, states, microseconds):
    """The roofline worked out by hand, which leaves out the final state; it is written once, in float32."""
    work = costs.ssd(batch=8, seqlen=seqlen, **MAMBA2, states=states, itemsize=BF16)
    state_us = 1e6 * 8 * 1536 * states * 4 / rates.moved_bytes
    assert 1e6 * floor_seconds(work, rates) - state_us == pytest.approx(microseconds, abs=0.6)


def test_mamba1_is_bound_by_exponentials_on_an_a100_and_gains_from_a_smaller_state():
    """24576 exponentials a token for the decay alone, at 2.4 T/s: 165 us at 16384 tokens."""
    work = costs.selective_scan(batch=8, seqlen=2048, channels=1536, states=16, itemsize=BF16)
    decays_us = 1e6 * 16384 * 24576 / A100_40GB.exponentials
    assert decays_us == pytest.approx(165, abs=1)
    assert decays_us < 1e6 * floor_seconds(work, A100_40GB) < 1.2 * decays_us


def test_a_decode_step_moves_its_state_twice_and_is_bound_by_that():
    work = costs.ssd_update(batch=64, **MAMBA2, states=128, itemsize=BF16, state_itemsize=BF16)
    state_bytes = 2 * 2 * 64 * 1536 * 128
    assert state_bytes < work.moved_bytes < 1.02 * state_bytes
    assert floor_seconds(work, A100_80GB) == work.moved_bytes / A100_80GB.moved_bytes


def test_the_floor_is_the_longest_of_the_three():
    rates = Rates("a device", matmul_flops=10.0, moved_bytes=100.0, exponentials=1000.0)
    assert floor_seconds(Work(50, 1000, 100), rates) == 5.0
    assert floor_seconds(Work(10, 1000, 700), rates) == 7.0
    assert floor_seconds(Work(10, 9000, 100), rates) == 9.0


def test_less_state_is_less_of_everything():
    works = [costs.ssd(batch=1, seqlen=100, **MAMBA2, states=n, itemsize=BF16) for n in (12, 38, 64, 89, 128)]
    for smaller, larger in pairwise(works):
        assert smaller.matmul_flops < larger.matmul_flops
        assert smaller.moved_bytes < larger.moved_bytes
