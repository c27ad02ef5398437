"""The workload of the model suites, on models small enough for a test."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import perfmamba.components
from benchmarks import components, latency, pruning, workload
from perfmamba.models import published_config
from tests.small_models import small_mamba1, small_mamba2

ROOT = Path(__file__).parents[2]

ON_A_COMMIT_WITHOUT_MODELS = """
from benchmarks.components import ComponentCost, ComponentLatency
from benchmarks.latency import Latency, PeakMemory
from benchmarks.pruning import StateSize

costs = ComponentCost().setup_cache()
suites = [(Latency, ()), (PeakMemory, ()), (ComponentLatency, ()), (ComponentCost, (costs,)), (StateSize, ())]
for suite, arguments in suites:
    cell = [values[0] for values in suite.params]
    try:
        suite().setup(*arguments, *cell)
    except NotImplementedError as skipped:
        print(skipped)
"""


@pytest.fixture(params=[small_mamba1, small_mamba2], ids=["mamba1", "mamba2"])
def model(request):
    return request.param().eval()


def test_prefill_gives_the_logits_of_the_last_token(model):
    with torch.inference_mode():
        expected = model(workload.tokens(model, 2, 21)).logits[:, -1:]
    torch.testing.assert_close(workload.checked_forward(model, 2, "prefill", 21)().logits, expected)


def test_decode_runs_one_token_on_the_cache(model):
    logits = workload.checked_forward(model, 2, "decode", 21)().logits
    assert logits.shape == (2, 1, model.config.vocab_size)


def test_a_wrong_decode_is_found_before_it_is_timed(model, monkeypatch):
    forward = model.forward

    def wrong(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits += 0.1 if {"cache", "cache_params"} & kwargs.keys() else 0
        return output

    monkeypatch.setattr(model, "forward", wrong)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        workload.checked_forward(model, 1, "prefill", 21)


@pytest.mark.parametrize("component", workload.COMPONENTS)
def test_every_component_can_be_run_alone(model, component):
    results = workload.checked_replay(model, 1, component, 21)()
    assert results


def test_every_component_of_the_grid_has_costs(model, monkeypatch):
    monkeypatch.setattr(workload, "loaded", lambda _: model)
    costs = {cost.label: (cost, seconds) for cost, seconds in components.profiled_costs("small", 1, 21)}
    assert set(costs) == {*workload.COMPONENTS, "other"}
    for cost, seconds in costs.values():
        assert len(seconds) == components.PROFILED
        assert min(seconds) > 0
        assert cost.allocated_bytes > 0


def test_the_grid_is_that_of_the_package():
    """Spelled out in the suite, because a grid must be the same for every commit."""
    assert perfmamba.components.COMPONENTS == workload.COMPONENTS
    assert components.ComponentCost.params[2] == (*workload.COMPONENTS, perfmamba.components.OTHER)


@pytest.mark.parametrize(
    ("ratio", "kept"), [(0.0, 128), (0.1, 115), (0.3, 89), (0.5, 64), (0.7, 38), (0.9, 12)]
)
def test_a_ratio_keeps_floor_of_the_state(ratio, kept):
    """The kept states of the paper's ratios at N = 128: floor(N (1 - r)), in exact arithmetic."""
    assert workload.kept_states("mamba2-130m", ratio) == kept
    assert workload.kept_states("mamba-130m", 0.99) == 1


def test_a_model_of_a_ratio_has_the_smaller_state(monkeypatch):
    threads = torch.get_num_threads()
    try:
        model = workload.fresh_model("mamba2-130m-2layers", 0.9)
    finally:
        torch.set_num_threads(threads)
    config = published_config("mamba2-130m", layers=2, state_size=12)
    assert (model.config.state_size, model.config.num_hidden_layers) == (12, 2)
    assert model.config.hidden_size == config.hidden_size


def test_the_pruning_suite_measures_every_ratio_against_the_dense_model(model, monkeypatch):
    monkeypatch.setattr(workload, "device", lambda: "cpu")
    monkeypatch.setattr(pruning, "loaded", lambda *_: model)
    calls = pruning.StateSize().paired_prefill("small", "hf", "pruned", 1, 21)
    assert tuple(calls) == pruning.StateSize.params[-1]
    assert pruning.StateSize.baseline in calls


def test_latency_runs_the_forward_it_checked(model, monkeypatch):
    monkeypatch.setattr(latency, "loaded", lambda _: model)
    suite = latency.Latency()
    suite.setup(workload.MODELS[0], "hf", "decode", 2, 21)
    assert suite.forward().logits.shape == (2, 1, model.config.vocab_size)


def test_commits_without_models_are_skipped(tmp_path):
    (tmp_path / "perfmamba").mkdir()
    (tmp_path / "perfmamba" / "__init__.py").touch()
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n{ON_A_COMMIT_WITHOUT_MODELS}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["No module named 'perfmamba.models'"] * 5


def test_memory_counts_the_weights_once(model):
    held = pruning.weight_bytes(model)
    assert held == sum(p.numel() * p.element_size() for p in set(model.parameters()))
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_a_length_that_does_not_fit_leaves_the_others(model, monkeypatch):
    """Out of memory while profiling: n/a with its reason, and not the end of the whole grid."""
    monkeypatch.setattr(workload, "loaded", lambda _: model)
    name = workload.MODELS[1]
    monkeypatch.setattr(components, "profiled_prefills", run_out_of_memory)
    lost = components.costs_or_reason(name, 1, 21)
    monkeypatch.undo()
    assert set(lost) == {*workload.COMPONENTS, "other"}
    assert set(lost.values()) == {"CUDA out of memory"}
    with pytest.raises(NotImplementedError, match="CUDA out of memory"):
        components.ComponentCost().setup({(name, "ssm"): lost["ssm"]}, name, "ssm")


def run_out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_trace_without_its_passes_is_no_measurement(model, monkeypatch):
    monkeypatch.setattr(workload, "loaded", lambda _: model)
    monkeypatch.setattr(components, "missing_from", lambda *_, **__: "the profiler lost 3 kernels")
    with pytest.raises(AssertionError, match="lost 3 kernels"):
        list(components.profiled_prefills("small", 1, 21))


def test_other_kernels_than_the_parameter_says_are_not_measured(monkeypatch):
    monkeypatch.setattr(workload, "BACKENDS", ("mamba_ssm",))
    workload.require_backend({"conv": "torch", "ssm": "mamba_ssm"})
    with pytest.raises(NotImplementedError, match="run by torch, not by mamba_ssm"):
        workload.require_backend({"conv": "torch", "ssm": "torch"})
    monkeypatch.setattr(workload, "BACKENDS", ("hf",))
    workload.require_backend({"conv": "torch", "ssm": "torch"})


def test_long_python_loops_are_left_out(monkeypatch):
    mamba1, mamba2 = workload.MODELS
    layers = workload.PROFILE.models[mamba1][1]
    workload.require_short_loop(mamba1, 512, layers * 512)
    workload.require_short_loop(mamba2, 16384, 1)
    with pytest.raises(NotImplementedError, match=f"{layers * 513} steps of a Python loop"):
        workload.require_short_loop(mamba1, 513, layers * 512)
    monkeypatch.setattr(workload, "BACKENDS", ("mamba_ssm",))
    workload.require_short_loop(mamba1, 16384, 1)
