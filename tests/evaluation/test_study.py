"""A study: which ways it takes, what it measures of each, and that it goes on where it was stopped."""

import json

import pytest
import torch

from perfmamba.errors import InputError
from perfmamba.evaluation.measures import Measure, MeasuredValue, recall_measure, text_measure
from perfmamba.evaluation.recall import RecallTask, accuracy, recall_batches
from perfmamba.evaluation.study import (
    DENSE,
    Variant,
    VariantResult,
    measure_variants,
    variants,
    weights_digest,
)
from perfmamba.evaluation.study_files import Settings, append_result, missing, open_study, read_study
from perfmamba.models import load_model
from perfmamba.pruning.activity import gather_activity
from perfmamba.pruning.selection import select
from perfmamba.pruning.surgery import pruned
from tests.small_models import VOCABULARY, small_mamba1, small_mamba2

TASK = RecallTask(pairs=2, length=12, vocabulary=VOCABULARY)
SETTINGS = Settings("accuracy", {"task": "a task"}, generation=2, layers=2, states=6)


@pytest.fixture(params=[small_mamba1, small_mamba2], ids=["mamba1", "mamba2"])
def loaded(request, tmp_path):
    request.param().save_pretrained(tmp_path / "tiny")
    return load_model(str(tmp_path / "tiny"))


def logit_measure(tokens):
    """One logit of the model: unlike the accuracy of an untrained one, it moves with every state."""

    @torch.inference_mode()
    def evaluate(model):
        return MeasuredValue(model(tokens).logits[0, -1, 0].item(), 1)

    batches = recall_batches(TASK, 20, seed=1)
    calibration = [batch.tokens for batch in batches]
    return Measure("accuracy", {}, lambda: iter(calibration), evaluate)


def test_the_grid_has_the_control_once_a_seed_and_balanced_once_a_ratio():
    grid = variants(
        ratios=(0.5, 0.9), scores=("output", "random"), bridges=("none", "lstsq", "balanced"), seeds=3
    )
    one_ratio = [
        Variant("output", "none", 0.5),
        *(Variant("random", "none", 0.5, seed) for seed in range(3)),
        Variant("output", "lstsq", 0.5),
        *(Variant("random", "lstsq", 0.5, seed) for seed in range(3)),
        Variant(None, "balanced", 0.5),
    ]
    assert grid[: 1 + len(one_ratio)] == (DENSE, *one_ratio)
    assert len(set(grid)) == len(grid) == 1 + 2 * len(one_ratio)


def test_each_variant_is_measured_pruned_as_it_says(loaded):
    measure = logit_measure(torch.arange(9)[None])
    grid = [
        DENSE,
        Variant("output", "none", 0.5),
        Variant("paper", "lstsq", 0.5),
        Variant("random", "none", 0.5, 0),
        Variant("random", "none", 0.5, 1),
    ]
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    results = list(measure_variants(loaded, grid, measure, weights="w", backend="torch"))
    activity = gather_activity(loaded.model, measure.calibration())
    for result, variant in zip(results, grid, strict=True):
        assert (result.model, result.weights, result.variant) == ("tiny", "w", variant)
        if variant.bridge is None:
            expected, kept = loaded.model, loaded.model.config.state_size
        else:
            selection = select(activity, ratio=0.5, score=variant.score, seed=variant.seed or 0)
            expected = pruned(loaded.model, selection, bridge=variant.bridge, activity=activity)
            kept = selection.count
        assert result.kept == kept
        assert result.measured.value == pytest.approx(measure.evaluate(expected).value, rel=1e-4)
    assert len({result.measured.value for result in results}) > 3
    after = loaded.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_recall_is_not_calibrated_on_what_it_is_measured_with():
    measure = recall_measure(TASK, samples=32, calibration_samples=32)
    (calibration,) = measure.calibration()
    (measured,) = recall_batches(TASK, 32, seed=0)
    assert calibration.shape == measured.tokens.shape
    assert not (calibration[:, None] == measured.tokens[None]).all(-1).any()
    assert torch.equal(calibration, next(measure.calibration()))


def test_the_value_of_recall_is_its_accuracy():
    model = small_mamba2()
    answered = accuracy(model, TASK, samples=40, seed=3)
    measure = recall_measure(TASK, samples=40, seed=3)
    assert measure.evaluate(model) == MeasuredValue(answered.value, 80)


def test_a_text_is_measured_in_bits_per_byte(tmp_path):
    from perfmamba.evaluation.perplexity import text_score
    from perfmamba.models.tokenizing import text_encoder
    from perfmamba.training.recall import recall_model, save_checkpoint

    model = recall_model("mamba2", seed=0)
    save_checkpoint(model, tmp_path / "tiny", "")
    text, other = tmp_path / "text.txt", tmp_path / "other.txt"
    text.write_text("What is measured.\n" * 9)
    other.write_text("What it is calibrated on.\n" * 9)
    source = str(tmp_path / "tiny")
    measure = text_measure(
        text, str(other), source=source, vocabulary=256, seqlen=32, stride=16, calibration_tokens=70
    )
    expected = text_score(model, text, text_encoder(source, vocabulary=256), seqlen=32, stride=16)
    assert measure.evaluate(model) == MeasuredValue(expected.bits_per_byte, 18 * 9)
    assert "".join(map(chr, torch.cat(list(measure.calibration()), 1)[0])) == other.read_text()[:64]
    with pytest.raises(InputError, match="no calibration data"):
        text_measure(text, str(tmp_path / "absent"), source=source, vocabulary=256)


def test_the_digest_tells_weights_apart():
    model = small_mamba2()
    first = weights_digest(model)
    assert weights_digest(small_mamba2()) == first
    with torch.no_grad():
        model.backbone.layers[1].mixer.D[2] += 1e-6
    assert weights_digest(model) != first


def result(value, variant=DENSE, model="tiny", weights="w"):
    return VariantResult(model, weights, variant, 6, MeasuredValue(value, 100))


def test_a_study_is_read_as_it_was_written(tmp_path):
    folder = tmp_path / "deep" / "study"
    assert open_study(folder, SETTINGS) == ()
    results = (result(1.0), result(0.1 + 0.2, Variant("random", "lstsq", 0.7, 3)))
    for one in results:
        append_result(folder, one)
    assert read_study(folder) == (SETTINGS, results)
    assert open_study(folder, SETTINGS) == results


def test_a_torn_line_is_measured_again(tmp_path):
    open_study(tmp_path, SETTINGS)
    append_result(tmp_path, result(1.0))
    with (tmp_path / "results.jsonl").open("ab") as file:
        file.write(b'{"model":"ti')
    assert open_study(tmp_path, SETTINGS) == (result(1.0),)
    append_result(tmp_path, result(0.5, Variant("output", "none", 0.5)))
    assert [one.measured.value for one in read_study(tmp_path)[1]] == [1.0, 0.5]


def test_a_study_of_something_else(tmp_path):
    open_study(tmp_path, SETTINGS)
    other = Settings("accuracy", {"task": "another task"}, generation=2, layers=2, states=6)
    with pytest.raises(InputError, match="another folder"):
        open_study(tmp_path, other)


@pytest.mark.parametrize("text", ["not JSON", json.dumps({"measure": "speed"})])
def test_settings_that_cannot_be_read(text, tmp_path):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(InputError, match="cannot read the study in"):
        read_study(tmp_path)


def test_no_study(tmp_path):
    with pytest.raises(InputError, match=r"holds no study \(no study.json\)"):
        read_study(tmp_path)


def test_what_is_missing():
    grid = (DENSE, Variant("output", "none", 0.5), Variant("random", "none", 0.5, 1))
    done = [result(1.0), result(0.9, grid[2]), result(0.8, grid[1], model="other")]
    assert missing(grid, done, model="tiny", weights="w") == (grid[1],)
    with pytest.raises(InputError, match="a model tiny with other weights"):
        missing(grid, done, model="tiny", weights="v")
