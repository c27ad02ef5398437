import importlib.util
import subprocess
import sys
from collections import Counter

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from perfmamba.components import COMPONENTS, MODEL_RANGE, component_range, parse_component_range
from perfmamba.errors import ModelError
from perfmamba.models import annotate, component_map
from perfmamba.profiling.runs import cache_argument
from tests.small_models import small_mamba1, small_mamba2


def prefill_and_decode(model, tokens):
    with torch.inference_mode():
        prefill = model(tokens, use_cache=True)
        decode = model(tokens[:, :1], **cache_argument(prefill), use_cache=True)
    return prefill.logits, decode.logits


def recorded_ranges(run):
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    return [event for event in profiler.events() if event.name.startswith("perfmamba::")]


def hooks_of(model):
    return [hook for m in model.modules() for hook in (*m._forward_hooks, *m._forward_pre_hooks)]


def test_results_are_bitwise_equal(small_model, tokens):
    plain = prefill_and_decode(small_model, tokens)
    with annotate(small_model):
        annotated = prefill_and_decode(small_model, tokens)
    after = prefill_and_decode(small_model, tokens)
    for expected, *others in zip(plain, annotated, after, strict=True):
        assert all(torch.equal(expected, other) for other in others)


def test_every_component_of_every_layer_has_a_range(small_model, tokens):
    with annotate(small_model):
        ranges = recorded_ranges(lambda: prefill_and_decode(small_model, tokens))
    passes = 2
    gated_norm = hasattr(small_model.backbone.layers[0].mixer, "norm")
    expected = Counter({MODEL_RANGE: passes, component_range(-1, "norm"): passes})
    for layer in range(2):
        expected.update({component_range(layer, component): passes for component in COMPONENTS})
        expected[component_range(layer, "norm")] += passes * gated_norm
    assert Counter(event.name for event in ranges) == expected


def test_ranges_hold_the_work_of_their_component(small_model, tokens):
    with annotate(small_model), profile(activities=[ProfilerActivity.CPU]) as profiler:
        prefill_and_decode(small_model, tokens)
    assert nearest_components(profiler.events(), "aten::convolution") == {"conv"}
    assert nearest_components(profiler.events(), "aten::softplus") == {"ssm"}
    assert nearest_components(profiler.events(), "aten::exp") >= {"ssm"}
    assert nearest_components(profiler.events(), "aten::rsqrt") == {"norm"}
    assert {"in_proj", "out_proj"} <= nearest_components(profiler.events(), "aten::linear")
    assert nearest_components(profiler.events(), "aten::embedding") == {None}


def nearest_components(events, op):
    """The component of the innermost range above each call of an op; None where there is only the model's."""
    found = set()
    for event in events:
        if event.name != op:
            continue
        above = event
        while not above.name.startswith("perfmamba::"):
            above = above.cpu_parent
        place = parse_component_range(above.name)
        found.add(place and place.component)
    return found


def test_mamba1_time_step_projection_is_part_of_the_scan(tokens):
    model = small_mamba1()
    with annotate(model), profile(activities=[ProfilerActivity.CPU]) as profiler:
        prefill_and_decode(model, tokens)
    # x_proj and the product with dt_proj.weight come between the conv and the scan
    assert "ssm" in nearest_components(profiler.events(), "aten::linear")
    assert nearest_components(profiler.events(), "aten::matmul") == {"in_proj", "ssm", "out_proj", None}


def test_generate_is_unchanged_and_annotated(small_model, tokens):
    def generate():
        return small_model.generate(tokens, max_new_tokens=4, do_sample=False, pad_token_id=0)

    plain = generate()
    with annotate(small_model):
        ranges = recorded_ranges(generate)
        annotated = generate()
    assert torch.equal(plain, annotated)
    assert Counter(event.name for event in ranges)[component_range(1, "ssm")] == 4


def test_nothing_is_left_behind(small_model, tokens):
    with annotate(small_model):
        assert hooks_of(small_model)
    assert not hooks_of(small_model)
    assert not recorded_ranges(lambda: prefill_and_decode(small_model, tokens))


def test_an_error_inside_a_mixer_closes_its_ranges(small_model, tokens):
    mixer = small_model.backbone.layers[0].mixer
    kept = mixer.conv1d.weight.data
    with annotate(small_model):
        mixer.conv1d.weight.data = kept[:3]
        with pytest.raises(RuntimeError):
            prefill_and_decode(small_model, tokens)
        mixer.conv1d.weight.data = kept
        ranges = recorded_ranges(lambda: prefill_and_decode(small_model, tokens))
    models = [event for event in ranges if event.name == MODEL_RANGE]
    assert len(models) == 2
    assert all(parent.cpu_parent is None for parent in models)


def test_only_the_annotated_model_emits(tokens):
    annotated, other = small_mamba2(), small_mamba2()
    with annotate(annotated):
        assert not recorded_ranges(lambda: prefill_and_decode(other, tokens))


def test_annotations_of_two_models_do_not_mix(tokens):
    first, second = small_mamba1(1), small_mamba2(2)
    with annotate(first), annotate(second):
        ranges = recorded_ranges(lambda: prefill_and_decode(first, tokens))
    assert {event.name for event in ranges} == {
        MODEL_RANGE,
        component_range(-1, "norm"),
        *(component_range(0, component) for component in COMPONENTS),
    }


def test_a_model_without_mixers_is_refused():
    with pytest.raises(ModelError, match="Linear has no Mamba mixer"):
        component_map(torch.nn.Linear(2, 2))


WITH_MAMBA_SSM = """
import sys, types
import torch
sys.modules["selective_scan_cuda"] = types.ModuleType("selective_scan_cuda")
import mamba_ssm
from perfmamba.models import annotate, component_map, load_model
from perfmamba.models.mixers import backend_packages
tokens = torch.arange(12).reshape(2, 6)
for name in ("mamba-130m", "mamba2-130m"):
    loaded = load_model(name, layers=1)
    assert loaded.packages["ssm"] == "torch"
    packages = backend_packages(component_map(loaded.model), torch.device("cuda"))
    assert packages["ssm"] == "mamba_ssm", packages
    model = loaded.model
    with torch.inference_mode():
        plain = model(tokens, use_cache=True)
        name = "cache" if "cache" in plain else "cache_params"  # before transformers 5.24
        step = model(tokens[:, :1], **{name: plain[name]}, use_cache=True)
        with annotate(model):
            annotated = model(tokens, use_cache=True)
            annotated_step = model(tokens[:, :1], **{name: annotated[name]}, use_cache=True)
    assert torch.equal(plain.logits, annotated.logits)
    assert torch.equal(step.logits, annotated_step.logits)
"""


@pytest.mark.skipif(not importlib.util.find_spec("mamba_ssm"), reason="mamba-ssm is not installed")
def test_models_run_on_a_cpu_with_mamba_ssm_installed():
    # transformers would call CUDA kernels; a process of its own, because it chooses once, at import
    subprocess.run([sys.executable, "-c", WITH_MAMBA_SSM], check=True, timeout=300)
