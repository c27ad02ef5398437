"""`perfmamba prune` from end to end, and every way in which it refuses."""

import json
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from cyclopts import App
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from perfmamba.commands.prune import prune
from perfmamba.errors import InputError, ModelError, PerfMambaError
from perfmamba.models import load_model
from perfmamba.pruning.activity import Activity, gather_activity
from perfmamba.pruning.selection import select
from perfmamba.pruning.surgery import pruned
from tests.pruning.prunable import TOKENS, logits, mamba1, mamba2

RUN = "import sys; from cyclopts import App; from perfmamba.commands.prune import prune; "
RUN += "app = App(result_action='return_value', suppress_keyboard_interrupt=False); app.default(prune); "
RUN += "app(sys.argv[1:], exit_on_error=False, print_error=False)"


@pytest.fixture
def run(capsys):
    """Run the command; returns what it prints to stdout and stderr."""
    app = App(result_action="return_value")
    app.default(prune)

    def call(*arguments):
        app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)
        return capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name, make in (("one", mamba1), ("two", mamba2)):
        make(dtype=torch.float32).save_pretrained(root / name)
    mamba2(dtype=torch.float32, bias=False).save_pretrained(root / "plain")
    (root / "two" / "tokenizer.json").write_text("{}")
    np.save(root / "empty.npy", np.zeros(0, dtype=np.int64))
    return root


@pytest.fixture(scope="module")
def activity(folders):
    model = AutoModelForCausalLM.from_pretrained(folders / "two").eval()
    gather_activity(model, [TOKENS], provenance={"data": "here"}).save(folders / "two.safetensors")
    return folders / "two.safetensors"


def everything_under(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def test_a_pruned_checkpoint_is_that_of_the_activity(run, folders, activity, tmp_path):
    out = tmp_path / "new" / "out"
    printed = run(folders / "two", "--ratio", 0.5, "--activity", activity, "--out", out).out
    measured = Activity.load(activity)
    expected = pruned(load_model(str(folders / "two")).model, select(measured, ratio=0.5))
    loaded = AutoModelForCausalLM.from_pretrained(out).eval()
    assert torch.equal(logits(loaded), logits(expected))
    assert "two, 3 of 6 states" in printed
    assert "bytes cached for a sequence" in printed
    assert printed.rstrip().endswith(f"Written: {out}")
    assert (out / "tokenizer.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("model", "bridge"), [("one", "lstsq"), ("two", "none"), ("two", "lstsq"), ("two", "balanced")]
)
def test_calibration_data_can_be_given_in_place_of_an_activity(model, bridge, run, folders, tmp_path):
    data = ("--calibration", "random", "--tokens", 64, "--seqlen", 16)
    printed = run(
        folders / model, "--ratio", 0.5, "--bridge", bridge, *data, "--out", tmp_path / "out", "--layers", 1
    )
    assert "random tokens" in printed.err
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["calibration_tokens"] == 64
    assert len(card["lost_output"]) == 1
    loaded = load_model(str(tmp_path / "out"))
    assert loaded.layers == 1
    assert logits(loaded.model).isfinite().all()


def test_nothing_in_the_folder_names_a_path(run, folders, activity, tmp_path):
    run(folders / "two", "--ratio", 0.5, "--activity", activity, "--out", tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        assert str(folders).encode() not in content
        assert str(tmp_path).encode() not in content


@pytest.mark.parametrize("score", ["magnitude", "random"])
def test_scores_of_weights_alone_need_no_data(score, run, folders, tmp_path):
    out = tmp_path / "out"
    options = ("--ratio", 0.9, "--score", score, "--align", 4, "--out", out)
    printed = run(folders / "two", *options).out
    assert "4 of 6 states are kept, not 1: a multiple of 4" in printed
    assert AutoModelForCausalLM.from_pretrained(out).config.state_size == 4


def test_a_published_shape_in_the_original_layout(run, tmp_path):
    options = ("--layers", 1, "--ratio", 0.5, "--score", "random", "--format", "mamba_ssm")
    run("mamba-130m", *options, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "pytorch_model.bin").is_file()
    loaded = load_model(str(tmp_path / "out"))
    assert (loaded.model.config.state_size, loaded.model.config.vocab_size) == (8, 50280)


def test_a_bridge_that_a_format_does_not_have_is_refused_before_anything_is_measured(run, tmp_path):
    options = ("--layers", 1, "--ratio", 0.5, "--bridge", "balanced", "--format", "mamba_ssm")
    with pytest.raises(ModelError, match="mamba_ssm has no bridge balanced for Mamba-2"):
        run("mamba2-130m", *options, "--calibration", "absent.txt", "--out", tmp_path / "out")


def test_weights_are_written_in_the_dtype_they_came_in(run, tmp_path):
    mamba2(dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    options = (tmp_path / "half", "--ratio", 0.5, "--score", "random")
    run(*options, "--out", tmp_path / "same")
    assert {weight.dtype for weight in load_file(tmp_path / "same" / "model.safetensors").values()} == {
        torch.bfloat16
    }
    run(*options, "--dtype", "float16", "--out", tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    assert config["dtype"] == "float16"


def test_an_existing_folder_is_replaced_on_demand_only(run, folders, tmp_path):
    command = (folders / "two", "--score", "random", "--out", tmp_path / "out", "--ratio")
    run(*command, 0.5)
    with pytest.raises(InputError, match="--force"):
        run(*command, 0.3)
    run(*command, 0.3, "--force")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.state_size == 4
    with pytest.raises(InputError, match="not a pruned checkpoint"):
        run(folders / "two", "--score", "random", "--ratio", 0.5, "--out", folders / "one", "--force")


@pytest.mark.parametrize(
    "case",
    [
        (("two", "--ratio", 1), InputError, "ratio 1"),
        (("two", "--ratio", -0.5), InputError, "ratio -0.5"),
        (("two", "--ratio", "nan"), InputError, "ratio nan"),
        (("two", "--ratio", 0.5, "--align", 0), InputError, "align 0"),
        (("two", "--ratio", 0.5), InputError, "score output is measured on data: give --calibration"),
        (("two", "--ratio", 0.5, "--score", "random", "--bridge", "lstsq"), InputError, "bridge lstsq"),
        (("two", "--ratio", 0.5, "--calibration", "random", "--activity", "a"), InputError, "exclude"),
        (("two", "--ratio", 0.5, "--activity", "absent.safetensors"), InputError, "absent.safetensors"),
        (("one", "--ratio", 0.5, "--activity", "two.safetensors"), PerfMambaError, "selection"),
        (("two", "--ratio", 0.5, "--calibration", "empty.npy"), InputError, "empty.npy"),
        (("one", "--ratio", 0.5, "--bridge", "balanced", "--calibration", "random"), ModelError, "use lstsq"),
        (
            ("two", "--ratio", 0.5, "--score", "random", "--format", "mamba_ssm"),
            ModelError,
            "use_bias",
        ),
        (("three", "--ratio", 0.5, "--score", "random"), ModelError, "three"),
    ],
)
@pytest.mark.usefixtures("activity")
def test_wrong_input_is_one_error_and_writes_nothing(case, run, folders, tmp_path, monkeypatch):
    arguments, raised, message = case
    monkeypatch.chdir(folders)
    before = everything_under(folders)
    with pytest.raises(raised, match=message):
        run(*arguments, "--out", tmp_path / "out")
    assert not list(tmp_path.iterdir())
    assert everything_under(folders) == before


def test_weights_that_are_not_finite_are_one_error(run, folders, tmp_path):
    model = tmp_path / "broken"
    AutoModelForCausalLM.from_pretrained(folders / "two").save_pretrained(model)
    weights = load_file(model / "model.safetensors")
    weights["backbone.layers.1.mixer.in_proj.weight"][5, 3] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.mixer\.in_proj\.weight"):
        run(model, "--ratio", 0.5, "--calibration", "random", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["transformers", "mamba_ssm"])
def test_a_disk_that_takes_no_more_leaves_nothing(layout, folders, tmp_path):
    arguments = (folders / "plain", "--ratio", "0.5", "--score", "random", "--format", layout)
    finished = subprocess.run(
        [sys.executable, "-c", RUN, *arguments, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, 1 << 14)),
    )
    last = finished.stderr.strip().splitlines()[-1]
    assert "InputError" in last
    assert "cannot write" in last
    assert "too large" in last
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_control_c_leaves_nothing(folders, tmp_path):
    endless = ("--calibration", "random", "--tokens", "100000000", "--seqlen", "64")
    arguments = (folders / "two", "--ratio", "0.5", *endless, "--out", tmp_path / "out")
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if "warning: random tokens" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode != 0
    assert "KeyboardInterrupt" in rest
    assert not list(tmp_path.iterdir())
