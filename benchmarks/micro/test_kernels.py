"""The kernels at the shapes of the 130m models: a short prefill and one decoded token, batch 1.

Every operation is first held against its closed form, then timed. A step updates its state in place, so
while it is timed its state goes on to the fixed point of a constant input: no value in it vanishes.
"""

import pytest
import torch
from perfmamba_kernels import reference
from torch import Tensor
from torch.testing import assert_close

from benchmarks.micro.closed_forms import attended, convolved, scanned

POSITIONS, TAPS = 64, 4
MAMBA1_CHANNELS, MAMBA1_STATES = 1536, 16
MAMBA2_HEADS, MAMBA2_HEAD_DIM, MAMBA2_STATES = 24, 64, 128
CONV_CHANNELS = {
    "mamba-130m": MAMBA1_CHANNELS,
    "mamba2-130m": MAMBA2_HEADS * MAMBA2_HEAD_DIM + 2 * MAMBA2_STATES,  # x, B and C
}

conv_channels = pytest.mark.parametrize("channels", CONV_CHANNELS.values(), ids=CONV_CHANNELS)


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)


def scan_arguments(draw, positions: int) -> dict[str, Tensor]:
    """Arguments of `selective_scan`, A as the model initialises it, dt around 0.05."""
    return {
        "u": draw(1, MAMBA1_CHANNELS, positions),
        "delta": draw(1, MAMBA1_CHANNELS, positions),
        "A": -torch.arange(1.0, MAMBA1_STATES + 1).expand(MAMBA1_CHANNELS, -1).contiguous(),
        "B": draw(1, MAMBA1_STATES, positions),
        "C": draw(1, MAMBA1_STATES, positions),
        "D": draw(MAMBA1_CHANNELS),
        "z": draw(1, MAMBA1_CHANNELS, positions),
        "delta_bias": draw(MAMBA1_CHANNELS) / 3 - 3,
    }


def ssd_arguments(draw, positions: int) -> dict[str, Tensor]:
    """Arguments of `ssd`, A as the model initialises it, dt around 0.05; the model gates elsewhere."""
    return {
        "x": draw(1, positions, MAMBA2_HEADS, MAMBA2_HEAD_DIM),
        "dt": draw(1, positions, MAMBA2_HEADS),
        "A": -torch.arange(1.0, MAMBA2_HEADS + 1),
        "B": draw(1, positions, 1, MAMBA2_STATES),
        "C": draw(1, positions, 1, MAMBA2_STATES),
        "D": draw(MAMBA2_HEADS),
        "dt_bias": draw(MAMBA2_HEADS) / 3 - 3,
    }


def assert_matches(actual, expected) -> None:
    """In float32, after sums over up to 128 states and 64 positions in another order."""
    assert_close(actual, expected, rtol=1e-4, atol=1e-4, check_dtype=False)


@conv_channels
def test_causal_conv1d(benchmark, draw, channels):
    x, weight, bias = draw(1, channels, POSITIONS), draw(channels, TAPS), draw(channels)

    def convolve() -> tuple[Tensor, Tensor]:
        return reference.causal_conv1d(x, weight, bias, activation="silu")

    padded = torch.cat([torch.zeros(1, channels, TAPS - 1), x], dim=2)
    assert_matches(convolve(), (convolved(padded, weight, bias), x[:, :, 1 - TAPS :]))
    benchmark(convolve)


@conv_channels
def test_causal_conv1d_update(benchmark, draw, channels):
    state, x, weight, bias = draw(1, channels, TAPS), draw(1, channels), draw(channels, TAPS), draw(channels)

    def step() -> Tensor:
        return reference.causal_conv1d_update(x, state, weight, bias, activation="silu")

    window = torch.cat([state[:, :, 1:], x[:, :, None]], dim=2)
    assert_matches(step(), convolved(window, weight, bias)[:, :, 0])
    assert_matches(state, window)
    benchmark(step)


def test_selective_scan(benchmark, draw):
    arguments = scan_arguments(draw, POSITIONS)

    def scan() -> tuple[Tensor, Tensor]:
        return reference.selective_scan(**arguments, delta_softplus=True)

    assert_matches(scan(), scanned(torch.zeros(1, MAMBA1_CHANNELS, MAMBA1_STATES), arguments))
    benchmark(scan)


def test_selective_state_update(benchmark, draw):
    state = draw(1, MAMBA1_CHANNELS, MAMBA1_STATES)
    arguments = scan_arguments(draw, 1)
    y, after = scanned(state, arguments)
    at_step = [value[..., 0] if value.dim() == 3 else value for value in arguments.values()]

    def step() -> Tensor:
        return reference.selective_state_update(state, *at_step, dt_softplus=True)

    assert_matches(step(), y[..., 0])
    assert_matches(state, after)
    benchmark(step)


def test_ssd(benchmark, draw):
    arguments = ssd_arguments(draw, POSITIONS)

    def scan() -> tuple[Tensor, Tensor]:
        return reference.ssd(**arguments, dt_softplus=True)

    first = torch.zeros(1, MAMBA2_HEADS, MAMBA2_HEAD_DIM, MAMBA2_STATES)
    assert_matches(scan(), attended(first, arguments))
    benchmark(scan)


def test_ssd_update(benchmark, draw):
    state = draw(1, MAMBA2_HEADS, MAMBA2_HEAD_DIM, MAMBA2_STATES)
    arguments = ssd_arguments(draw, 1)
    y, after = attended(state, arguments)
    at_step = {name: value[:, 0] if value.dim() > 1 else value for name, value in arguments.items()}

    def step() -> Tensor:
        return reference.ssd_update(state, **at_step, dt_softplus=True)

    assert_matches(step(), y[:, 0])
    assert_matches(state, after)
    benchmark(step)
