"""The torch backend against the references in float64, for all sizes and layouts."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from perfmamba_kernels import reference, torch_backend
from perfmamba_kernels.elementwise import decay
from perfmamba_kernels.torch_backend.blocks import in_cache

from tests.kernels.inputs import (
    F64,
    conv_inputs,
    cut_conv,
    cut_scan,
    cut_ssd,
    normal,
    scan_inputs,
    ssd_inputs,
)

STATES = [1, 2, 7, 12, 13, 16, 38, 64, 89, 115, 128, 256]
LENGTHS = [0, 1, 2, 31, 32, 64, 100, 257, 1000]
TOLERANCE = {F64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2**-8, torch.float16: 2**-11}
"""Of the largest value. The narrow dtypes are those of inputs and outputs: half a unit of their last place
each way is twice what rounding y costs."""

pytestmark = pytest.mark.usefixtures("poisoned")


def close(actual, expected, dtype=F64):
    """Every tensor of one is every tensor of the other, to the tolerance of a dtype."""
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        if one.numel():
            scale = max(1.0, other.abs().max().item())
            assert (one.double() - other).abs().max().item() <= TOLERANCE[dtype] * scale


def doubled(inputs):
    return {name: value.double() for name, value in inputs.items()}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("states", STATES)
def test_scans_are_the_references(states, length):
    ssd = ssd_inputs(states, length, groups=2) | {"initial_states": normal(2, 6, 4, states, seed=8)}
    close(torch_backend.ssd(**ssd, dt_softplus=True), reference.ssd(**ssd, dt_softplus=True))
    scan = scan_inputs(states, length) | {"initial_state": normal(2, 6, states, seed=8)}
    close(
        torch_backend.selective_scan(**scan, delta_softplus=True),
        reference.selective_scan(**scan, delta_softplus=True),
    )


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_dtypes(dtype, states):
    ssd = ssd_inputs(states, 100, groups=3, dtype=dtype)
    y, state = torch_backend.ssd(**ssd, dt_softplus=True)
    assert (y.dtype, state.dtype) == (dtype, torch.promote_types(dtype, torch.float32))
    close([y, state], reference.ssd(**doubled(ssd), dt_softplus=True), dtype)
    scan = scan_inputs(states, 100, dtype)
    y, state = torch_backend.selective_scan(**scan, delta_softplus=True)
    assert (y.dtype, state.dtype) == (dtype, torch.promote_types(dtype, torch.float32))
    close([y, state], reference.selective_scan(**doubled(scan), delta_softplus=True), dtype)
    conv = conv_inputs(5, 4, 100, dtype)
    close(torch_backend.causal_conv1d(**conv), reference.causal_conv1d(**doubled(conv)), dtype)


@pytest.mark.parametrize("taps", [64, 66, 140])
def test_as_many_taps_as_positions_of_a_block_and_more(taps):
    conv = conv_inputs(5, taps, 300)
    close(torch_backend.causal_conv1d(**conv), reference.causal_conv1d(**conv))


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("state_dtype", [torch.float32, torch.bfloat16, F64])
def test_steps(state_dtype, dtype, states):
    widest = max(dtype, state_dtype, key=TOLERANCE.__getitem__)
    ssd, scan = ssd_inputs(states, 1, groups=2, dtype=dtype), scan_inputs(states, 1, dtype)
    state = normal(2, 6, 4, states, seed=8, dtype=state_dtype)
    check_step("ssd_update", state, at_first(ssd, dim=1), widest)
    state = normal(2, 6, states, seed=8, dtype=state_dtype)
    check_step("selective_state_update", state, at_first(scan, dim=2), widest)


@pytest.mark.parametrize("state_dtype", [torch.bfloat16, F64])
def test_steps_of_more_sequences_than_stay_in_the_cache(state_dtype):
    ssd, scan = (
        ssd_inputs(128, 1, 2, batch=5, heads=12, head_dim=64),
        scan_inputs(64, 1, batch=5, channels=1600),
    )
    state = normal(5, 12, 64, 128, seed=8, dtype=state_dtype)
    assert [len(some) for (some,) in in_cache(state)] == [2, 2, 1]
    check_step("ssd_update", state, at_first(ssd, dim=1), state_dtype)
    state = normal(5, 1600, 64, seed=8, dtype=state_dtype)
    assert [len(some) for (some,) in in_cache(state)] == [2, 2, 1]
    check_step("selective_state_update", state, at_first(scan, dim=2), state_dtype)


def test_a_scan_of_several_blocks_a_chunk():
    scan = scan_inputs(16, 150, channels=600)
    close(
        torch_backend.selective_scan(**scan, delta_softplus=True),
        reference.selective_scan(**scan, delta_softplus=True),
    )


def at_first(scan, dim):
    """The arguments of a decode step: those of a scan at its first position, which is along `dim`."""
    names = {"u": "x", "delta": "dt", "delta_bias": "dt_bias"}
    step = {names.get(name, name): value for name, value in scan.items()}
    return step | {name: step[name].select(dim, 0) for name in ("x", "dt", "B", "C", "z")}


def check_step(name, ours, step, dtype):
    """A step of the torch backend gives the reference's output, and leaves its state."""
    theirs = ours.double().clone()
    y = getattr(torch_backend, name)(ours, **step, dt_softplus=True)
    expected = getattr(reference, name)(theirs, **doubled(step), dt_softplus=True)
    close([y, ours], [expected, theirs], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_states_that_are_forgotten_at_once(dtype):
    ssd, scan = ssd_inputs(12, 100, dtype=dtype), scan_inputs(12, 100, dtype)
    for inputs in (ssd, scan):
        inputs["A"] = inputs["A"] * 1e3
    close(torch_backend.ssd(**ssd, dt_softplus=True), reference.ssd(**doubled(ssd), dt_softplus=True), dtype)
    y = torch_backend.selective_scan(**scan, delta_softplus=True)
    close(y, reference.selective_scan(**doubled(scan), delta_softplus=True), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_decays_and_their_products_are_normal_numbers(dtype):
    decays = decay(torch.tensor([-float("inf"), -1e6, -745.0, -90.0, -1.0, 0.0], dtype=dtype))
    assert (decays * decays > 1e7 * torch.finfo(dtype).tiny).all()
    assert decays[0] < torch.finfo(torch.float32).eps ** 2
    assert decays[-2:].tolist() == pytest.approx([math.exp(-1), 1.0], rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    length=st.integers(0, 150),
    states=st.integers(1, 40),
    groups=st.sampled_from([1, 2, 3, 6]),
)
def test_a_sequence_in_two_calls_is_one(data, length, states, groups):
    cut = data.draw(st.integers(0, length))
    first, second = slice(None, cut), slice(cut, None)
    ssd = ssd_inputs(states, length, groups)
    y, state = torch_backend.ssd(**ssd, dt_softplus=True)
    y1, between = torch_backend.ssd(**cut_ssd(ssd, positions=first), dt_softplus=True)
    y2, last = torch_backend.ssd(**cut_ssd(ssd, positions=second), dt_softplus=True, initial_states=between)
    close([torch.cat([y1, y2], 1), last], [y, state])
    scan = scan_inputs(states, length)
    y, state = torch_backend.selective_scan(**scan, delta_softplus=True)
    y1, between = torch_backend.selective_scan(**cut_scan(scan, positions=first), delta_softplus=True)
    y2, last = torch_backend.selective_scan(
        **cut_scan(scan, positions=second), delta_softplus=True, initial_state=between
    )
    close([torch.cat([y1, y2], 2), last], [y, state])
    conv = conv_inputs(5, data.draw(st.integers(1, 5)), length)
    y, window = torch_backend.causal_conv1d(**conv, activation="silu")
    y1, between = torch_backend.causal_conv1d(**cut_conv(conv, positions=first), activation="silu")
    y2, last = torch_backend.causal_conv1d(
        **cut_conv(conv, positions=second), initial_states=between, activation="silu"
    )
    close([torch.cat([y1, y2], 2), last], [y, window])
    close([y, window], reference.causal_conv1d(**conv, activation="silu"))


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 70), min_size=1, max_size=4),
    states=st.integers(1, 40),
    heads_and_dim=st.tuples(st.sampled_from([1, 4, 6]), st.integers(1, 9)),
    softplus=st.booleans(),
    limit=st.sampled_from([(0.0, float("inf")), (0.1, 0.5), (-0.02, 0.5)]),
)
def test_packed_sequences_are_scanned_each_by_itself(lengths, states, heads_and_dim, softplus, limit):
    heads, head_dim = heads_and_dim
    inputs = ssd_inputs(states, sum(lengths), heads // 2 or 1, batch=1, heads=heads, head_dim=head_dim)
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    states_before = normal(len(lengths), heads, head_dim, states, seed=8)
    options = {"dt_softplus": softplus, "dt_limit": limit}
    packed = torch_backend.ssd(**inputs, **options, initial_states=states_before, cu_seqlens=bounds)
    for number, (start, end) in enumerate(pairwise(bounds)):
        one = cut_ssd(inputs, positions=slice(start, end))
        y, state = reference.ssd(**one, **options, initial_states=states_before[number : number + 1])
        close([packed[0][:, start:end], packed[1][number : number + 1]], [y, state])


@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("length", [4, 7])
def test_conv_steps_continue_a_convolution(taps, length):
    inputs = conv_inputs(5, taps, length)
    whole, _ = reference.causal_conv1d(**inputs, activation="silu")
    window = torch.zeros(2, 5, max(taps, 3), dtype=F64)
    step = partial(torch_backend.causal_conv1d_update, activation="silu")
    weights = (inputs["weight"], inputs["bias"])
    y = torch.stack([step(inputs["x"][..., t], window, *weights) for t in range(length)], 2)
    close([y, window], [whole, inputs["x"][..., length - max(taps, 3) :]])


def test_any_layout_gives_the_same():
    projection = normal(2, 100, 6 * 4 + 2 * 3 * 7 + 6 * 4, seed=0)
    x, b, c, z = projection.split([24, 21, 21, 24], dim=-1)
    shapes = {"x": (x, (6, 4)), "B": (b, (3, 7)), "C": (c, (3, 7)), "z": (z, (6, 4))}
    views = {name: value.unflatten(-1, shape) for name, (value, shape) in shapes.items()}
    inputs = ssd_inputs(7, 100, 3)
    inputs["dt"] = inputs["dt"].abs()
    dense = inputs | {name: value.contiguous() for name, value in views.items()}
    close(torch_backend.ssd(**(inputs | views)), reference.ssd(**dense))
    conv = conv_inputs(90, 4, 100)
    y, window = torch_backend.causal_conv1d(projection.transpose(1, 2), conv["weight"], conv["bias"])
    assert y.transpose(1, 2).is_contiguous()
    conv["x"] = projection.transpose(1, 2).contiguous()
    close([y, window], reference.causal_conv1d(**conv))


def test_inputs_stay_as_they_are():
    ssd = ssd_inputs(7, 100) | {"initial_states": normal(2, 6, 4, 7, seed=8)}
    scan = scan_inputs(7, 100) | {"initial_state": normal(2, 6, 7, seed=8)}
    conv = conv_inputs(5, 4, 100) | {"initial_states": normal(2, 5, 3, seed=8)}
    for function, inputs in (
        (torch_backend.ssd, ssd),
        (torch_backend.selective_scan, scan),
        (torch_backend.causal_conv1d, conv),
    ):
        before = {name: value.clone() for name, value in inputs.items()}
        function(**inputs)
        assert all(value.equal(before[name]) for name, value in inputs.items())
