"""Triton's Mamba-1 scan against the float64 reference."""

import importlib

import pytest
import torch
import triton
from packaging.version import Version
from perfmamba_kernels import reference, triton_backend
from torch.testing import assert_close

from tests.kernels.inputs import cut_scan, normal, scan_inputs

# The package's attribute of this name is the function.
module = importlib.import_module("perfmamba_kernels.triton_backend.selective_scan")

F32 = torch.float32

# Of the largest element: sums over positions and 38 states in float32, one rounding of y to its dtype (in
# bfloat16 the interpreter cuts off)
TOLERANCE = {torch.float32: 3e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}

pytestmark = pytest.mark.usefixtures("poisoned")

stores_through_broadcast_pointers = pytest.mark.skipif(
    not torch.cuda.is_available() and Version(triton.__version__) < Version("3.9"),
    reason="the interpreter of Triton 3.6 to 3.8 cannot store through a broadcast pointer",
)


def assert_near(actual, expected, tolerance):
    limit = tolerance * expected.abs().max().item() if expected.numel() else 0.0
    assert_close(actual.double().cpu(), expected, rtol=0, atol=limit)


def check(inputs, device, **options):
    """Output and final state are near the reference's."""
    wide = {key: None if value is None else value.double() for key, value in inputs.items()}
    expected, expected_state = reference.selective_scan(**wide, **options)
    moved = {key: None if value is None else value.to(device) for key, value in inputs.items()}
    y, state = triton_backend.selective_scan(**moved, **options)
    assert y.dtype == inputs["u"].dtype
    assert state.dtype == torch.float32
    assert_near(y, expected, TOLERANCE[y.dtype])
    assert_near(state, expected_state, TOLERANCE[torch.float32])


@pytest.fixture
def lanes(monkeypatch):
    """Have a channel shared by a number of lanes, whatever the shape."""

    def share(count: int) -> None:
        monkeypatch.setattr(module, "runs_of_a_channel", lambda *_: count)

    return share


@pytest.mark.parametrize(
    ("states", "length"),
    [
        *((1, 1), (2, 2), (7, 31), (12, 64), (13, 100), (38, 9), (16, 16)),
        pytest.param(2, 257, marks=stores_through_broadcast_pointers),
    ],
)
def test_shapes(states, length, device):
    inputs = scan_inputs(states, length, F32, batch=1, channels=2)
    check(inputs, device, delta_softplus=True)


@pytest.mark.parametrize("count", [1, 2, 4, pytest.param(32, marks=stores_through_broadcast_pointers)])
def test_lanes_of_a_channel(count, lanes, device):
    lanes(count)
    inputs = scan_inputs(2, 35, F32, batch=2, channels=1 + 32 // count)
    inputs["initial_state"] = normal(2, 1 + 32 // count, 2, seed=9, dtype=F32)
    check(inputs, device, delta_softplus=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits(dtype, device):
    check(scan_inputs(3, 31, dtype, batch=1), device, delta_softplus=True)


@pytest.mark.parametrize("axis_last", ["channels", "positions"])
def test_any_strides(axis_last, device):
    inputs = scan_inputs(3, 20, F32, batch=1)
    for name in ("u", "delta", "B", "C", "z"):
        value = inputs[name]
        if axis_last == "channels":
            value = value.transpose(1, 2).contiguous().transpose(1, 2)
        inputs[name] = torch.stack([value, value], dim=-1)[..., 1]
    inputs["A"] = inputs["A"].t().contiguous().t()
    check(inputs, device, delta_softplus=True)


@pytest.mark.parametrize("absent", ["D", "z", "delta_bias"])
def test_without_an_argument(absent, device):
    check({**scan_inputs(2, 9, F32, batch=1), absent: None}, device)


def test_decays_to_nothing(device):
    """No intermediate overflows where a step's decay is below the smallest float."""
    inputs = scan_inputs(2, 40, F32, batch=1)
    check({**inputs, "A": inputs["A"] * 1000}, device, delta_softplus=True)


def test_an_empty_sequence_hands_its_initial_state_on(device):
    initial = normal(2, 6, 3, seed=9, dtype=F32)
    check({**scan_inputs(3, 0, F32), "initial_state": initial}, device)
    check(scan_inputs(3, 0, F32), device)


@pytest.mark.parametrize("middle", [1, 8, 33])
def test_a_sequence_split_anywhere_is_the_sequence(middle, device):
    inputs = scan_inputs(2, 40, F32, batch=1, channels=2)
    inputs = {key: value.to(device) for key, value in inputs.items()}
    whole, end = triton_backend.selective_scan(**inputs)
    head, carried = triton_backend.selective_scan(**cut_scan(inputs, positions=slice(middle)))
    tail, tail_end = triton_backend.selective_scan(
        **cut_scan(inputs, positions=slice(middle, None)), initial_state=carried
    )
    assert_close((torch.cat([head, tail], dim=2), tail_end), (whole, end), rtol=1e-5, atol=1e-5)


def test_lanes_follow_from_the_shape():
    assert module.runs_of_a_channel(64, 1536, 2048) == 1
    assert module.runs_of_a_channel(8, 1536, 2048) == 8
    assert module.runs_of_a_channel(1, 1536, 2048) == 32
    assert module.runs_of_a_channel(1, 1536, 1) == 1
    assert module.runs_of_a_channel(0, 1536, 0) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("states", [16, 38, 128])
@pytest.mark.parametrize("batch", [1, 8, 64])
def test_a_whole_layer(batch, states, dtype, device):
    inputs = scan_inputs(states, 515, dtype, batch=batch, channels=256)
    for name in ("u", "B", "C", "z"):
        inputs[name] = inputs[name].transpose(1, 2).contiguous().transpose(1, 2)
    check(inputs, device, delta_softplus=True)
