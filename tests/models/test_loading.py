import json
import shutil

import pytest
import torch

from perfmamba.errors import ModelError
from perfmamba.models import load_model
from tests.small_models import small_mamba1, small_mamba2


def logits(model, tokens):
    with torch.inference_mode():
        return model(tokens).logits


def save_original(model, folder, ssm_cfg):
    """Write a checkpoint the way state-spaces/mamba does: its config.json and pytorch_model.bin."""
    folder.mkdir()
    config = {
        "d_model": model.config.hidden_size,
        "d_intermediate": 0,
        "n_layer": model.config.num_hidden_layers,
        "vocab_size": model.config.vocab_size - 3,
        "ssm_cfg": ssm_cfg,
        "attn_layer_idx": [],
        "attn_cfg": {},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 8,
        "tie_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    weights = {
        name.replace("backbone.embeddings.", "backbone.embedding."): value
        for name, value in model.state_dict().items()
    }
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


@pytest.fixture
def original1(tmp_path):
    model = small_mamba1()
    return model, save_original(model, tmp_path / "mamba-tiny", {"d_state": 5})


@pytest.fixture
def original2(tmp_path):
    model = small_mamba2()
    ssm = {"layer": "Mamba2", "d_state": 6, "headdim": 16, "ngroups": 2, "chunk_size": 8}
    return model, save_original(model, tmp_path / "mamba2-tiny", ssm)


def test_random_weights_depend_on_the_seed_alone():
    first, torch_state = load_model("mamba2-130m", layers=1, seed=3), torch.get_rng_state()
    again, other = load_model("mamba2-130m", layers=1, seed=3), load_model("mamba2-130m", layers=1, seed=4)
    assert torch.equal(torch_state, torch.get_rng_state())
    weight = first.model.backbone.layers[0].mixer.in_proj.weight
    assert torch.equal(weight, again.model.backbone.layers[0].mixer.in_proj.weight)
    assert not torch.equal(weight, other.model.backbone.layers[0].mixer.in_proj.weight)
    assert first.generation == 2
    assert first.packages == {"conv": "torch", "ssm": "torch"}
    assert (first.name, first.weights, first.layers, first.full_layers) == (
        "mamba2-130m",
        "random (seed 3)",
        1,
        24,
    )
    assert not first.model.training


def test_dtype_is_that_of_every_weight():
    model = load_model("mamba-130m", layers=1, dtype=torch.bfloat16).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_transformers_folder(small_model, tokens, tmp_path):
    small_model.save_pretrained(tmp_path / "tiny")
    loaded = load_model(str(tmp_path / "tiny"))
    assert torch.equal(logits(loaded.model, tokens), logits(small_model, tokens))
    assert (loaded.name, loaded.weights, loaded.layers, loaded.full_layers) == ("tiny", "checkpoint", 2, 2)


def test_transformers_folder_cut_to_one_layer(small_model, tmp_path):
    small_model.save_pretrained(tmp_path / "tiny")
    loaded = load_model(str(tmp_path / "tiny"), layers=1)
    assert (loaded.layers, loaded.full_layers, len(loaded.model.backbone.layers)) == (1, 2, 1)


def test_a_checkpoint_keeps_its_state_size(small_model, tmp_path):
    small_model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"state_size=4.*weights fix its state size"):
        load_model(str(tmp_path), state_size=4)


def test_transformers_folder_with_pickled_weights(small_model, tokens, tmp_path):
    small_model.config.save_pretrained(tmp_path)
    torch.save(small_model.state_dict(), tmp_path / "pytorch_model.bin")
    assert torch.equal(logits(load_model(str(tmp_path)).model, tokens), logits(small_model, tokens))


@pytest.mark.parametrize("generation", ["original1", "original2"])
def test_original_layout(generation, tokens, request):
    model, folder = request.getfixturevalue(generation)
    loaded = load_model(str(folder))
    assert torch.equal(logits(loaded.model, tokens), logits(model, tokens))
    assert not any(parameter.is_meta for parameter in loaded.model.parameters())


def test_original_layout_prefers_safetensors(original2, tokens):
    from safetensors.torch import save_file

    model, folder = original2
    weights = {name: value.clone() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    assert torch.equal(logits(load_model(str(folder)).model, tokens), logits(model, tokens))


def test_original_layout_cut_to_one_layer(original2):
    loaded = load_model(str(original2[1]), layers=1)
    assert (loaded.layers, loaded.full_layers, len(loaded.model.backbone.layers)) == (1, 2, 1)


class Evil:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


def test_pickled_code_is_not_run(original1, capsys):
    _, folder = original1
    torch.save({"backbone.embedding.weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be read safely"):
        load_model(str(folder))
    assert "code from a checkpoint ran" not in capsys.readouterr().out


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attn_layer_idx": [3]}, "attention layers"),
        ({"d_intermediate": 64}, "MLP layers"),
        ({"rms_norm": False}, "only RMSNorm"),
        ({"ssm_cfg": {"layer": "Mamba3"}}, "'Mamba3'; only Mamba1 and Mamba2"),
        ({"ssm_cfg": {"layer": "Mamba2", "rope": 1}}, "holds rope"),
        ({"ssm_cfg": {"d_state": 7}}, "do not fit config.json"),
        ({"n_layer": "two"}, "no integer n_layer"),
        ({"n_layer": 3}, "do not fit config.json"),
    ],
)
def test_original_configs_that_cannot_be_loaded(original1, changes, message):
    edit_config(original1[1], **changes)
    with pytest.raises(ModelError, match=message):
        load_model(str(original1[1]))


def test_broken_folders(tmp_path, original1):
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text('{"hidden_size": 3}')
    with pytest.raises(ModelError, match="neither model_type"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ModelError, match="holds a list"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(str(tmp_path))
    weights = original1[1] / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read safely"):
        load_model(str(original1[1]))
    weights.unlink()
    with pytest.raises(ModelError, match=r"no model\.safetensors and no pytorch_model\.bin"):
        load_model(str(original1[1]))


def test_a_checkpoint_that_lacks_weights(small_model, tmp_path):
    from safetensors.torch import load_file, save_file

    small_model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["backbone.layers.1.mixer.D"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights, such as backbone\.layers\.1\.mixer\.D"):
        load_model(str(tmp_path))


def test_a_model_that_is_not_mamba(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=11, n_positions=8)).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelError, match="has no Mamba mixer"):
        load_model(str(tmp_path))


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ModelError, match=r"no model 'mamba2-13m'.*did you mean mamba2-130m"):
        load_model("mamba2-13m")


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty hub cache, with the network switched off."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put_into_cache(cache, repo_id, folder):
    """Lay a checkpoint out as huggingface_hub caches it."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = cache / f"models--{repo_id.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)


def test_hub_id_in_the_transformers_layout(small_model, tokens, tmp_path, hub_cache):
    small_model.save_pretrained(tmp_path / "saved")
    put_into_cache(hub_cache, "somebody/tiny-hf", tmp_path / "saved")
    loaded = load_model("somebody/tiny-hf")
    assert (loaded.name, loaded.weights) == ("somebody/tiny-hf", "checkpoint (revision 0123456789ab)")
    assert torch.equal(logits(loaded.model, tokens), logits(small_model, tokens))


def test_hub_id_in_the_original_layout(original2, tokens, hub_cache):
    model, folder = original2
    put_into_cache(hub_cache, "state-spaces/mamba2-tiny", folder)
    assert torch.equal(logits(load_model("state-spaces/mamba2-tiny").model, tokens), logits(model, tokens))


def test_hub_id_that_cannot_be_reached(hub_cache):
    with pytest.raises(
        ModelError, match=r"cannot get 'nobody/nothing' from the hub: .*check the id and the network"
    ):
        load_model("nobody/nothing")
