"""A bridged model is a transformers model like any: caches, generation, padding, backends, annotation."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from perfmamba.components import component_range
from perfmamba.models import annotate, component_map, running_packages, use_backend
from perfmamba.models.bridged import BridgedMamba2Config, BridgedMamba2ForCausalLM
from perfmamba.profiling.runs import cache_argument
from perfmamba.pruning.activity import gather_activity
from perfmamba.pruning.surgery import pruned
from tests.pruning.prunable import TOKENS, logits, mamba2, random_selection
from tests.small_models import cache_of

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(params=["lstsq", "balanced"])
def bridged(request):
    model = mamba2(dtype=torch.float32, bias=False)  # transformers projects padding, too, and adds the bias
    activity = gather_activity(model, [TOKENS])
    return pruned(model, random_selection(model, 3), bridge=request.param, activity=activity)


@pytest.mark.parametrize("backend", [None, "hf", "reference", "torch"])
def test_backends_agree_in_prefill_and_decode(bridged, backend):
    whole = logits(bridged, "reference")
    assert_close(logits(bridged, backend), whole, **CLOSE)
    with torch.inference_mode():
        first = bridged(TOKENS[:, :9], use_cache=True)
        assert_close(first.logits, whole[:, :9], **CLOSE)
        several = bridged(TOKENS[:, 9:14], **cache_argument(first), use_cache=True)
        assert_close(several.logits, whole[:, 9:14], **CLOSE)
        for t in range(14, TOKENS.shape[1]):
            one = bridged(TOKENS[:, t : t + 1], **cache_argument(first), use_cache=True)
            assert_close(one.logits[:, 0], whole[:, t], **CLOSE)


def test_our_backend_is_what_runs(bridged):
    use_backend(bridged, "torch")
    assert running_packages(bridged) == dict.fromkeys(("conv", "ssm"), "perfmamba_kernels (torch)")


def test_the_cached_state_is_small(bridged):
    with torch.inference_mode():
        cache = cache_of(bridged(TOKENS, use_cache=True))
    assert cache.layers[0].recurrent_states[0].shape == (2, 4, 16, 3)
    entries = 3 + 6 if bridged.config.bridge == "lstsq" else 6 + 6
    assert cache.layers[0].conv_states[0].shape == (2, 64 + 2 * entries, 4)


@pytest.mark.parametrize("backend", [None, "torch"])
def test_generation_takes_the_most_likely_token_of_each_whole_pass(bridged, backend):
    use_backend(bridged, backend)
    made = bridged.generate(TOKENS, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    expected = TOKENS
    for _ in range(6):
        last = logits(bridged, backend, expected)[:, -1].clone()
        last[:, bridged.config.eos_token_id] = -torch.inf
        expected = torch.cat([expected, last.argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(made, expected)


def test_padding_on_the_left_changes_nothing(bridged):
    padded = torch.cat([torch.ones(2, 5, dtype=torch.long), TOKENS], dim=1)
    mask = (torch.arange(26) >= 5).long().expand(2, -1)
    assert_close(logits(bridged, tokens=padded, attention_mask=mask)[:, 5:], logits(bridged), **CLOSE)


def test_saved_and_loaded_it_is_the_same(bridged, tmp_path):
    bridged.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(loaded, BridgedMamba2ForCausalLM)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), BridgedMamba2Config)
    assert loaded.config.bridge == bridged.config.bridge
    weights = loaded.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in bridged.state_dict().items())
    backbone = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(backbone(TOKENS).last_hidden_state, loaded.backbone(TOKENS).last_hidden_state)


def test_a_checkpoint_brings_its_code_for_those_without_perfmamba(bridged, tmp_path):
    bridged.save_pretrained(tmp_path / "out")
    script = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
tokens = model(torch.tensor([[5, 6, 7]])).logits.argmax(-1).tolist()
print(tokens, any("perfmamba" in name for name in sys.modules))
"""
    finished = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HOME": str(tmp_path)},
    )
    expected = logits(bridged, None, torch.tensor([[5, 6, 7]])).argmax(-1).tolist()
    assert finished.stdout.strip() == f"{expected} False"


def test_a_process_that_knows_nothing_of_pruning_loads_it_by_name(bridged, tmp_path):
    bridged.save_pretrained(tmp_path / "out")
    script = """
import sys
from perfmamba.models import load_model
print(type(load_model(sys.argv[1]).model).__name__)
"""
    command = [sys.executable, "-c", script, tmp_path / "out"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "BridgedMamba2ForCausalLM"


def test_a_new_model_starts_with_the_first_states(bridged):
    model = AutoModelForCausalLM.from_config(bridged.config)
    bridge = model.backbone.layers[1].mixer.bridge
    first = torch.eye(6, 3).expand(2, -1, -1)
    assert all(torch.equal(matrix, first) for matrix in bridge.parameters())
    assert model.backbone.layers[1].mixer.dt_bias.isfinite().all()


def test_annotated_it_computes_the_same_and_shows_its_components(bridged):
    components = component_map(bridged)
    assert components.generation == 2
    assert components.mixers[1].ssm_entry is bridged.backbone.layers[1].mixer.bridge
    plain = logits(bridged)
    with annotate(bridged), profile(activities=[ProfilerActivity.CPU]) as profiled:
        assert torch.equal(logits(bridged), plain)
    names = {event.key for event in profiled.key_averages()}
    assert {component_range(1, part) for part in ("norm", "in_proj", "conv", "ssm", "out_proj")} <= names


def test_it_can_be_trained_further(bridged):
    use_backend(bridged, None)
    bridged.train()
    bridged(TOKENS, labels=TOKENS).loss.backward()
    for name, weight in bridged.named_parameters():
        assert weight.grad.abs().max() > 0, name


def test_a_copy_in_bfloat16_runs(bridged):
    halved = copy.deepcopy(bridged).to(torch.bfloat16)
    assert_close(logits(halved).float(), logits(bridged), rtol=0.1, atol=0.5)
