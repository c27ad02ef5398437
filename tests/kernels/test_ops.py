"""The operations by name: which backend computes them, and what wrong input is told."""

import pytest
import torch
from perfmamba_kernels import (
    BACKENDS,
    KernelError,
    causal_conv1d,
    causal_conv1d_update,
    compile_table,
    ops,
    reference,
    selective_scan,
    selective_state_update,
    ssd,
    ssd_update,
    torch_backend,
)

from tests.kernels.inputs import conv_inputs, normal, scan_inputs, ssd_inputs

STATE = normal(2, 6, 4, 7, seed=8)


def ssd_step(**changed):
    inputs = ssd_inputs(7, 1) | changed
    return {
        name: value[:, 0] if name in {"x", "dt", "B", "C", "z"} else value for name, value in inputs.items()
    }


def scan_step():
    u, delta, a, b, c, d, z, bias = scan_inputs(7, 1).values()
    return (u[..., 0], delta[..., 0], a, b[..., 0], c[..., 0], d, z[..., 0], bias)


CALLS = {
    "causal_conv1d": lambda **options: causal_conv1d(**conv_inputs(5, 4, 9), **options),
    "causal_conv1d_update": lambda **options: causal_conv1d_update(
        normal(2, 5, seed=0), normal(2, 5, 4, seed=1), normal(5, 4, seed=2), activation="silu", **options
    ),
    "selective_scan": lambda **options: selective_scan(
        **scan_inputs(7, 40), delta_softplus=True, initial_state=normal(2, 6, 7, seed=9), **options
    ),
    "selective_state_update": lambda **options: selective_state_update(
        normal(2, 6, 7, seed=9), *scan_step(), dt_softplus=True, **options
    ),
    "ssd": lambda **options: ssd(
        **ssd_inputs(7, 40), dt_softplus=True, dt_limit=(0.1, 0.4), initial_states=STATE, **options
    ),
    "packed ssd": lambda **options: ssd(
        **ssd_inputs(7, 40, batch=1), cu_seqlens=torch.tensor([0, 10, 40]), initial_states=STATE, **options
    ),
    "ssd_update": lambda **options: ssd_update(
        STATE.clone(), **ssd_step(), dt_softplus=True, dt_limit=(0.1, 0.4), **options
    ),
}


@pytest.mark.parametrize("operation", CALLS)
def test_backends_agree(operation):
    expected = CALLS[operation](backend="reference")
    for backend in ("torch", None):
        for one, other in zip(CALLS[operation](backend=backend), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_a_processor_takes_the_torch_backend_even_where_triton_could_interpret(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    taken = []
    monkeypatch.setattr(ops, "_function", lambda _, backend: taken.append(backend) or reference.ssd)
    ssd(**ssd_inputs(7, 3, dtype=torch.float32))
    assert taken == ["torch"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"B": normal(2, 9, 2, 8, seed=0)},
            r"ssd: C is \(2, 9, 1, 7\) but must be \(b, l, g, n\) with b = 2",
        ),
        ({"A": normal(5, seed=0)}, r"ssd: A is \(5,\) but must be \(h\) with h = 6"),
        ({"x": normal(2, 9, 24, seed=0)}, r"ssd: x is \(2, 9, 24\) but must be \(b, l, h, p\)"),
        ({"D": torch.ones(6, dtype=torch.int64)}, "ssd: D is torch.int64 but must be floating-point"),
        ({"D": torch.ones(6, device="meta")}, "ssd: D is on meta, other tensors on cpu"),
        ({"B": normal(2, 9, 4, 7, seed=0), "C": normal(2, 9, 4, 7, seed=0)}, "6 heads cannot share 4 groups"),
        ({"initial_states": normal(3, 6, 4, 7, seed=0)}, "3 initial states for 2 sequences"),
        ({"cu_seqlens": torch.tensor([0, 9])}, "with cu_seqlens the batch must be 1, not 2"),
        ({"cu_seqlens": torch.tensor([0.0, 9.0])}, r"must be \(sequences \+ 1,\) int32 or int64 on cpu"),
        ({"backend": "cuda"}, "unknown backend 'cuda'; use one of reference, torch, triton"),
        ({"D": torch.ones(6, requires_grad=True)}, "no backward pass, but D requires a gradient"),
    ],
)
def test_wrong_input_is_one_error(changed, message):
    with pytest.raises(KernelError, match=message):
        ssd(**(ssd_inputs(7, 9) | changed))


@pytest.mark.parametrize("bounds", [[0, 5], [1, 9], [0, 7, 3, 9]])
def test_packed_sequences_fill_the_batch(bounds):
    with pytest.raises(KernelError, match="must ascend from 0 to the length 9"):
        ssd(**ssd_inputs(7, 9, batch=1), cu_seqlens=torch.tensor(bounds))


@pytest.mark.parametrize("size", [2, 4])
def test_a_conv_takes_the_inputs_that_its_taps_look_back_to(size):
    conv = conv_inputs(5, 4, 9)
    with pytest.raises(KernelError, match=rf"initial_states is \(2, 5, {size}\) but must be \(b, c, k-1\)"):
        causal_conv1d(**conv, initial_states=normal(2, 5, size, seed=0))


def test_a_conv_state_is_long_enough():
    with pytest.raises(KernelError, match="conv_state holds 2 inputs, fewer than the 3"):
        causal_conv1d_update(normal(2, 5, seed=0), normal(2, 5, 2, seed=1), normal(5, 4, seed=2))


def test_a_step_has_the_shape_of_its_state():
    with pytest.raises(KernelError, match=r"ssd_update: state is \(2, 6, 4, 7\) but must be .* n = 8"):
        ssd_update(STATE.clone(), **ssd_step(B=normal(2, 1, 1, 8, seed=0), C=normal(2, 1, 1, 8, seed=0)))


@pytest.mark.parametrize(
    ("dtype", "states", "interpreted", "reason"),
    [
        (torch.float32, 7, "0", "it is on cpu; use a CUDA device"),
        (torch.float64, 7, "1", "torch.float64 is none of torch.float32"),
        (torch.float32, 257, "1", "257 states are more than 256"),
    ],
)
def test_what_triton_cannot_compute_is_said(monkeypatch, dtype, states, interpreted, reason):
    monkeypatch.setenv("TRITON_INTERPRET", interpreted)
    monkeypatch.setattr(ops, "_is_installed", lambda _: True)
    with pytest.raises(KernelError, match=f"backend triton cannot compute this: {reason}"):
        ssd(**ssd_inputs(states, 3, dtype=dtype), backend="triton")


def test_a_missing_triton_is_said(monkeypatch):
    monkeypatch.setattr(ops, "_is_installed", lambda _: False)
    with pytest.raises(KernelError, match="the package triton is not installed"):
        ssd(**ssd_inputs(7, 3), backend="triton")


def test_the_compile_table_wants_triton(monkeypatch, capsys):
    monkeypatch.setattr(compile_table, "find_spec", lambda _: None)
    assert compile_table.main() == 2
    assert "pip install 'perfmamba[triton]'" in capsys.readouterr().err


def test_every_backend_has_every_operation():
    assert BACKENDS == ("reference", "torch", "triton")
    for operation in {name.removeprefix("packed ") for name in CALLS}:
        assert callable(getattr(reference, operation))
        assert callable(getattr(torch_backend, operation))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_activation_that_is_not_supported_is_refused_by_every_backend(backend, device, monkeypatch):
    if device == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    shapes = ((2, 5, 9), (2, 5, 4), (5, 4))
    x, state, weight = (normal(*shape, seed=0).to(device, torch.float32) for shape in shapes)
    before = state.clone()
    with pytest.raises(KernelError, match="causal_conv1d: activation 'relu' is not supported; use 'silu'"):
        causal_conv1d(x, weight, activation="relu", backend=backend)
    with pytest.raises(KernelError, match="causal_conv1d_update: activation 'relu' is not supported"):
        causal_conv1d_update(x[:, :, 0], state, weight, activation="relu", backend=backend)
    assert torch.equal(state, before)
