"""Choosing what runs a model's scans: the numbers stay, and so does every other model."""

import copy
import subprocess
import sys
from functools import cache

import perfmamba_kernels
import pytest
import torch
from perfmamba_kernels import KernelError
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    BambaConfig,
    FalconH1Config,
    FalconMambaConfig,
    GraniteMoeHybridConfig,
    JambaConfig,
    Mamba2Config,
    MambaConfig,
    NemotronHConfig,
    Zamba2Config,
)

from perfmamba.components import component_range
from perfmamba.errors import ModelError
from perfmamba.models import BACKENDS, annotate, load_model, running_packages, use_backend
from perfmamba.profiling.runs import cache_argument

TOKENS = torch.randint(0, 100, (3, 45), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(TOKENS)
MASK[0, :11] = MASK[2, :3] = 0  # padded on the left, as generation does it

SIZES = {"vocab_size": 100, "hidden_size": 32}
ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
SSD = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 2,
    "mamba_d_state": 7,
    "mamba_chunk_size": 16,
}
MAMBAS = {
    "mamba": MambaConfig(**SIZES, num_hidden_layers=2, state_size=5),
    "mamba2": Mamba2Config(
        **SIZES,
        num_hidden_layers=2,
        num_heads=4,
        head_dim=16,
        n_groups=2,
        state_size=7,
        chunk_size=16,
        time_step_limit=(0.0, 0.9),
    ),
}
HYBRIDS = {
    "bamba": BambaConfig(**SIZES, num_hidden_layers=2, attn_layer_indices=[1], **ATTENTION, **SSD),
    "falcon_h1": FalconH1Config(**SIZES, num_hidden_layers=2, mamba_d_ssm=64, **ATTENTION, **SSD),
    "falcon_mamba": FalconMambaConfig(**SIZES, num_hidden_layers=2, state_size=5),
    "granitemoehybrid": GraniteMoeHybridConfig(
        **SIZES,
        num_hidden_layers=2,
        layers_block_type=["linear_attention", "full_attention"],
        num_local_experts=2,
        num_experts_per_tok=1,
        shared_intermediate_size=32,
        **ATTENTION,
        **SSD,
    ),
    "jamba": JambaConfig(
        **SIZES,
        num_hidden_layers=2,
        num_experts=1,
        num_experts_per_tok=1,
        mamba_d_state=5,
        mamba_dt_rank=4,
        attn_layer_period=2,
        attn_layer_offset=1,
        **ATTENTION,
    ),
    "nemotron_h": NemotronHConfig(
        **SIZES,
        layers_block_type=["linear_attention", "full_attention"],
        head_dim=8,
        mamba_num_heads=4,
        mamba_head_dim=16,
        n_groups=2,
        ssm_state_size=7,
        chunk_size=16,
        **ATTENTION,
    ),
    "zamba2": Zamba2Config(
        **SIZES,
        num_hidden_layers=2,
        layers_block_type=["linear_attention", "hybrid"],
        mamba_ngroups=2,
        mamba_d_state=7,
        n_mamba_heads=4,
        mamba_headdim=16,
        mamba_expand=2,
        chunk_size=16,
        num_mem_blocks=1,
        adapter_rank=4,
        **(ATTENTION | {"num_key_value_heads": 4}),
    ),
}


@cache
def model_of(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config((MAMBAS | HYBRIDS)[name]).eval()


@pytest.fixture(params=MAMBAS)
def model(request):
    model = model_of(request.param)
    yield model
    use_backend(model, None)


@torch.inference_mode()
def outputs(model):
    """Logits of a padded batch and of a step after it, and what greedy generation adds to it."""
    batch = model(TOKENS, attention_mask=MASK, use_cache=True)
    step = model(TOKENS[:, :1], use_cache=True, **cache_argument(batch))
    generated = model.generate(
        TOKENS, attention_mask=MASK, max_new_tokens=5, do_sample=False, pad_token_id=0, eos_token_id=None
    )
    alone = model(TOKENS, attention_mask=MASK, use_cache=False).logits
    return batch.logits, step.logits, generated, alone


def close(one, other):
    # float32 sums in another order
    assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", [name for name, backend in BACKENDS.items() if not backend.needs])
def test_a_backend_gives_the_logits_of_transformers(model, backend):
    expected = outputs(model)
    use_backend(model, backend)
    close(outputs(model), expected)


@pytest.mark.parametrize("name", HYBRIDS)
def test_the_mamba_layers_of_other_families(name):
    model = model_of(name)
    expected = outputs(model)
    use_backend(model, "torch")
    close(outputs(model), expected)
    use_backend(model, None)


def test_narrow_weights(model):
    narrow = copy.deepcopy(model).to(torch.bfloat16)
    wide = outputs(model)[0]
    use_backend(narrow, "hf")
    theirs = (outputs(narrow)[0] - wide).abs().mean()
    use_backend(narrow, "torch")
    ours = (outputs(narrow)[0] - wide).abs().mean()
    assert ours <= 1.5 * theirs


def test_the_choice_can_be_taken_back(model):
    expected = outputs(model)
    use_backend(model, "torch")
    assert running_packages(model) == {
        "conv": "perfmamba_kernels (torch)",
        "ssm": "perfmamba_kernels (torch)",
    }
    changed = outputs(model)
    assert not changed[0].equal(expected[0])
    for choice in ("hf", None):
        use_backend(model, choice)
        assert running_packages(model) == {"conv": "torch", "ssm": "torch"}
        assert outputs(model)[0].equal(expected[0])


def test_other_models_keep_theirs(model):
    other = copy.deepcopy(model)
    expected = outputs(model)
    use_backend(other, "torch")
    assert outputs(model)[0].equal(expected[0])
    copied = copy.deepcopy(other)
    assert running_packages(copied)["ssm"] == "perfmamba_kernels (torch)"
    use_backend(copied, None)
    assert outputs(copied)[0].equal(expected[0])
    assert not outputs(other)[0].equal(expected[0])


def test_an_error_in_a_mixer_leaves_other_models_alone(model):
    broken, expected = copy.deepcopy(model), outputs(model)
    use_backend(broken, "torch")
    with pytest.raises(KernelError, match=r"no backward pass.*torch\.inference_mode"):
        broken(TOKENS)
    assert outputs(model)[0].equal(expected[0])


def test_it_is_seen_by_the_profiler(model):
    use_backend(model, "torch")
    with torch.inference_mode(), annotate(model), torch.profiler.profile() as profiler:
        model(TOKENS)
    names = {event.name for event in profiler.events()}
    assert {component_range(1, "conv"), component_range(1, "ssm")} <= names


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("cuda", "unknown backend 'cuda'; use one of hf, mamba_ssm, reference, torch, triton"),
        ("mamba_ssm", "on cpu transformers runs the scan by torch; a CUDA device"),
        ("triton", "backend triton cannot run this model: .* on cpu; use a CUDA device"),
    ],
)
def test_a_backend_that_cannot_run_is_said(monkeypatch, model, backend, message):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr("perfmamba_kernels.ops._is_installed", lambda _: True)
    with pytest.raises(ModelError, match=message):
        use_backend(model, backend)
    assert running_packages(model)["ssm"] == "torch"


def test_packed_sequences_are_refused():
    model = model_of("bamba")
    use_backend(model, "torch")
    with (
        pytest.raises(ModelError, match=r"takes no packed sequences from a model \(seq_idx\)"),
        torch.no_grad(),
    ):
        model(TOKENS, seq_idx=torch.zeros_like(TOKENS, dtype=torch.int32))
    use_backend(model, None)


def test_the_registry_names_every_backend_of_the_kernels():
    assert list(BACKENDS) == ["hf", "mamba_ssm", *perfmamba_kernels.BACKENDS]
    assert all(name == backend.name and backend.label for name, backend in BACKENDS.items())


def test_the_names_are_known_without_torch():
    script = """
import sys
from perfmamba.models import BACKENDS
print(*BACKENDS, "torch" in sys.modules, "transformers" in sys.modules)
"""
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == [*BACKENDS, "False", "False"]


def test_a_model_without_mamba_is_refused():
    with pytest.raises(ModelError, match="Linear has no Mamba mixer"):
        use_backend(torch.nn.Linear(2, 2), "torch")


def test_a_model_is_loaded_with_a_backend():
    loaded = load_model("mamba2-130m", layers=1, backend="torch")
    assert loaded.packages["ssm"] == "perfmamba_kernels (torch)"
