"""The commands on small models: what they print, write and refuse."""

import csv
import io
import json

import pytest
from cyclopts import App

from perfmamba.commands.perplexity import perplexity
from perfmamba.commands.recall import recall
from perfmamba.commands.study import study
from perfmamba.errors import InputError, ModelError
from perfmamba.evaluation.perplexity import text_score
from perfmamba.evaluation.recall import RecallTask, accuracy
from perfmamba.models import load_model
from perfmamba.models.tokenizing import text_encoder
from perfmamba.training.checkpoint import save_checkpoint
from perfmamba.training.recall import recall_model
from tests.small_models import small_mamba1, small_mamba2

SMALL = ("--pairs", "2", "--length", "12", "--samples", "20")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name, make in (("one", small_mamba1), ("two", small_mamba2), ("three", small_mamba2)):
        make().save_pretrained(root / name)
    return root


@pytest.fixture
def run(capsys):
    """Run a command by its arguments; returns what it printed."""
    app = App(result_action="return_value")
    for command in (recall, perplexity, study):
        app.command(command)

    def call(*arguments):
        app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)
        return capsys.readouterr().out

    return call


def records(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_recall_is_the_accuracy_with_its_interval(run, folders):
    printed = records(run("recall", folders / "one", folders / "two", *SMALL, "--seed", 4, "--format", "csv"))
    assert [record["model"] for record in printed] == ["one", "two"]
    for record in printed:
        model = load_model(str(folders / record["model"]), backend="torch").model
        expected = accuracy(model, RecallTask(2, 12, 40), samples=20, seed=4)
        assert (int(record["hits"]), int(record["queries"])) == (expected.hits, 40)
        assert (float(record["low"]), float(record["high"])) == expected.interval()


def test_recall_says_what_was_asked(run, folders):
    text = run("recall", folders / "two", *SMALL)
    assert "Recall of 2 pairs in 12 tokens" in text
    assert "20 sequences of seed 0" in text


def test_recall_of_what_cannot_be_asked(run, folders):
    with pytest.raises(InputError, match="take 32 at the least"):
        run("recall", folders / "two", "--length", 20)


def test_perplexity_of_bytes(run, tmp_path):
    model = recall_model("mamba2", seed=0)
    save_checkpoint(model, tmp_path / "tiny", "")
    text = tmp_path / "text.txt"
    text.write_text("Bytes, and bytes again.\n" * 5)
    window = ("--seqlen", 32, "--stride", 16)
    (record,) = records(run("perplexity", tmp_path / "tiny", "--text", text, *window, "--format", "csv"))
    encoder = text_encoder(str(tmp_path / "tiny"), vocabulary=256)
    expected = text_score(model, text, encoder, seqlen=32, stride=16)
    assert float(record["bits_per_byte"]) == pytest.approx(expected.bits_per_byte, rel=1e-5)
    assert float(record["perplexity"]) == pytest.approx(expected.perplexity, rel=1e-5)
    assert (int(record["tokens"]), int(record["bytes"]), record["encoder"]) == (120, 120, "bytes")


def test_perplexity_without_a_text(run, folders):
    with pytest.raises(InputError, match="no such file"):
        run("perplexity", folders / "two", "--text", folders / "absent.txt")


def test_perplexity_without_a_tokenizer(run, folders, tmp_path):
    (tmp_path / "text.txt").write_text("Text")
    with pytest.raises(InputError, match="vocabulary of 40 is too small for bytes"):
        run("perplexity", folders / "two", "--text", tmp_path / "text.txt")


STUDY = ("--ratios", 0.5, "--scores", "output", "random", "--seeds", 2, *SMALL)


def test_a_study_measures_every_way_and_can_be_added_to(run, folders, tmp_path):
    out = tmp_path / "study"
    text = run("study", folders / "two", "--out", out, *STUDY)
    assert "N = 6, one model" in text
    lines = (out / "results.jsonl").read_text().splitlines()
    assert len(lines) == 1 + 2 * 3 + 1
    text = run("study", folders / "two", folders / "three", "--out", out, *STUDY)
    again = (out / "results.jsonl").read_text().splitlines()
    assert again[: len(lines)] == lines
    assert len(again) == 2 * len(lines)
    assert "mean of 2 models" in text
    assert "Models: three, two" in text
    assert "| balanced |" in (out / "study.md").read_text()
    # both are the same weights, under two names
    values = [json.loads(line)["score"]["value"] for line in again]
    assert values[: len(lines)] == values[len(lines) :]


def test_a_study_of_mamba1_has_no_balanced(run, folders, tmp_path):
    text = run("study", folders / "one", "--out", tmp_path / "study", *STUDY)
    assert "lstsq" in text
    assert "balanced  (" not in text


def test_a_study_is_of_models_of_one_shape(run, folders, tmp_path):
    run("study", folders / "two", "--out", tmp_path / "study", *STUDY)
    with pytest.raises(InputError, match="a study of something else"):
        run("study", folders / "one", "--out", tmp_path / "study", *STUDY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ratios", 1.0), "ratio 1.0"),
        (("--seeds", 0), "--seeds 0"),
        (("--text", "some.txt"), "belong together"),
        (("--length", 10), "take 32 at the least"),
    ],
)
def test_a_study_that_cannot_be_made(run, folders, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        run("study", folders / "two", "--out", tmp_path / "study", *arguments)
    assert not (tmp_path / "study").exists()


def test_two_models_of_one_name(run, folders, tmp_path):
    with pytest.raises(InputError, match="two models are called two"):
        run("study", folders / "two", folders / "two", "--out", tmp_path / "study")


def test_no_such_model(run, tmp_path):
    with pytest.raises(ModelError, match="no model"):
        run("study", "mamab2", "--out", tmp_path / "study")
