"""The suite of smaller states: what each of its configurations builds, and what it leaves out."""

import pytest
import torch

from benchmarks import pruning, workload
from benchmarks.workload import PROFILES
from perfmamba.pruning.bridge import BRIDGES
from tests.small_models import small_mamba2

RATIO, KEPT, STATES = 0.5, 3, 6


@pytest.fixture(autouse=True)
def _small_models(monkeypatch):
    def fresh(_name, ratio=0.0):
        model = small_mamba2()
        if ratio:
            config = type(model.config)(**(model.config.to_dict() | {"state_size": KEPT}))
            model = type(model)(config).eval()
        return model

    monkeypatch.setattr(pruning, "fresh_model", fresh)
    monkeypatch.setattr(pruning, "loaded", fresh)
    pruning._variant.cache_clear()
    yield
    pruning._variant.cache_clear()


@pytest.mark.parametrize("backend", ["hf", "torch"])
@pytest.mark.parametrize(
    ("configuration", "kept", "entries"),
    [
        ("pruned", KEPT, 2 * KEPT),
        ("masked", STATES, 2 * STATES),
        ("lstsq", KEPT, KEPT + STATES),
        ("balanced", KEPT, 2 * STATES),
    ],
)
def test_a_configuration_takes_states_in_its_way(backend, configuration, kept, entries):
    model = pruning.prepared("small", RATIO, configuration, backend)
    mixer = model.backbone.layers[0].mixer
    assert mixer.ssm_state_size == kept
    assert mixer.conv1d.in_channels == mixer.intermediate_size + mixer.n_groups * entries
    dense = pruning.prepared("small", 0.0, configuration, backend)
    assert dense.backbone.layers[0].mixer.ssm_state_size == STATES
    with torch.inference_mode():
        assert workload.checked_forward(model, 1, "decode", 21)().logits.isfinite().all()


def test_every_configuration_has_its_cells():
    model, backends, configurations, *_ = pruning.StateSize.params
    assert set(configurations) >= {"pruned", "masked", "lstsq"}
    assert set(pruning.DecodeStateSize.params[2]) <= set(configurations) - {"masked"}
    assert set(PROFILES["paper"].configurations) - set(pruning.WITHOUT_BRIDGE) <= set(BRIDGES)
    for configuration in configurations:
        pruning.StateSize().setup(model[0], backends[-1], configuration, 1, 512)
    with pytest.raises(NotImplementedError, match="bridge lstsq is not measured with hf"):
        pruning.StateSize().setup(model[0], "hf", "lstsq", 1, 512)
