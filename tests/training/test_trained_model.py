"""The trained models of the repository: they know what they learned, and their studies can be repeated."""

from pathlib import Path

import pytest

from perfmamba.evaluation.measures import recall_measure
from perfmamba.evaluation.perplexity import text_score
from perfmamba.evaluation.recall import accuracy
from perfmamba.evaluation.study import Variant, measure_variants, weights_digest
from perfmamba.evaluation.study_files import read_study
from perfmamba.models import load_model
from perfmamba.models.tokenizing import text_encoder
from perfmamba.training.leads import PACKAGE
from perfmamba.training.recall import CURRICULA, Kind

RESULTS = Path(__file__).parents[2] / "results"
MODELS = RESULTS / "models"
LANGUAGE = MODELS / "tiny-lm"

RECALLING: dict[str, tuple[Kind, str]] = {
    "recall-mamba1-seed0": ("mamba", "study-mamba1"),
    "recall-mamba2-seed0": ("mamba2", "study"),
}
"""The folder of each kind's first model, and of the study of it."""


@pytest.fixture(scope="module", params=RECALLING)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def loaded(name):
    return load_model(str(MODELS / name), backend="torch")


@pytest.fixture
def task(name):
    return CURRICULA[RECALLING[name][0]][-1].task


def test_it_recalls_what_no_seed_of_its_training_told_it(loaded, task):
    answered = accuracy(loaded.model, task, samples=100, seed=11)
    assert answered.value > 0.95


def test_it_is_small_and_comes_with_its_command(name):
    folder = MODELS / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 500_000
    kind, _ = RECALLING[name]
    assert f"perfmamba.training.recall --kind {kind} --seed 0" in (folder / "README.md").read_text()


def test_the_study_can_be_measured_again(name, loaded, task):
    """With the settings of the study; a rounding may turn a few of its thousands of answers."""
    settings, results = read_study(RESULTS / RECALLING[name][1])
    published = {one.variant: one for one in results if one.model == name}
    grid = [Variant("output", "none", 0.7), Variant("paper", "none", 0.7)]
    grid.append(Variant("output", "lstsq", 0.7) if loaded.generation == 1 else Variant(None, "balanced", 0.7))
    measure = recall_measure(task, samples=500)
    assert measure.about == settings.about
    weights = weights_digest(loaded.model)
    for result in measure_variants(loaded, grid, measure, weights=weights, backend="torch"):
        expected = published[result.variant]
        assert (result.weights, result.kept) == (expected.weights, expected.kept)
        assert result.measured.count == expected.measured.count
        assert result.measured.value == pytest.approx(expected.measured.value, abs=0.005)


def test_the_language_model_is_small_and_says_whose_text_it_learned():
    sizes = {path.name: path.stat().st_size for path in LANGUAGE.iterdir()}
    assert sizes["model.safetensors"] < 1_500_000
    assert sizes["tokenizer.json"] < 200_000
    card = (LANGUAGE / "README.md").read_text()
    assert "CC BY-SA 4.0" in card
    assert PACKAGE in card


def test_the_language_model_is_the_one_of_its_study():
    _, results = read_study(RESULTS / "study-language")
    assert {one.weights for one in results} == {weights_digest(load_model(str(LANGUAGE)).model)}


def test_the_language_model_expects_english(tmp_path):
    model = load_model(str(LANGUAGE), backend="torch").model
    encoder = text_encoder(str(LANGUAGE), vocabulary=model.config.vocab_size)
    english = "The city is the capital of the province, and one of the largest cities in the country.\n"
    texts = {"english": english, "backwards": english[::-1]}
    bits = {}
    for name, text in texts.items():
        path = tmp_path / name
        path.write_text(text)
        bits[name] = text_score(model, path, encoder).bits_per_byte
    assert bits["english"] < 1.7
    assert bits["backwards"] > 3
