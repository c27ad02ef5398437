import pytest
import torch
from transformers import AutoModelForCausalLM

from perfmamba.errors import ModelError
from perfmamba.models import PUBLISHED_SHAPES, published_config

# The sizes that the safetensors files of state-spaces/*-hf and AntonV/mamba2-*-hf declare (tied embeddings).
PUBLISHED_PARAMETERS = {
    "mamba-130m": 129_135_360,
    "mamba-370m": 371_516_416,
    "mamba-790m": 793_204_224,
    "mamba-1.4b": 1_372_178_432,
    "mamba-2.8b": 2_768_345_600,
    "mamba2-130m": 128_989_632,
    "mamba2-370m": 368_346_624,
    "mamba2-780m": 780_161_280,
    "mamba2-1.3b": 1_343_757_312,
    "mamba2-2.7b": 2_702_599_680,
}


def parameters_by_hand(name: str) -> int:
    """Count the parameters from the architecture, without transformers' modules."""
    shape = PUBLISHED_SHAPES[name]
    d, inner = shape.d_model, 2 * shape.d_model
    if shape.generation == 1:
        rank, states = -(-d // 16), 16
        mixer = d * 2 * inner + inner * 4 + inner + inner * (rank + 2 * states) + rank * inner + inner
        mixer += inner * states + inner + inner * d
        vocabulary = 50280
    else:
        heads, states = inner // 64, 128
        conv = inner + 2 * states
        mixer = d * (inner + conv + heads) + conv * 4 + conv + 3 * heads + inner + inner * d
        vocabulary = 50288
    return vocabulary * d + shape.n_layer * (mixer + d) + d


@pytest.mark.parametrize("name", PUBLISHED_SHAPES)
def test_parameter_count_is_the_published_one(name):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(published_config(name))
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == parameters_by_hand(name) == PUBLISHED_PARAMETERS[name]


def test_layers_cuts_depth_only():
    whole, cut = (
        published_config("mamba2-370m").to_dict(),
        published_config("mamba2-370m", layers=3).to_dict(),
    )
    assert (whole.pop("num_hidden_layers"), cut.pop("num_hidden_layers")) == (48, 3)
    assert whole == cut


@pytest.mark.parametrize("name", ["mamba-130m", "mamba2-130m"])
def test_state_size_changes_only_itself(name):
    whole, smaller = published_config(name).to_dict(), published_config(name, state_size=12).to_dict()
    assert (whole.pop("state_size"), smaller.pop("state_size")) == (16 if name == "mamba-130m" else 128, 12)
    assert whole == smaller


def test_state_size_out_of_range():
    with pytest.raises(ModelError, match="state_size=0"):
        published_config("mamba2-130m", state_size=0)


@pytest.mark.parametrize("layers", [0, -1, 25])
def test_layers_out_of_range(layers):
    with pytest.raises(ModelError, match=rf"layers={layers}: this model has 24"):
        published_config("mamba-130m", layers=layers)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ModelError, match=r"unknown model 'mamba-9b'.*mamba2-130m"):
        published_config("mamba-9b")
