"""Who is asked, and that all compute the same."""

import inspect
import sys
from dataclasses import replace
from importlib import import_module
from types import ModuleType

import pytest
import torch

from benchmarks.kernel_table import contenders
from benchmarks.kernel_table.measuring import Checked
from benchmarks.kernel_table.registry import OPERATIONS
from tests.benchmarks.kernel_table.small_cases import SMALL, SSD, each_operation, outcomes


@each_operation
def test_transformers_and_ours_agree_with_the_reference(case):
    found = outcomes(case, contenders.contenders(case, "cpu"))
    assert list(found) == ["hf", "torch"]
    assert all(isinstance(outcome, Checked) and outcome.error < 1e-5 for outcome in found.values()), found


OFFICIAL = {
    "mamba_ssm.ops.triton.ssd_combined": {"mamba_chunk_scan_combined": ("mamba2", "mamba2_chunk_scan")},
    "mamba_ssm.ops.triton.selective_state_update": {
        "selective_state_update": ("mamba2", "mamba2_selective_state_update")
    },
    "mamba_ssm.ops.selective_scan_interface": {"selective_scan_fn": ("mamba", "mamba_selective_scan")},
    "causal_conv1d": {
        "causal_conv1d_fn": ("mamba2", "causal_conv1d_fn"),
        "causal_conv1d_update": ("mamba2", "causal_conv1d_update"),
    },
}


def stand_in(name, module, function):
    """What transformers runs instead of an official kernel; most of its arguments have the same names."""
    plain = inspect.unwrap(
        getattr(import_module(f"transformers.models.{module}.modeling_{module}"), function)
    )

    def scan(u, delta, *others, **options):
        return plain(u, delta, *others, **options)

    def step(x, *others, **options):  # of (b, c), not (b, c, 1)
        return plain(x[..., None], *others, **options)[..., 0]

    return {"selective_scan_fn": scan, "causal_conv1d_update": step}.get(name, plain)


def maker_of(contender, case):
    return OPERATIONS[case.operation].contenders[contender].make


@pytest.fixture
def official(monkeypatch):
    """Stand-ins for the official packages, in their modules, under their names."""
    for path, functions in OFFICIAL.items():
        module = ModuleType(path)
        for name, (source, function) in functions.items():
            setattr(module, name, stand_in(name, source, function))
        monkeypatch.setitem(sys.modules, path, module)


@pytest.mark.usefixtures("official")
@pytest.mark.parametrize("case", [case for case in SMALL if case.operation != "selective_state_update"])
def test_the_official_kernels_get_what_they_ask_for(case):
    found = outcomes(case, {"mamba_ssm": maker_of("mamba_ssm", case)})
    assert isinstance(found["mamba_ssm"], Checked), found


def test_the_official_step_of_mamba1_gets_what_it_asks_for(monkeypatch):
    module = ModuleType("stub")
    module.selective_state_update = stand_in("", "mamba", "mamba_selective_state_update")
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.triton.selective_state_update", module)
    found = outcomes(SMALL[3], {"mamba_ssm": maker_of("mamba_ssm", SMALL[3])})
    assert isinstance(found["mamba_ssm"], Checked), found


def simple_gla(q, k, v, g, *, scale, output_final_state):
    """What flash-linear-attention documents: o = scale q S after S = exp(g) S + k v^T; q, k (b, l, h, n)."""
    assert output_final_state
    state = q.new_zeros(len(q), q.shape[2], k.shape[3], v.shape[3])
    outputs = []
    for t in range(q.shape[1]):
        state = g[:, t].exp()[..., None, None] * state + k[:, t, :, :, None] * v[:, t, :, None]
        outputs.append(torch.einsum("bhn,bhnp->bhp", scale * q[:, t], state))
    return torch.stack(outputs, dim=1), state


def test_linear_attention_computes_ssd(monkeypatch):
    module = ModuleType("stub")
    module.chunk_simple_gla = simple_gla
    monkeypatch.setitem(sys.modules, "fla.ops.simple_gla", module)
    found = outcomes(SSD, {"fla": maker_of("fla", SSD)})
    assert isinstance(found["fla"], Checked), found


def test_what_is_not_installed_is_not_asked(monkeypatch):
    found = {"transformers": "a spec", "causal_conv1d": "a spec"}
    monkeypatch.setattr(contenders, "find_spec", found.get)
    assert contenders.missing_packages() == ["mamba_ssm", "fla"]
    assert list(contenders.contenders(replace(SSD, dtype="bfloat16"), "cuda")) == ["hf", "torch", "triton"]
    conv = contenders.contenders(SMALL[4], "cuda")
    assert list(conv) == ["mamba_ssm", "hf", "torch", "triton"]


def test_loops_in_python_are_spared_what_would_take_minutes_or_gigabytes():
    long = replace(SMALL[2], seqlen=16384)
    assert "hf" not in contenders.contenders(long, "cuda")
    assert "hf" in contenders.contenders(replace(SSD, batch=8, seqlen=8192), "cuda")
    assert not {"hf", "torch"} & set(contenders.contenders(replace(SSD, batch=8, seqlen=16384), "cuda"))
    assert "torch" in contenders.contenders(replace(SSD, batch=8, seqlen=2048), "cuda")
