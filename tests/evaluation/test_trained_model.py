"""The trained model of the repository: it recalls, and what the study says of it can be measured again."""

from pathlib import Path

import pytest

from perfmamba.evaluation.measures import recall_measure
from perfmamba.evaluation.recall import RecallTask, accuracy
from perfmamba.evaluation.study import Variant, measure_variants, weights_digest
from perfmamba.evaluation.study_files import read_study
from perfmamba.models import load_model

RESULTS = Path(__file__).parents[2] / "results"
NAME = "recall-mamba2-seed0"


@pytest.fixture(scope="module")
def loaded():
    return load_model(str(RESULTS / "models" / NAME), backend="torch")


def test_it_recalls_what_no_seed_of_its_training_told_it(loaded):
    answered = accuracy(loaded.model, RecallTask(), samples=100, seed=11)
    assert answered.value > 0.98


def test_it_is_small_and_comes_with_its_command():
    folder = RESULTS / "models" / NAME
    assert sum(path.stat().st_size for path in folder.iterdir()) < 500_000
    assert "perfmamba.evaluation.training --kind mamba2 --seed 0" in (folder / "README.md").read_text()


def test_the_study_can_be_measured_again(loaded):
    """With the settings of results/study; a rounding may turn a few of its 4,000 answers."""
    settings, results = read_study(RESULTS / "study")
    published = {one.variant: one for one in results if one.model == NAME}
    grid = (Variant("output", "none", 0.7), Variant("paper", "none", 0.7), Variant(None, "balanced", 0.7))
    measure = recall_measure(RecallTask(), samples=500)
    assert measure.about == settings.about
    weights = weights_digest(loaded.model)
    for result in measure_variants(loaded, grid, measure, weights=weights, backend="torch"):
        expected = published[result.variant]
        assert (result.weights, result.kept) == (expected.weights, expected.kept)
        assert result.score.count == expected.score.count
        assert result.score.value == pytest.approx(expected.score.value, abs=0.005)
