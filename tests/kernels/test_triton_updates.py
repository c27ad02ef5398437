"""Triton's decode steps against the float64 reference, and against mamba_ssm's own kernel."""

import importlib.util

import pytest
import torch
from perfmamba_kernels import reference, triton_backend

from tests.kernels.inputs import normal, scan_inputs, ssd_inputs

STATES = [1, 2, 7, 12, 13, 16, 38, 64, 89, 115, 128, 256]
F32 = torch.float32

# Of the largest element: sums of 256 products in float32, and one rounding of each result to its dtype (the
# interpreter cuts bfloat16 off where a GPU rounds).
TOLERANCE = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}

pytestmark = pytest.mark.usefixtures("poisoned")


def ssd_step(states, dtype=F32, *, head_dim=6, batch=2):
    """The state and the arguments of `ssd_update` for 4 heads in 2 groups."""
    inputs = ssd_inputs(states, 1, 2, dtype, batch=batch, heads=4, head_dim=head_dim)
    arguments = {name: value[:, 0] if value.dim() > 1 else value for name, value in inputs.items()}
    return normal(batch, 4, head_dim, states, seed=9, dtype=dtype), arguments


def selective_step(states, dtype=F32, *, channels=20, batch=2):
    """The state and the arguments of `selective_state_update`."""
    inputs = scan_inputs(states, 1, dtype, batch=batch, channels=channels)
    arguments = {name: value[..., 0] if value.dim() > 2 else value for name, value in inputs.items()}
    for name, step_name in (("u", "x"), ("delta", "dt"), ("delta_bias", "dt_bias")):
        arguments[step_name] = arguments.pop(name)
    return normal(batch, channels, states, seed=9, dtype=dtype), arguments


def wide(value):
    return value.to("cpu", torch.float64) if isinstance(value, torch.Tensor) else value


def moved(value, device):
    return value.to(device) if isinstance(value, torch.Tensor) else value


def assert_near(actual, expected, dtype):
    limit = TOLERANCE[dtype] * expected.abs().max()
    torch.testing.assert_close(wide(actual), expected, rtol=0, atol=limit.item())


def check(name, state, arguments, device, **options):
    """One step by both; y and the new state are near the reference's."""
    expected_state = wide(state)
    expected = getattr(reference, name)(
        expected_state, **{key: wide(value) for key, value in arguments.items()}, **options
    )
    state = moved(state, device)
    arguments = {key: moved(value, device) for key, value in arguments.items()}
    y = getattr(triton_backend, name)(state, **arguments, **options)
    assert y.dtype == arguments["x"].dtype
    assert_near(y, expected, y.dtype)
    assert_near(state, expected_state, state.dtype)


@pytest.mark.parametrize("states", STATES)
def test_ssd_step_is_the_references(states, device):
    check("ssd_update", *ssd_step(states), device, dt_softplus=True)


@pytest.mark.parametrize("states", STATES)
def test_selective_step_is_the_references(states, device):
    check("selective_state_update", *selective_step(states), device, dt_softplus=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wide_state", [True, False])
@pytest.mark.parametrize("states", [13, 64])
def test_steps_in_16_bits(states, wide_state, dtype, device):
    for name, make in (("ssd_update", ssd_step), ("selective_state_update", selective_step)):
        state, arguments = make(states, dtype)
        check(name, state.float() if wide_state else state, arguments, device, dt_softplus=True)


@pytest.mark.parametrize("absent", ["D", "z", "dt_bias"])
def test_steps_without_an_argument(absent, device):
    for name, make in (("ssd_update", ssd_step), ("selective_state_update", selective_step)):
        state, arguments = make(7)
        check(name, state, {**arguments, absent: None}, device)


def test_ssd_step_size_is_limited(device):
    check("ssd_update", *ssd_step(7), device, dt_softplus=True, dt_limit=(0.5, 0.9))
    check("ssd_update", *ssd_step(7), device, dt_softplus=False)  # steps below zero become zero


def test_selective_step_size_may_be_negative(device):
    check("selective_state_update", *selective_step(7), device, dt_softplus=False)


def test_a_step_size_from_far_below_zero_keeps_its_digits(device):
    for name, make in (("ssd_update", ssd_step), ("selective_state_update", selective_step)):
        state, arguments = make(7)
        arguments |= {"dt": arguments["dt"] - 20, "D": None}
        check(name, torch.zeros_like(state), arguments, device, dt_softplus=True)


def test_steps_take_any_strides(device):
    for name, make in (("ssd_update", ssd_step), ("selective_state_update", selective_step)):
        state, arguments = make(13)
        apart = {key: torch.stack([value, value], dim=-1)[..., 0] for key, value in arguments.items()}
        assert not apart["x"].is_contiguous()
        check(name, state.transpose(-1, -2).contiguous().transpose(-1, -2), apart, device, dt_softplus=True)


def test_a_state_that_is_a_view_keeps_what_is_around_it(device):
    state, arguments = ssd_step(13)
    around = torch.full((2, 4, 6, 20), 5.0)
    around[..., 3:16] = state
    check("ssd_update", around[..., 3:16], arguments, device, dt_softplus=True)
    held = around.to(device)
    triton_backend.ssd_update(held[..., 3:16], **{key: moved(v, device) for key, v in arguments.items()})
    assert (held[..., :3] == 5).all()
    assert (held[..., 16:] == 5).all()


def test_steps_of_a_batch_of_none(device):
    for name, make in (("ssd_update", ssd_step), ("selective_state_update", selective_step)):
        state, arguments = make(7, batch=0)
        arguments = {key: moved(value, device) for key, value in arguments.items()}
        y = getattr(triton_backend, name)(moved(state, device), **arguments)
        assert y.shape == arguments["x"].shape


@pytest.mark.gpu
@pytest.mark.parametrize("states", [16, 38, 89, 128])
@pytest.mark.parametrize("batch", [1, 64, 1024])
def test_steps_of_whole_layers(batch, states, device):
    check("ssd_update", *ssd_step(states, torch.bfloat16, head_dim=64, batch=batch), device, dt_softplus=True)
    step = selective_step(states, torch.bfloat16, channels=1536, batch=batch)
    check("selective_state_update", *step, device, dt_softplus=True)


OFFICIAL = """
import sys, types
sys.modules.setdefault("selective_scan_cuda", types.ModuleType("selective_scan_cuda"))
import contextlib, torch
torch.cuda.device = lambda *_: contextlib.nullcontext()
from mamba_ssm.ops.triton.selective_state_update import selective_state_update as official
from perfmamba_kernels import triton_backend
from tests.kernels.test_triton_updates import selective_step, ssd_step

for states in (13, 64):
    state, arguments = selective_step(states)
    theirs = state.clone()
    expected = official(theirs, **arguments, dt_softplus=True)
    y = triton_backend.selective_state_update(state, **arguments, dt_softplus=True)
    torch.testing.assert_close((y, state), (expected, theirs), rtol=1e-5, atol=1e-5)

    state, a = ssd_step(states)
    theirs = state.clone()
    heads = {name: a[name][..., None].expand(*a[name].shape, 6) for name in ("dt", "D", "dt_bias")}
    heads["A"] = a["A"][:, None, None].expand(-1, 6, states)
    expected = official(theirs, **{**a, **heads}, dt_softplus=True)
    y = triton_backend.ssd_update(state, **a, dt_softplus=True)
    torch.testing.assert_close((y, state), (expected, theirs), rtol=1e-5, atol=1e-5)
print("equal")
"""


@pytest.mark.skipif(importlib.util.find_spec("mamba_ssm") is None, reason="mamba_ssm is not installed")
def test_steps_are_mamba_ssms(python):
    assert python(OFFICIAL, TRITON_INTERPRET="1").strip() == "equal"
