"""Checkpoint folders: stock transformers, the original layout, and never half a folder."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from perfmamba.errors import InputError, ModelError
from perfmamba.models import load_model
from perfmamba.models.loading import stored_dtype
from perfmamba.models.original import original_config
from perfmamba.pruning.activity import gather_activity
from perfmamba.pruning.card import Card
from perfmamba.pruning.checkpoints import check_free, save_pruned
from perfmamba.pruning.expected_sizes import ExpectedSizes
from perfmamba.pruning.surgery import pruned
from tests.pruning.prunable import HYBRIDS, TOKENS, hybrid, logits, mamba1, mamba2, random_selection


def card(**changes):
    values = {
        "source": "small",
        "weights": "checkpoint",
        "model_type": "mamba2",
        "format": "transformers",
        "ratio": 0.5,
        "states": 6,
        "kept_states": 3,
        "alignment": None,
        "score": "output",
        "ties": 0,
        "bridge": "none",
        "seed": 0,
        "kept": None,
        "lost_output": None,
        "calibration_tokens": None,
        "calibration": {},
        "before": ExpectedSizes(10),
        "after": ExpectedSizes(5),
        "versions": {},
    }
    return Card(**(values | changes))


@pytest.fixture(params=[mamba1, mamba2], ids=["mamba1", "mamba2"])
def dense(request):
    return plain(request.param)


def plain(make):
    model = make(dtype=torch.float32)
    for mixer in model.backbone.layers:
        for projection in (mixer.mixer.in_proj, mixer.mixer.out_proj):
            projection.bias = None
    model.config.use_bias = False
    return model


@pytest.fixture
def smaller(dense):
    return pruned(dense, random_selection(dense, 3))


def finite(text):
    """JSON as the standard has it: no infinity, whoever writes it how."""

    def refuse(name):
        raise AssertionError(name)

    assert "__float__" not in text
    return json.loads(text, parse_constant=refuse)


def test_transformers_loads_it_as_any_other(smaller, tmp_path):
    save_pruned(smaller, tmp_path / "out", card())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert type(loaded) is type(smaller)
    assert type(loaded).__module__.startswith("transformers.")
    assert loaded.config.state_size == 3
    assert torch.equal(logits(loaded.eval()), logits(smaller))
    assert load_model(str(tmp_path / "out")).model.config.state_size == 3


@pytest.mark.parametrize("limits", [(0.0, math.inf), (0.001, math.inf), (0.0, 0.5)])
def test_configurations_hold_finite_numbers_and_mean_the_same(limits, tmp_path):
    model = plain(mamba2)
    model.config.time_step_limit = limits
    smaller = pruned(model, random_selection(model, 3))
    save_pruned(smaller, tmp_path / "out", card())
    written = finite((tmp_path / "out" / "config.json").read_text())
    assert (
        written.get("time_step_limit", "left out")
        == {
            (0.0, math.inf): "left out",
            (0.001, math.inf): [0.001, 65504.0],
            (0.0, 0.5): [0.0, 0.5],
        }[limits]
    )
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(loaded, "hf"), logits(smaller, "hf"))
    halved = loaded.to(torch.float16)
    assert logits(halved, "hf").isfinite().all()


def test_the_original_layout_is_read_back_the_same(smaller, tmp_path):
    save_pruned(smaller, tmp_path / "out", card(format="mamba_ssm"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "pytorch_model.bin", "card.json", "README.md"}
    written = finite((tmp_path / "out" / "config.json").read_text())
    assert written["ssm_cfg"]["d_state"] == 3
    weights = torch.load(tmp_path / "out" / "pytorch_model.bin", weights_only=True)
    assert "lm_head.weight" in weights
    assert "backbone.embedding.weight" in weights
    loaded = load_model(str(tmp_path / "out")).model
    assert loaded.config.vocab_size == smaller.config.vocab_size
    assert torch.equal(logits(loaded), logits(smaller))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("use_bias", True),
        ("use_conv_bias", False),
        ("hidden_act", "gelu"),
        ("layer_norm_epsilon", 1e-6),
        ("time_step_limit", (0.0, 0.1)),
    ],
)
def test_what_the_original_layout_cannot_say_is_refused(name, value):
    model = plain(mamba2)
    setattr(model.config, name, value)
    with pytest.raises(ModelError, match=name):
        original_config(model)


def bridged(make, bridge):
    model = plain(make)
    activity = gather_activity(model, [TOKENS])
    return pruned(model, random_selection(model, 3), bridge=bridge, activity=activity)


@pytest.mark.parametrize("bridge", ["lstsq", "balanced"])
def test_a_bridged_mamba2_has_its_own_class_and_no_original_layout(bridge, tmp_path):
    model = bridged(mamba2, bridge)
    save_pruned(model, tmp_path / "out", card(bridge=bridge, model_type="perfmamba_mamba2"))
    finite((tmp_path / "out" / "config.json").read_text())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert_close(logits(loaded), logits(model), rtol=0, atol=0)
    assert "import perfmamba.models.bridged" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(ModelError, match="--format transformers"):
        save_pruned(model, tmp_path / "other", card(format="mamba_ssm"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("layout", ["transformers", "mamba_ssm"])
def test_a_bridged_mamba1_is_stock_in_both_layouts(layout, tmp_path):
    model = bridged(mamba1, "lstsq")
    save_pruned(model, tmp_path / "out", card(format=layout, bridge="lstsq"))
    assert torch.equal(logits(load_model(str(tmp_path / "out")).model), logits(model))


@pytest.mark.parametrize("kind", HYBRIDS)
def test_hybrids_are_written_and_read(kind, tmp_path):
    model = hybrid(kind)
    smaller = pruned(model, random_selection(model, 3))
    save_pruned(smaller, tmp_path / "out", card(model_type=kind))
    finite((tmp_path / "out" / "config.json").read_text())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(loaded), logits(smaller))
    with pytest.raises(ModelError, match=kind):
        original_config(smaller)


def test_tokenizer_files_travel_along(smaller, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("tokenizer.json", "chat_template.jinja", "notes.txt", "model.safetensors"):
        (source / name).write_text(name)
    save_pruned(smaller, tmp_path / "out", card(), tokenizer=source)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"tokenizer.json", "chat_template.jinja"} <= written
    assert "notes.txt" not in written
    assert (tmp_path / "out" / "model.safetensors").read_bytes() != b"model.safetensors"


def test_the_dtype_of_a_checkpoint_is_read_from_its_configuration(tmp_path):
    assert stored_dtype(None) is torch.float32
    for text, dtype in (
        ('{"dtype": "bfloat16"}', torch.bfloat16),
        ('{"torch_dtype": "float16"}', torch.float16),
        ('{"d_model": 64}', torch.float32),
    ):
        (tmp_path / "config.json").write_text(text)
        assert stored_dtype(tmp_path) is dtype


def everything_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_is_there_is_kept_without_force(smaller, tmp_path):
    save_pruned(smaller, tmp_path / "out", card())
    before = everything_in(tmp_path)
    with pytest.raises(InputError, match="--force"):
        save_pruned(smaller, tmp_path / "out", card(ratio=0.25))
    assert everything_in(tmp_path) == before
    save_pruned(smaller, tmp_path / "out", card(ratio=0.25), force=True)
    assert json.loads((tmp_path / "out" / "card.json").read_text())["ratio"] == 0.25
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("card_text", [None, "{}", "no json", "[]"])
def test_force_replaces_nothing_but_pruned_checkpoints(card_text, tmp_path):
    (tmp_path / "thesis.tex").write_text("everything")
    if card_text is not None:
        (tmp_path / "card.json").write_text(card_text)
    with pytest.raises(InputError, match="not a pruned checkpoint"):
        check_free(tmp_path, force=True)
    with pytest.raises(InputError, match="not a pruned checkpoint"):
        check_free(tmp_path / "thesis.tex", force=True)


def test_an_empty_folder_may_be_filled(smaller, tmp_path):
    (tmp_path / "out").mkdir()
    save_pruned(smaller, tmp_path / "out", card())
    assert (tmp_path / "out" / "config.json").is_file()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_failures_leave_what_was_there(failure, force, smaller, tmp_path, monkeypatch):
    raised = InputError if isinstance(failure, OSError) else KeyboardInterrupt
    if force:
        save_pruned(smaller, tmp_path / "out", card())
    before = everything_in(tmp_path)

    def fail(*_args, **_kwargs):
        raise failure

    for broken in ("write_text", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, broken, fail)
            with pytest.raises(raised):
                save_pruned(smaller, tmp_path / "out", card(), force=force)
        assert everything_in(tmp_path) == before
        assert not [path for path in tmp_path.iterdir() if path.name != "out"]


def test_what_takes_the_place_of_a_folder_takes_it_whole_or_not(smaller, tmp_path, monkeypatch):
    save_pruned(smaller, tmp_path / "out", card())
    before = everything_in(tmp_path)
    rename = Path.rename

    def fail_for_the_new_one(path, target):
        if path.name.endswith(".partial"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_for_the_new_one)
        with pytest.raises(InputError, match="Input/output error"):
            save_pruned(smaller, tmp_path / "out", card(ratio=0.25), force=True)
    assert everything_in(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_left_by_a_killed_run_is_no_obstacle(smaller, tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "half").write_text("a")
    save_pruned(smaller, tmp_path / "out", card())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_place_that_cannot_be_written_is_an_error_for_people(smaller, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot"):
        save_pruned(smaller, tmp_path / "file" / "out", card())
