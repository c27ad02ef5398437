"""The kernels at the shapes of the 130m models: a short prefill and one decoded token, batch 1.

Every operation of the reference and of the torch backend is first compared with its closed form, then timed.
A step updates its state in place. While it is timed, the state moves to the fixed point of a constant input,
so no value in it vanishes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import perfmamba_kernels
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from benchmarks.micro.closed_forms import attended, convolved, scanned

POSITIONS, TAPS = 64, 4
MAMBA1_CHANNELS, MAMBA1_STATES = 1536, 16
MAMBA2_HEADS, MAMBA2_HEAD_DIM, MAMBA2_STATES = 24, 64, 128

TimeCall = Callable[[Callable[[], object]], object]
"""The fixture of pytest-benchmark, which has no types: times a call."""
DrawNormal = Callable[..., Tensor]
"""Normal random numbers of the shape that it is given."""
BackendOperation = Callable[[str], Callable[..., Any]]
"""An operation of one backend, by name."""

CONV_CHANNELS = {
    "mamba-130m": MAMBA1_CHANNELS,
    "mamba2-130m": MAMBA2_HEADS * MAMBA2_HEAD_DIM + 2 * MAMBA2_STATES,  # x, B and C
}

conv_channels = pytest.mark.parametrize("channels", CONV_CHANNELS.values(), ids=CONV_CHANNELS)


@pytest.fixture(params=["reference", "torch"])
def operation(request: pytest.FixtureRequest) -> BackendOperation:
    """The operations of one backend after the other."""
    return lambda name: partial(getattr(perfmamba_kernels, name), backend=request.param)


@pytest.fixture
def draw() -> DrawNormal:
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)


def scan_arguments(draw: DrawNormal, positions: int) -> dict[str, Tensor]:
    """Arguments of `selective_scan`, A as the model initializes it, dt around 0.05."""
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


def ssd_arguments(draw: DrawNormal, positions: int) -> dict[str, Tensor]:
    """Arguments of `ssd`, A as the model initializes it, dt around 0.05; the model gates outside of it."""
    return {
        "x": draw(1, positions, MAMBA2_HEADS, MAMBA2_HEAD_DIM),
        "dt": draw(1, positions, MAMBA2_HEADS),
        "A": -torch.arange(1.0, MAMBA2_HEADS + 1),
        "B": draw(1, positions, 1, MAMBA2_STATES),
        "C": draw(1, positions, 1, MAMBA2_STATES),
        "D": draw(MAMBA2_HEADS),
        "dt_bias": draw(MAMBA2_HEADS) / 3 - 3,
    }


def assert_matches(actual: object, expected: object) -> None:
    """Compare with the tolerance of float32 sums over up to 128 states and 64 positions in another order."""
    assert_close(actual, expected, rtol=1e-4, atol=1e-4, check_dtype=False)


@conv_channels
def test_causal_conv1d(
    benchmark: TimeCall, operation: BackendOperation, draw: DrawNormal, channels: int
) -> None:
    compute = operation("causal_conv1d")
    x, weight, bias = draw(1, channels, POSITIONS), draw(channels, TAPS), draw(channels)

    def convolve() -> object:
        return compute(x, weight, bias, activation="silu")

    padded = torch.cat([torch.zeros(1, channels, TAPS - 1), x], dim=2)
    assert_matches(convolve(), (convolved(padded, weight, bias), x[:, :, 1 - TAPS :]))
    benchmark(convolve)


@conv_channels
def test_causal_conv1d_update(
    benchmark: TimeCall, operation: BackendOperation, draw: DrawNormal, channels: int
) -> None:
    compute = operation("causal_conv1d_update")
    state, x, weight, bias = draw(1, channels, TAPS), draw(1, channels), draw(channels, TAPS), draw(channels)

    def step() -> object:
        return compute(x, state, weight, bias, activation="silu")

    window = torch.cat([state[:, :, 1:], x[:, :, None]], dim=2)
    assert_matches(step(), convolved(window, weight, bias)[:, :, 0])
    assert_matches(state, window)
    benchmark(step)


def test_selective_scan(benchmark: TimeCall, operation: BackendOperation, draw: DrawNormal) -> None:
    compute = operation("selective_scan")
    arguments = scan_arguments(draw, POSITIONS)

    def scan() -> object:
        return compute(**arguments, delta_softplus=True)

    assert_matches(scan(), scanned(torch.zeros(1, MAMBA1_CHANNELS, MAMBA1_STATES), arguments))
    benchmark(scan)


def test_selective_state_update(benchmark: TimeCall, operation: BackendOperation, draw: DrawNormal) -> None:
    compute = operation("selective_state_update")
    state = draw(1, MAMBA1_CHANNELS, MAMBA1_STATES)
    arguments = scan_arguments(draw, 1)
    y, after = scanned(state, arguments)
    at_step = [value[..., 0] if value.dim() == 3 else value for value in arguments.values()]

    def step() -> object:
        return compute(state, *at_step, dt_softplus=True)

    assert_matches(step(), y[..., 0])
    assert_matches(state, after)
    benchmark(step)


def test_ssd(benchmark: TimeCall, operation: BackendOperation, draw: DrawNormal) -> None:
    compute = operation("ssd")
    arguments = ssd_arguments(draw, POSITIONS)

    def scan() -> object:
        return compute(**arguments, dt_softplus=True)

    first = torch.zeros(1, MAMBA2_HEADS, MAMBA2_HEAD_DIM, MAMBA2_STATES)
    assert_matches(scan(), attended(first, arguments))
    benchmark(scan)


def test_ssd_update(benchmark: TimeCall, operation: BackendOperation, draw: DrawNormal) -> None:
    compute = operation("ssd_update")
    state = draw(1, MAMBA2_HEADS, MAMBA2_HEAD_DIM, MAMBA2_STATES)
    arguments = ssd_arguments(draw, 1)
    y, after = attended(state, arguments)
    at_step = {name: value[:, 0] if value.dim() > 1 else value for name, value in arguments.items()}

    def step() -> object:
        return compute(state, **at_step, dt_softplus=True)

    assert_matches(step(), y[:, 0])
    assert_matches(state, after)
    benchmark(step)
