"""Checkpoint folders of models that were trained here."""

import json

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from perfmamba.errors import InputError
from perfmamba.models import load_model
from perfmamba.training.checkpoint import save_checkpoint
from perfmamba.training.language import byte_pair_tokenizer
from perfmamba.training.recall import recall_model

TOKENS = torch.arange(40)[None]


@pytest.mark.parametrize("kind", ["mamba", "mamba2"])
def test_it_is_what_transformers_loads(kind, tmp_path):
    model = recall_model(kind, seed=0)
    save_checkpoint(model, tmp_path / "tiny", "a card")
    with torch.inference_mode():
        expected = model(TOKENS).logits
        assert_close(load_model(str(tmp_path / "tiny")).model(TOKENS).logits, expected)
        assert_close(AutoModelForCausalLM.from_pretrained(tmp_path / "tiny")(TOKENS).logits, expected)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "tiny").iterdir()}
    assert sorted(sizes) == ["README.md", "config.json", "model.safetensors"]
    assert sum(sizes.values()) < 500_000
    text = (tmp_path / "tiny" / "config.json").read_text()
    assert "Infinity" not in text
    assert json.loads(text)["architectures"] == [type(model).__name__]


def test_half_precision_comes_back_as_what_is_asked_for(tmp_path):
    model = recall_model("mamba2", seed=0)
    save_checkpoint(model, tmp_path / "tiny", "a card", precision="float16")
    loaded = load_model(str(tmp_path / "tiny"), dtype=torch.float32).model
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight.half().float())
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "tiny").dtype == torch.float16
    assert (tmp_path / "tiny" / "model.safetensors").stat().st_size < 200_000


def test_a_tokenizer_travels_along(tmp_path):
    text = "A tokenizer makes tokens of a text, and a text of tokens.\n"
    tokenizer = byte_pair_tokenizer(text * 9, vocabulary=270)
    save_checkpoint(recall_model("mamba2", seed=0), tmp_path / "tiny", "a card", tokenizer=tokenizer)
    loaded = AutoTokenizer.from_pretrained(tmp_path / "tiny")
    assert loaded.encode(text) == tokenizer.encode(text).ids
    assert loaded.decode(loaded.encode(text)) == text


def test_a_newer_checkpoint_replaces_the_older_one_and_nothing_else(tmp_path):
    save_checkpoint(recall_model("mamba2", seed=0), tmp_path / "tiny", "first")
    save_checkpoint(recall_model("mamba2", seed=1), tmp_path / "tiny", "second")
    assert (tmp_path / "tiny" / "README.md").read_text() == "second"
    (tmp_path / "tiny" / "thesis.tex").write_text("everything")
    with pytest.raises(InputError, match=r"holds thesis\.tex"):
        save_checkpoint(recall_model("mamba2", seed=2), tmp_path / "tiny", "third")
    assert (tmp_path / "tiny" / "README.md").read_text() == "second"
    assert (tmp_path / "tiny" / "thesis.tex").read_text() == "everything"
