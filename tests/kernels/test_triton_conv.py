"""Triton's convolution and its decode step against the float64 reference."""

import pytest
import torch
from perfmamba_kernels import reference, triton_backend
from torch.testing import assert_close

from tests.kernels.inputs import conv_inputs, cut_conv, normal

LENGTHS = [1, 2, 31, 64, 100, 257]
F32 = torch.float32

# Sums of four products in float32, then one rounding to the dtype (in bfloat16 the interpreter cuts off)
TOLERANCE = {
    torch.float32: {"rtol": 1e-6, "atol": 1e-6},
    torch.float16: {"rtol": 1e-3, "atol": 1e-5},
    torch.bfloat16: {"rtol": 8e-3, "atol": 1e-5},
}

pytestmark = pytest.mark.usefixtures("poisoned")


def channels_last(x):
    """The same numbers as a slice of the rows of a projection, as models hand them over."""
    rows = torch.zeros(x.shape[0], x.shape[2], x.shape[1] + 5, dtype=x.dtype)
    rows[..., 2:-3] = x.transpose(1, 2)
    return rows[..., 2:-3].transpose(1, 2)


def check(inputs, device, **options):
    """The outputs are near the reference's, the final states equal."""
    narrow = {**inputs, "initial_states": options.pop("initial_states", None)}
    expected, expected_states = reference.causal_conv1d(
        **{key: None if value is None else value.double() for key, value in narrow.items()}, **options
    )
    moved = {key: None if value is None else value.to(device) for key, value in narrow.items()}
    y, states = triton_backend.causal_conv1d(**moved, **options)
    dtype = inputs["x"].dtype
    assert y.dtype == states.dtype == dtype
    assert_close(y.double().cpu(), expected, **TOLERANCE[dtype])
    assert_close(states.double().cpu(), expected_states, rtol=0, atol=0)


@pytest.mark.parametrize("layout", [torch.Tensor.contiguous, channels_last])
@pytest.mark.parametrize("length", LENGTHS)
def test_lengths(length, layout, device):
    inputs = conv_inputs(70, 4, length, F32)
    check({**inputs, "x": layout(inputs["x"])}, device, activation="silu")
    initial = normal(2, 70, 3, seed=9, dtype=F32)
    check({**inputs, "x": layout(inputs["x"])}, device, activation="silu", initial_states=initial)


@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("length", [1, 3, 66])
def test_taps(taps, length, device):
    inputs = conv_inputs(5, taps, length, F32)
    check(inputs, device, initial_states=normal(2, 5, taps - 1, seed=9, dtype=F32))
    check({**inputs, "bias": None}, device, activation="swish")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits(dtype, device):
    inputs = conv_inputs(5, 4, 66, dtype)
    for x in (inputs["x"], channels_last(inputs["x"])):
        check({**inputs, "x": x}, device, initial_states=normal(2, 5, 3, seed=9, dtype=dtype))


def test_an_empty_sequence_hands_its_initial_states_on(device):
    inputs = conv_inputs(5, 4, 0, F32)
    check(inputs, device, initial_states=normal(2, 5, 3, seed=9, dtype=F32))
    check(inputs, device)


@pytest.mark.parametrize("middle", [1, 2, 3, 64, 69])
def test_a_sequence_split_anywhere_is_the_sequence(middle, device):
    inputs = {key: value.to(device) for key, value in conv_inputs(5, 4, 70, F32).items()}
    whole, end = triton_backend.causal_conv1d(**inputs)
    head, carried = triton_backend.causal_conv1d(**cut_conv(inputs, positions=slice(middle)))
    tail, tail_end = triton_backend.causal_conv1d(
        **cut_conv(inputs, positions=slice(middle, None)), initial_states=carried
    )
    assert_close((torch.cat([head, tail], dim=2), tail_end), (whole, end), rtol=1e-6, atol=1e-6)


def test_the_output_has_the_order_of_the_input(device):
    inputs = {key: value.to(device) for key, value in conv_inputs(5, 4, 8, F32).items()}
    assert triton_backend.causal_conv1d(**inputs)[0].stride() == (40, 8, 1)
    inputs["x"] = channels_last(inputs["x"].cpu()).to(device)
    assert triton_backend.causal_conv1d(**inputs)[0].stride() == (40, 1, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("taps", "window"), [(1, 0), (1, 2), (2, 1), (3, 3), (4, 3), (4, 4), (4, 7)])
def test_step(taps, window, dtype, device):
    channels = 260  # more than a program has
    x = normal(2, channels, seed=0, dtype=dtype)
    weight = normal(channels, taps, seed=1, dtype=dtype)
    bias = normal(channels, seed=2, dtype=dtype)
    state = normal(2, channels, window, seed=3, dtype=dtype)
    expected_state = state.double()
    expected = reference.causal_conv1d_update(
        x.double(), expected_state, weight.double(), bias.double(), activation="silu"
    )
    moved = [tensor.to(device) for tensor in (x, state, weight, bias)]
    y = triton_backend.causal_conv1d_update(*moved, activation="silu")
    assert y.dtype == dtype
    assert_close(y.double().cpu(), expected, **TOLERANCE[dtype])
    assert_close(moved[1].double().cpu(), expected_state, rtol=0, atol=0)


def test_steps_continue_a_sequence_in_a_state_that_is_a_view(device):
    inputs = {key: value.to(device) for key, value in conv_inputs(5, 4, 9, F32).items()}
    whole, _ = triton_backend.causal_conv1d(**inputs)
    around = torch.zeros(2, 4, 7, device=device)
    state = around[..., 1:6].transpose(1, 2)  # channels contiguous
    steps = [
        triton_backend.causal_conv1d_update(x, state, inputs["weight"], inputs["bias"])
        for x in inputs["x"].unbind(2)
    ]
    assert_close(torch.stack(steps, dim=2), whole, rtol=1e-6, atol=1e-6)
    assert_close(state, inputs["x"][..., -4:], rtol=0, atol=0)
    assert not around[..., [0, 6]].any()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.Tensor.contiguous, channels_last])
def test_a_whole_layer(layout, dtype, device):
    inputs = conv_inputs(1536 + 2 * 89, 4, 2048, dtype)
    initial = normal(2, 1536 + 2 * 89, 3, seed=9, dtype=dtype)
    check({**inputs, "x": layout(inputs["x"])}, device, activation="silu", initial_states=initial)
