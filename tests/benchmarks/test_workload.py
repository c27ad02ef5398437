"""The workload of the model suites, on models small enough for a test."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import perfmamba.components
from benchmarks import components, workload
from tests.small_models import small_mamba1, small_mamba2

ROOT = Path(__file__).parents[2]

ON_A_COMMIT_WITHOUT_MODELS = """
from benchmarks.components import ComponentCost
from benchmarks.latency import Latency

assert ComponentCost().setup_cache() == {}
for suite, arguments in ((Latency, ()), (ComponentCost, ({},))):
    cell = [values[0] for values in suite.params]
    try:
        suite().setup(*arguments, *cell)
    except NotImplementedError as skipped:
        print(skipped)
"""


@pytest.fixture(params=[small_mamba1, small_mamba2], ids=["mamba1", "mamba2"])
def model(request, monkeypatch):
    model = request.param()
    monkeypatch.setattr(workload, "loaded", lambda _: model)
    yield model
    workload.checked_forward.cache_clear()


def test_prefill_gives_the_logits_of_the_last_token(model):
    with torch.inference_mode():
        expected = model(workload.tokens(model, 21)).logits[:, -1:]
    torch.testing.assert_close(workload.checked_forward("small", "prefill", 21)().logits, expected)


def test_decode_runs_one_token_on_the_cache(model):
    logits = workload.checked_forward("small", "decode", 21)().logits
    assert logits.shape == (1, 1, model.config.vocab_size)


def test_a_wrong_decode_is_found_before_it_is_timed(model, monkeypatch):
    forward = model.forward

    def wrong(*args, cache_params=None, **kwargs):
        output = forward(*args, cache_params=cache_params, **kwargs)
        output.logits += 0.1 if cache_params is not None else 0
        return output

    monkeypatch.setattr(model, "forward", wrong)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        workload.checked_forward("small", "prefill", 21)


@pytest.mark.usefixtures("model")
def test_every_component_of_the_grid_has_costs():
    costs = {cost.label: (cost, seconds) for cost, seconds in components.profiled_costs("small", 21)}
    assert set(costs) == set(components.COMPONENTS)
    for cost, seconds in costs.values():
        assert len(seconds) == components.PROFILES
        assert min(seconds) > 0
        assert cost.allocated_bytes > 0


def test_the_grid_is_that_of_the_package():
    """Spelled out in the suite, because a grid must be the same for every commit."""
    assert (*perfmamba.components.COMPONENTS, perfmamba.components.OTHER) == components.COMPONENTS


def test_commits_without_models_are_skipped(tmp_path):
    (tmp_path / "perfmamba").mkdir()
    (tmp_path / "perfmamba" / "__init__.py").touch()
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n{ON_A_COMMIT_WITHOUT_MODELS}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["No module named 'perfmamba.models'"] * 2
