"""Replays against the pass that they come from: same inputs, same results, every component."""

import pytest
import torch

from perfmamba.components import COMPONENTS
from perfmamba.errors import ModelError
from perfmamba.models import component_map, component_replays
from tests.small_models import small_mamba1, small_mamba2


@pytest.fixture(params=[small_mamba1, small_mamba2], ids=["mamba1", "mamba2"])
def model(request):
    return request.param().eval()


def prefill(model):
    tokens = torch.arange(19)[None] % model.config.vocab_size
    with torch.inference_mode():
        return model(tokens)


def test_every_component_is_replayed(model):
    assert set(component_replays(model, lambda: prefill(model))) == set(COMPONENTS)


@pytest.mark.parametrize("layer", [0, 1])
def test_replays_give_what_the_pass_gave(model, layer):
    """Bitwise, twice, for the components that are modules, watched by hooks of the test's own."""
    mixer = component_map(model).mixers[layer]
    seen = {}
    hooks = [
        module.register_forward_hook(lambda _m, _a, out, c=component: seen.setdefault(c, []).append(out))
        for module, component in mixer.components
    ]
    replays = component_replays(model, lambda: prefill(model), layer=layer)
    for hook in hooks:
        hook.remove()
    assert set(seen) == {"norm", "in_proj", "out_proj"}
    with torch.inference_mode():
        for component, outputs in seen.items():
            for _ in range(2):
                torch.testing.assert_close(replays[component](), outputs, rtol=0, atol=0)


@pytest.mark.parametrize("component", ["conv", "ssm"])
def test_functions_replay_the_same_results_each_time(model, component):
    replay = component_replays(model, lambda: prefill(model))[component]
    with torch.inference_mode():
        torch.testing.assert_close(replay(), replay(), rtol=0, atol=0)


def test_the_scan_reaches_the_output(model):
    """The replayed scan is the model's own: changing D changes it."""
    replay = component_replays(model, lambda: prefill(model))["ssm"]
    with torch.inference_mode():
        before = replay()[0]
        before = (before[0] if isinstance(before, tuple) else before).clone()
        component_map(model).mixers[0].module.D.add_(1.0)
        after = replay()[0]
    after = after[0] if isinstance(after, tuple) else after
    assert not torch.equal(before, after)


def test_the_model_is_left_as_it_was(model):
    before = prefill(model).logits
    component_replays(model, lambda: prefill(model))
    torch.testing.assert_close(prefill(model).logits, before, rtol=0, atol=0)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_model_without_mixers_is_refused():
    with pytest.raises(ModelError, match="no Mamba mixer"):
        component_replays(torch.nn.Linear(2, 2), lambda: None)
