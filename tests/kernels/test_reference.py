"""The references against transformers' functions, the scans' closed matrix forms, and themselves."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from perfmamba_kernels import reference
from torch.nn.functional import conv1d, silu, softplus
from torch.testing import assert_close
from transformers.models.mamba import modeling_mamba
from transformers.models.mamba2 import modeling_mamba2

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

LENGTHS, STATES = [1, 2, 31, 100, 300], [1, 7, 16, 64]

# The torch implementation under each name, whatever fused package transformers found.
hf_conv1d = modeling_mamba2.causal_conv1d_fn.__wrapped__
hf_conv1d_update = modeling_mamba2.causal_conv1d_update.__wrapped__
hf_scan = modeling_mamba.mamba_selective_scan.__wrapped__
hf_scan_update = modeling_mamba.mamba_selective_state_update.__wrapped__
hf_ssd = modeling_mamba2.mamba2_chunk_scan.__wrapped__
hf_ssd_update = modeling_mamba2.mamba2_selective_state_update.__wrapped__

# float32 sums over up to 300 positions, in another order than ours
close = partial(assert_close, rtol=1e-4, atol=1e-4, check_dtype=False)
exact = partial(assert_close, rtol=0, atol=0)
close64 = partial(assert_close, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("taps", [1, 2, 4])
def test_conv_is_torchs_convolution(taps, length):
    inputs = conv_inputs(5, taps, length)
    y, window = reference.causal_conv1d(**inputs, activation="silu")
    padded = torch.cat([torch.zeros(2, 5, taps - 1, dtype=F64), inputs["x"]], dim=2)
    close64(y, silu(conv1d(padded, inputs["weight"][:, None], inputs["bias"], groups=5)))
    exact(window, padded[:, :, length:])


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("activation", [None, "silu"])
def test_conv_matches_transformers(activation, length):
    inputs = conv_inputs(5, 4, length, torch.float32)
    y, _ = reference.causal_conv1d(**inputs, activation=activation)
    close(y, hf_conv1d(inputs["x"], inputs["weight"], inputs["bias"], activation=activation))


def test_conv_step_matches_transformers_in_output_and_window():
    inputs, ours = conv_inputs(5, 4, 1, torch.float32), normal(2, 5, 4, seed=9, dtype=torch.float32)
    theirs = ours.clone()
    expected = hf_conv1d_update(inputs["x"], theirs, inputs["weight"], inputs["bias"], activation="silu")
    y = reference.causal_conv1d_update(
        inputs["x"][:, :, 0], ours, inputs["weight"], inputs["bias"], activation="silu"
    )
    close(y, expected[:, :, 0])
    exact(ours, theirs)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="'relu'"):
        reference.causal_conv1d(**conv_inputs(1, 2, 3), activation="relu")


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("length", LENGTHS)
def test_scan_matches_transformers(states, length):
    inputs = scan_inputs(states, length, torch.float32)
    y, state = reference.selective_scan(**inputs, delta_softplus=True)
    arguments = {"hidden_states" if k == "u" else "dt" if k == "delta" else k: v for k, v in inputs.items()}
    expected, expected_state = hf_scan(**arguments, delta_softplus=True, return_last_state=True)
    close(y, expected)
    close(state, expected_state)


@pytest.mark.parametrize("states", STATES)
def test_scan_step_matches_transformers(states):
    inputs = scan_inputs(states, 1, torch.float32)
    ours = normal(2, 6, states, seed=9, dtype=torch.float32)
    theirs = ours.clone()
    u, delta, a, b, c, d, z, bias = inputs.values()
    arguments = (u[..., 0], delta[..., 0], a, b[..., 0], c[..., 0], d)
    y = reference.selective_state_update(ours, *arguments, z[..., 0], bias, dt_softplus=True)
    close(y, hf_scan_update(theirs, *arguments, dt_bias=bias, dt_softplus=True, z=z[..., 0]))
    close(ours, theirs)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("length", LENGTHS)
def test_ssd_matches_transformers(groups, states, length):
    inputs = ssd_inputs(states, length, groups, torch.float32)
    inputs["z"] = None  # transformers gates in the norm that follows
    initial = normal(2, 6, 4, states, seed=9, dtype=torch.float32)
    options = {"initial_states": initial, "dt_softplus": True, "dt_limit": (0.1, 1.5)}
    y, state = reference.ssd(**inputs, **options)
    x = inputs.pop("x")
    expected, expected_state = hf_ssd(x, **inputs, **options, chunk_size=64, return_final_states=True)
    close(y, expected)
    close(state, expected_state)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("states", STATES)
def test_ssd_step_matches_transformers(groups, states):
    x, dt, a, b, c, d, z, bias = (
        value[:, 0] if value.dim() > 1 else value
        for value in ssd_inputs(states, 1, groups, torch.float32).values()
    )
    ours = normal(2, 6, 4, states, seed=9, dtype=torch.float32)
    theirs = ours.clone()
    y = reference.ssd_update(ours, x, dt, a, b, c, d, z, bias, dt_softplus=True)
    # transformers wants the values of a head repeated for each of its channels
    expected = hf_ssd_update(
        theirs,
        x,
        dt[:, :, None].expand(-1, -1, 4),
        a[:, None, None].expand(-1, 4, states),
        b,
        c,
        d[:, None].expand(-1, 4),
        dt_bias=bias[:, None].expand(-1, 4),
        dt_softplus=True,
        z=z,
    )
    close(y, expected)
    close(ours, theirs)


def decay_between(dt: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """exp(a (dt_(s+1) + ... + dt_t)) at [..., t, s], zero above the diagonal; dt (..., l)."""
    total = dt.cumsum(-1)
    exponent = a[..., None, None] * (total[..., :, None] - total[..., None, :])
    return exponent.exp().tril()


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("length", [1, 2, 31])
def test_scan_is_its_matrix_form(states, length):
    u, delta, a, b, c, d, z, bias = scan_inputs(states, length).values()
    first = normal(2, 6, states, seed=9)
    dt = softplus(delta + bias[:, None])
    weights = torch.einsum("bnt,bdnts,bns->bdts", c, decay_between(dt[:, :, None], a), b)
    y = torch.einsum("bdts,bds->bdt", weights, dt * u)
    y += torch.einsum("bnt,bdnt,bdn->bdt", c, (a[..., None] * dt.cumsum(-1)[:, :, None]).exp(), first)
    y = (y + d[:, None] * u) * silu(z)
    close64(
        reference.selective_scan(u, delta, a, b, c, d, z, bias, delta_softplus=True, initial_state=first)[0],
        y,
    )


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("length", [1, 2, 31])
def test_ssd_is_its_matrix_form(groups, states, length):
    inputs = ssd_inputs(states, length, groups)
    x, dt, a, b, c, d, z, bias = inputs.values()
    first = normal(2, 6, 4, states, seed=9)
    dt = softplus(dt + bias).clamp(0.1, 1.5).transpose(1, 2)  # (b, h, l)
    group = torch.arange(6) * groups // 6
    scores = torch.einsum("bthn,bshn->bhts", c[:, :, group], b[:, :, group]) * decay_between(dt, a)
    y = torch.einsum("bhts,bhs,bshp->bthp", scores, dt, x)
    y += torch.einsum("bthn,bht,bhpn->bthp", c[:, :, group], (a[:, None] * dt.cumsum(-1)).exp(), first)
    y = (y + d[:, None] * x) * silu(z)
    close64(
        reference.ssd(**inputs, dt_softplus=True, dt_limit=(0.1, 1.5), initial_states=first)[0],
        y,
    )


def test_constant_input_sums_a_geometric_series():
    decay, ones = 0.9, torch.ones(1, 20, 1, 1, dtype=F64)
    a = torch.tensor([decay], dtype=F64).log()
    y, state = reference.ssd(ones, ones[..., 0], a, ones, ones)
    expected = (1 - decay ** torch.arange(1, 21, dtype=F64)) / (1 - decay)
    close64(y.flatten(), expected)
    close64(state.flatten(), expected[-1:])


@settings(max_examples=25, deadline=None)
@given(length=st.integers(2, 40), states=st.sampled_from(STATES), data=st.data())
def test_a_sequence_split_anywhere_is_the_sequence(length, states, data):
    middle = data.draw(st.integers(1, length - 1))
    first, rest = slice(None, middle), slice(middle, None)

    conv = conv_inputs(3, 4, length)
    whole, window = reference.causal_conv1d(**conv)
    head, carried = reference.causal_conv1d(**cut_conv(conv, positions=first))
    tail, end = reference.causal_conv1d(**cut_conv(conv, positions=rest), initial_states=carried)
    close64((torch.cat([head, tail], dim=2), end), (whole, window))

    scan = scan_inputs(states, length)
    whole, state = reference.selective_scan(**scan)
    head, carried = reference.selective_scan(**cut_scan(scan, positions=first))
    tail, end = reference.selective_scan(**cut_scan(scan, positions=rest), initial_state=carried)
    close64((torch.cat([head, tail], dim=2), end), (whole, state))

    ssd = ssd_inputs(states, length, 2)
    whole, state = reference.ssd(**ssd)
    head, carried = reference.ssd(**cut_ssd(ssd, positions=first))
    tail, end = reference.ssd(**cut_ssd(ssd, positions=rest), initial_states=carried)
    close64((torch.cat([head, tail], dim=1), end), (whole, state))


def test_conv_steps_continue_a_sequence():
    inputs = conv_inputs(3, 4, 9)
    whole, _ = reference.causal_conv1d(**inputs, activation="silu")
    window = torch.zeros(2, 3, 4, dtype=F64)
    steps = [
        reference.causal_conv1d_update(x, window, inputs["weight"], inputs["bias"], activation="silu")
        for x in inputs["x"].unbind(2)
    ]
    close64(torch.stack(steps, dim=2), whole)
    exact(window, inputs["x"][:, :, -4:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_inputs_are_computed_in_float32(dtype):
    narrow = ssd_inputs(7, 20, dtype=dtype)
    wide = {name: value.float() for name, value in narrow.items()}
    y, state = reference.ssd(**narrow, dt_softplus=True)
    expected, expected_state = reference.ssd(**wide, dt_softplus=True)
    assert y.dtype == dtype
    assert_close(y, expected.to(dtype), rtol=torch.finfo(dtype).eps, atol=0)
    assert_close(state, expected_state, rtol=1e-5, atol=1e-6)


def test_an_initial_state_is_left_as_it_was():
    initial = normal(2, 6, 4, 7, seed=9)
    kept = initial.clone()
    reference.ssd(**ssd_inputs(7, 5), initial_states=initial)
    exact(initial, kept)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("chunk", [1, 16, 64])
def test_the_chunked_form_is_the_recurrence(length, groups, chunk):
    inputs = ssd_inputs(7, length, groups)
    x, dt, a, b, c = inputs["x"], softplus(inputs["dt"]), inputs["A"], inputs["B"], inputs["C"]
    start = normal(2, 6, 4, 7, seed=8)
    expected = reference.ssd(x, dt, a, b, c, initial_states=start)
    close64(reference.chunked(x, dt, a, b, c, chunk=chunk, initial_states=start), expected)
    close64(reference.chunked(x, dt, a, b, c, chunk=chunk), reference.ssd(x, dt, a, b, c))
