"""A choice is one entry: a seventh score and two more bridges, used everywhere with nothing else added."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from perfmamba.evaluation.measures import MeasuredValue
from perfmamba.evaluation.study import DENSE, Variant, VariantResult, variants
from perfmamba.evaluation.study_files import Settings
from perfmamba.pruning import checked as checking
from perfmamba.pruning import recipe as recipes
from perfmamba.pruning import surgery
from perfmamba.pruning.activity import gather_activity
from perfmamba.pruning.bridge import BRIDGES, Bridge, Projection, zero_filling
from perfmamba.pruning.checked import checked_model
from perfmamba.pruning.recipe import Recipe, prune_by
from perfmamba.pruning.scores import SCORES, Score, scores
from perfmamba.report.activity_figure import activity_chart, activity_rows
from perfmamba.report.study import study_tables
from perfmamba.report.study_figure import study_chart, study_rows
from tests.pruning.prunable import TOKENS, logits, mamba1, mamba2
from tests.pruning.test_recipe import loaded

SETTINGS = Settings("accuracy", {"task": "a task"}, generation=2, layers=2, states=6)

COMMAND = """
import sys
from cyclopts import App
from perfmamba.pruning.scores import SCORES, Score
from perfmamba.pruning.bridge import BRIDGES, Bridge, Projection, zero_filling
SCORES["reversed"] = Score("reversed", "the last ones first", "#123456", lambda layer, _: -layer.magnitude,
                           needs_activity=False)
def halved(_layer, kept, states):
    made = zero_filling(kept, states)
    return Projection(made.b, made.c / 2, kept)
BRIDGES["halved"] = Bridge("halved", "half of what is kept", halved, mixes_c=True, needs_activity=False)
assert "torch" not in sys.modules
from perfmamba.commands.prune import prune
app = App(result_action="return_value")
app.default(prune)
app(sys.argv[1:], exit_on_error=False, print_error=False)
"""


def halved(_layer, kept, states):
    made = zero_filling(kept, states)
    return Projection(made.b, made.c / 2, kept)


def mixed(_layer, kept, states):
    """Every kept place gets the sum of its state and of all others."""
    ones = torch.ones(*kept.shape[:1], states, kept.shape[1], dtype=torch.float64)
    made = zero_filling(kept, states)
    return Projection(made.b + ones, made.c)


@pytest.fixture
def _added(monkeypatch):
    score = Score("reversed", "the last ones first", "#123456", lambda layer, _: -layer.output)
    monkeypatch.setitem(SCORES, "reversed", score)
    for bridge in (
        Bridge("halved", "half of what is kept", halved, mixes_c=True, needs_activity=False),
        Bridge("mixed", "sums", mixed, mixes_b=True, needs_activity=False, color="#654321"),
    ):
        monkeypatch.setitem(BRIDGES, bridge.name, bridge)


@pytest.fixture(scope="module")
def dense():
    return mamba2(dtype=torch.float32)


@pytest.fixture(scope="module")
def activity(dense):
    return gather_activity(dense, [TOKENS])


@pytest.mark.usefixtures("_added")
def test_a_new_score_is_drawn(activity):
    rows = list(activity_rows(activity, ["reversed"]))
    flat = scores(activity, "reversed")[0].flatten().tolist()
    assert [row["value"] for row in rows[: len(flat)]] == flat
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    chart = activity_chart(activity, list(SCORES), title="t").to_dict()
    assert [panel["title"] for panel in chart["vconcat"]][-1] == "reversed: the last ones first"


@pytest.mark.usefixtures("_added")
def test_new_choices_are_in_a_study():
    grid = variants(ratios=(0.5,), scores=tuple(SCORES), bridges=tuple(BRIDGES), seeds=2)
    assert Variant("reversed", "none", 0.5) in grid
    assert Variant("reversed", "halved", 0.5) in grid
    assert [variant.score for variant in grid if variant.bridge == "mixed"] == [None]
    results = [
        VariantResult("tiny", "w", variant, 3, MeasuredValue(0.5 + place / 100, 10))
        for place, variant in enumerate(grid)
    ]
    assert results[0].variant == DENSE
    table, differences = study_tables(SETTINGS, results)
    ways = {(record["bridge"], record["score"]) for record in table.records()}
    assert {("none", "reversed"), ("halved", "reversed"), ("mixed", "(no selection)")} <= ways
    assert ("mixed", "(no selection)") not in {(row["bridge"], row["score"]) for row in differences.records()}
    assert {row["panel"] for row in study_rows(results)} == {"none", "lstsq", "halved", "mixed"}
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    text = json.dumps(study_chart(SETTINGS, results).to_dict())
    for color in ("#123456", "#654321"):
        assert color in text


@pytest.mark.usefixtures("_added")
@pytest.mark.parametrize("make", [mamba1, mamba2])
def test_new_choices_prune_and_are_on_the_card(make):
    model = make(dtype=torch.float32)
    generation = checked_model(model).generation
    activity = gather_activity(model, [TOKENS])
    smaller, card = prune_by(Recipe(0.5, "reversed", "halved"), loaded(model, generation), activity)
    assert logits(smaller).isfinite().all()
    assert any(line.startswith("score: reversed") for line in card.lines())
    assert "bridge: halved (half of what is kept)" in card.lines()
    if generation == 2:
        _, card = prune_by(Recipe(0.5, bridge="mixed"), loaded(model), activity)
        assert card.score is card.kept is None


def test_a_new_choice_is_one_of_the_command(tmp_path):
    mamba2(dtype=torch.float32).save_pretrained(tmp_path / "two")
    options = ("--ratio", "0.5", "--score", "reversed", "--bridge", "halved", "--out", tmp_path / "out")
    subprocess.run([sys.executable, "-c", COMMAND, tmp_path / "two", *options], check=True)
    assert "halved (half of what is kept)" in (tmp_path / "out" / "README.md").read_text()
    import perfmamba.models.bridged  # noqa: F401  # registers the class of bridged models

    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.state_size == 3


def test_weights_are_looked_through_once_and_projections_made_once(dense, activity, monkeypatch):
    calls = []
    for module, name in (
        (checking, "require_finite_weights"),
        (recipes, "projections"),
        (surgery, "projections"),
    ):
        original = getattr(module, name)

        def counted(*args, _name=name, _original=original):
            calls.append(_name)
            return _original(*args)

        monkeypatch.setattr(module, name, counted)
    checked = surgery.check_prunable(dense, bridge="lstsq")
    gather_activity(checked, [TOKENS])
    prune_by(Recipe(0.5, bridge="lstsq"), loaded(dense), activity, checked=checked)
    assert sorted(calls) == ["projections", "require_finite_weights"]


def test_every_entry_has_what_people_see():
    for name, choice in (*SCORES.items(), *BRIDGES.items()):
        assert choice.name == name
        assert choice.label
        assert choice.color.startswith("#")
