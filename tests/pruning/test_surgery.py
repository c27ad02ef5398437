"""Surgery is exact: a smaller model computes what the dense one would with its states silenced or mixed."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, FalconMambaConfig, GPT2Config

from perfmamba.errors import InputError, ModelError
from perfmamba.models import component_map, use_backend
from perfmamba.pruning.activity import gather_activity
from perfmamba.pruning.bridge import projections
from perfmamba.pruning.scores import scores_without_data
from perfmamba.pruning.selection import Selection
from perfmamba.pruning.surgery import masked, pruned, state_sizes
from tests.pruning.prunable import (
    HYBRIDS,
    TOKENS,
    hybrid,
    logits,
    logits_reading_through,
    mamba1,
    mamba2,
    random_selection,
    scan_outputs,
)
from tests.small_models import cache_of

EXACT = {"rtol": 0, "atol": 1e-12}
NORMS = {"rtol": 0, "atol": 1e-6}
"""transformers' norms are in float32 whatever the model: what differs by 1e-16 may round apart in them."""


@pytest.fixture(params=[mamba1, mamba2], ids=["mamba1", "mamba2"])
def model(request):
    return request.param()


@cache
def activity_of(make):
    return gather_activity(make(), [TOKENS])


def test_pruned_and_masked_agree(model):
    selection = random_selection(model, 3)
    cut, zeroed = pruned(model, selection), masked(model, selection)
    assert state_sizes(cut) == (2, 3)
    assert state_sizes(zeroed) == (2, 6)
    assert_close(logits(cut), logits(zeroed), **EXACT)
    assert_close(logits(cut, "reference"), logits(zeroed, "reference"), **EXACT)
    assert (logits(cut) - logits(model)).abs().max() > 1e-2


@settings(deadline=None, max_examples=40)
@given(data=st.data(), make=st.sampled_from([mamba1, mamba2]), states=st.integers(1, 9))
def test_scans_of_any_selection_agree(data, make, states):
    groups = {"groups": data.draw(st.sampled_from([1, 2, 4]))} if make is mamba2 else {}
    model = make(states=states, layers=1, **groups)
    kept = data.draw(st.integers(1, states))
    selection = random_selection(model, kept, seed=data.draw(st.integers(0, 9)))
    (of_cut,), (of_zeroed,) = scan_outputs(pruned(model, selection)), scan_outputs(masked(model, selection))
    assert_close(of_cut, of_zeroed, **EXACT)


def one_group():
    return mamba2(groups=1)


@pytest.mark.parametrize(
    ("make", "bridge"),
    [
        (mamba1, "none"),
        (mamba1, "lstsq"),
        *((make, bridge) for make in (one_group, mamba2) for bridge in ("none", "lstsq", "balanced")),
    ],
)
def test_a_pruned_model_computes_what_the_dense_one_would_through_the_bridge(make, bridge, monkeypatch):
    model = make()
    selection = random_selection(model, 3)
    made = projections(selection, bridge, activity_of(make))
    cut = pruned(model, selection, bridge=bridge, activity=activity_of(make))
    through = logits_reading_through(model, [each.b @ each.c.mT for each in made], monkeypatch)
    assert state_sizes(cut) == (2, 3)
    assert_close(logits(cut), through, **NORMS)
    assert (through - logits(model)).abs().max() > 1e-3


@pytest.mark.parametrize("bridge", ["lstsq", "balanced"])
def test_as_many_states_as_before_change_nothing(bridge):
    model = mamba2()
    everything = random_selection(model, 6)
    cut = pruned(model, everything, bridge=bridge, activity=activity_of(mamba2))
    assert_close(logits(cut), logits(model), **NORMS)


def test_transformers_runs_both_by_itself(model):
    model = model.float()
    selection = random_selection(model, 2)
    cut, zeroed = pruned(model, selection), masked(model, selection)
    assert type(cut) is type(zeroed) is type(model)
    assert_close(logits(cut, None), logits(zeroed, None), rtol=1e-4, atol=1e-5)


def test_masked_states_are_cached_as_zero(model):
    selection = random_selection(model, 4)
    cut, zeroed = pruned(model, selection), masked(model, selection)
    caches = []
    for made in (cut, zeroed):
        use_backend(made, "torch")
        with torch.inference_mode():
            caches.append(cache_of(made(TOKENS, use_cache=True)))
    for layer, kept in enumerate(selection.kept):
        small, whole = (cache.layers[layer].recurrent_states[0] for cache in caches)
        rows = kept.repeat_interleave(whole.shape[1] // len(kept), 0)[:, None].expand(-1, whole.shape[2], -1)
        rows = rows.expand(len(whole), -1, -1, -1) if whole.ndim == 4 else kept.expand(*whole.shape[:2], -1)
        assert_close(whole.gather(-1, rows), small, rtol=1e-6, atol=1e-6)
        assert whole.scatter(-1, rows, 0).count_nonzero() == 0
        assert small.abs().min() > 0


@pytest.mark.parametrize("take_out", [pruned, masked])
def test_the_given_model_stays_as_it_is(model, take_out):
    before, sizes = copy.deepcopy(model.state_dict()), state_sizes(model)
    made = take_out(model, random_selection(model, 2))
    with torch.no_grad():
        for weight in made.parameters():
            weight.zero_()
    assert state_sizes(model) == sizes
    assert model.config.state_size == 6
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_what_is_not_a_weight_is_kept():
    model = mamba2().train()
    model.generation_config.max_new_tokens = 7
    cut = pruned(model, random_selection(model, 2))
    assert cut.training
    assert cut.generation_config.max_new_tokens == 7
    assert cut.config.state_size == 2
    assert cut.lm_head.weight is cut.backbone.embeddings.weight
    assert all(weight.requires_grad for weight in cut.parameters())


@pytest.mark.parametrize("kind", HYBRIDS)
def test_hybrids_are_pruned_in_their_mamba_layers(kind):
    model = hybrid(kind)
    selection = random_selection(model, 3)
    cut, zeroed = pruned(model, selection), masked(model, selection)
    assert state_sizes(cut) == (1, 3)
    assert_close(logits(cut), logits(zeroed), rtol=1e-4, atol=1e-4)
    with torch.inference_mode():
        assert cut.generate(TOKENS, max_new_tokens=3, min_new_tokens=3).shape == (2, 24)


def test_a_model_without_states_is_refused():
    model = AutoModelForCausalLM.from_config(GPT2Config(n_embd=8, n_head=2, n_layer=1, vocab_size=9))
    with pytest.raises(ModelError, match="no Mamba mixer"):
        pruned(model, random_selection(mamba1(), 2))


def test_normalised_states_are_refused():
    config = FalconMambaConfig(vocab_size=40, hidden_size=32, num_hidden_layers=1, state_size=5)
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ModelError, match="falcon_mamba"):
        masked(model, random_selection(model, 2))


def test_weights_that_are_not_finite_are_refused_by_name(model):
    selection = random_selection(model, 2)
    component_map(model).mixers[1].module.D.data[3] = float("nan")
    for take_out in (pruned, masked):
        with pytest.raises(ModelError, match=r"layers\.1\.mixer\.D"):
            take_out(model, selection)


def changed(selection, **changes):
    return Selection(**{**vars(selection), **changes})


def test_selections_of_other_models_are_refused(model):
    selection = random_selection(model, 2)
    first, second = selection.kept
    for reason, wrong in {
        "layers": changed(selection, kept=(first,)),
        "of 8 states": changed(selection, states=8),
        "groups": changed(selection, kept=(first, second.repeat(3, 1))),
        "same number": changed(selection, kept=(first, second[:, :1])),
        "ascending": changed(selection, kept=(first, second.flip(1))),
        "outside": changed(selection, kept=(first, second + 6)),
    }.items():
        with pytest.raises(InputError, match=reason):
            pruned(model, wrong)


def test_states_of_mamba1_are_not_mixed():
    model = mamba1()
    with pytest.raises(ModelError, match="use lstsq"):
        pruned(model, random_selection(model, 2), bridge="balanced", activity=activity_of(mamba1))


@pytest.mark.parametrize("bridge", ["lstsq", "balanced"])
def test_a_model_with_a_bridge_is_neither_measured_nor_pruned_again(bridge):
    model = mamba2()
    selection = random_selection(model, 2)
    cut = pruned(model, selection, bridge=bridge, activity=activity_of(mamba2))
    for attempt in (
        lambda: pruned(cut, selection),
        lambda: masked(cut, selection),
        lambda: gather_activity(cut, [TOKENS]),
        lambda: scores_without_data(cut, "magnitude"),
    ):
        with pytest.raises(ModelError, match="BridgedMamba2ForCausalLM is pruned already, with a bridge"):
            attempt()


def test_a_pruned_model_without_a_bridge_is_pruned_again(model):
    first = random_selection(model, 4)
    once = pruned(model, first)
    second = random_selection(once, 2)
    kept = tuple(states.gather(1, of_those) for states, of_those in zip(first.kept, second.kept, strict=True))
    at_once = pruned(model, replace(first, kept=kept))
    assert_close(logits(pruned(once, second)), logits(at_once), rtol=0, atol=0)
