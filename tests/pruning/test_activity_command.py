"""`perfmamba activity` from end to end: file, figure, table, and every way in which it refuses."""

import sys

import numpy as np
import pytest
import torch
from cyclopts import App
from torch.testing import assert_close

from perfmamba.commands.activity import activity
from perfmamba.errors import InputError, ModelError
from perfmamba.models import load_model
from perfmamba.pruning.activity import Activity, gather_activity
from tests.small_models import VOCABULARY, small_mamba1, small_mamba2

TOKENS = torch.randint(0, VOCABULARY, (5, 16), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def run(capsys):
    """Run the command; returns what it prints to stdout and stderr."""
    app = App(result_action="return_value")
    app.default(activity)

    def call(*arguments):
        app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)
        return capsys.readouterr()

    return call


@pytest.fixture(params=[small_mamba1, small_mamba2], ids=["mamba1", "mamba2"])
def folder(request, tmp_path):
    request.param().save_pretrained(tmp_path / "small")
    np.save(tmp_path / "tokens.npy", TOKENS.numpy())
    return tmp_path


@pytest.fixture
def no_altair(monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)


def test_the_file_is_what_a_pass_over_the_data_gives(run, folder, no_altair):
    data, out = folder / "tokens.npy", folder / "new" / "activity.safetensors"
    printed = run(folder / "small", "--calibration", data, "--tokens", 70, "--batch", 3, "--out", out)
    loaded = Activity.load(out)
    expected = gather_activity(load_model(str(folder / "small"), backend="torch").model, [TOKENS[:4]])
    assert loaded.tokens == 64
    for one, other in zip(loaded.layers, expected.layers, strict=True):
        assert_close(one.state_moment, other.state_moment, rtol=1e-4, atol=1e-12)
    about = loaded.provenance
    assert (about["model"], about["data"], about["layers"]) == ("small", "tokens.npy", "2 of 2")
    assert about["scan"] == "perfmamba_kernels (torch)"
    assert str(folder) not in str(about)
    assert "What the states of small do on tokens.npy" in printed.out
    assert f"Written: {out}" in printed.out
    assert [path.name for path in out.parent.iterdir()] == ["activity.safetensors"]


def test_without_altair_it_says_so_and_goes_on(run, folder, no_altair):
    out = folder / "activity.safetensors"
    printed = run(folder / "small", "--calibration", folder / "tokens.npy", "--out", out)
    assert "warning: no figure will be drawn: a chart needs the package vl_convert" in printed.err
    assert out.is_file()


def test_the_figure_is_drawn_beside_the_file(run, folder):
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    out = folder / "activity.safetensors"
    printed = run(folder / "small", "--calibration", folder / "tokens.npy", "--out", out, "--score", "energy")
    assert "energy: E[h²]" in out.with_suffix(".svg").read_text(encoding="utf-8")
    assert out.with_suffix(".html").is_file()
    assert str(out.with_suffix(".svg")) in printed.out


def test_random_tokens_come_with_a_warning(run, folder, no_altair):
    out = folder / "activity.safetensors"
    options = ("--tokens", 20, "--seqlen", 10, "--seed", 3)
    printed = run(folder / "small", "--calibration", "random", *options, "--out", out)
    assert "warning: random tokens move the states as no text does" in printed.err
    assert Activity.load(out).provenance["data"] == "random tokens (seed 3)"


def test_a_file_that_is_there_stays_unless_forced(run, folder, no_altair):
    out = folder / "activity.safetensors"
    out.write_text("precious")
    with pytest.raises(
        InputError, match=r"activity\.safetensors is there already; give another file, or --for"
    ):
        run(folder / "small", "--calibration", folder / "tokens.npy", "--out", out)
    assert out.read_text() == "precious"
    run(folder / "small", "--calibration", folder / "tokens.npy", "--out", out, "--force")
    assert Activity.load(out).tokens == 80


def test_wrong_input_is_one_clear_error_and_leaves_nothing(run, folder, no_altair):
    out = folder / "out" / "activity.safetensors"
    small, tokens = folder / "small", folder / "tokens.npy"
    np.save(folder / "large.npy", np.full((1, 8), VOCABULARY))
    for arguments, error, message in (
        (
            (small, "--calibration", folder / "large.npy"),
            InputError,
            "holds the token 40; this model knows 0 to 39",
        ),
        ((small, "--calibration", "nothing"), InputError, "no calibration data 'nothing'"),
        (
            (small, "--calibration", __file__),
            InputError,
            "has no tokenizer, and a vocabulary of 40 is too small",
        ),
        ((small, "--calibration", tokens, "--tokens", 3), InputError, "tokens 3: less than one sequence"),
        ((small, "--calibration", tokens, "--batch", 0), InputError, "batch 0: give a number of at least 1"),
        ((folder / "absent", "--calibration", tokens), ModelError, "no model .*absent"),
    ):
        with pytest.raises(error, match=message):
            run(*arguments, "--out", out)
        assert not out.parent.exists()
    with pytest.raises(InputError, match=r"--out .*activity\.csv: give a file that ends in \.safetensors"):
        run(small, "--calibration", tokens, "--out", out.with_suffix(".csv"))


def test_weights_that_are_not_finite_are_said_by_name(run, folder, no_altair):
    model = load_model(str(folder / "small")).model
    with torch.no_grad():
        model.backbone.layers[1].mixer.conv1d.weight.fill_(float("nan"))
    model.save_pretrained(folder / "small")
    with pytest.raises(
        ModelError,
        match=r"the weight backbone\.layers\.1\.mixer\.conv1d\.weight has values that are not finite",
    ):
        run(folder / "small", "--calibration", folder / "tokens.npy", "--out", folder / "a.safetensors")
    assert not (folder / "a.safetensors").exists()
