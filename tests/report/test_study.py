"""What a study's table says, from results whose means are known."""

import pytest

from perfmamba.evaluation.intervals import average
from perfmamba.evaluation.measures import MeasuredValue
from perfmamba.evaluation.study import DENSE, Variant, VariantResult
from perfmamba.evaluation.study_files import Settings
from perfmamba.report.study import Way, study_tables, summarize
from perfmamba.report.study_figure import study_chart, study_rows
from perfmamba.table import render

SETTINGS = Settings("accuracy", {"task": "recall of 8 pairs"}, generation=2, layers=2, states=64)
VALUES = {
    DENSE: (1.0, 0.98, 0.99),
    Variant("paper", "none", 0.5): (0.5, 0.7, 0.6),
    Variant("random", "none", 0.5, 0): (0.6, 0.7, 0.8),
    Variant("random", "none", 0.5, 1): (0.4, 0.5, 0.6),
    Variant("output", "none", 0.5): (0.9, 0.95, 1.0),
    Variant("output", "none", 0.9): (0.4, 0.5, 0.3),
    Variant("random", "lstsq", 0.5, 0): (0.8, 0.8, 0.8),
    Variant(None, "balanced", 0.5): (0.95, 0.97, 0.99),
}


@pytest.fixture
def results():
    return [
        VariantResult(f"seed{model}", str(model), variant, 32, MeasuredValue(value, 800))
        for variant, values in VALUES.items()
        for model, value in enumerate(values)
    ]


@pytest.fixture
def summaries(results):
    return {summary.way: summary for summary in summarize(results)}


def test_the_control_is_averaged_over_its_seeds_in_each_model(summaries):
    control = summaries[Way("random", "none", 0.5)]
    assert (control.value.mean, control.value.count) == (pytest.approx(0.6), 3)
    assert control.value.half_width == pytest.approx(average([0.5, 0.6, 0.7]).half_width)


def test_the_advantage_is_taken_in_each_model(summaries):
    paper = summaries[Way("paper", "none", 0.5)].advantage
    assert paper.mean == pytest.approx(0)
    assert paper.half_width == pytest.approx(average([0.0, 0.1, -0.1]).half_width)
    output = summaries[Way("output", "none", 0.5)].advantage
    assert (output.mean, output.half_width) == (pytest.approx(0.35), pytest.approx(0.12422, abs=1e-4))


def test_balanced_is_held_against_random_with_lstsq(summaries):
    assert summaries[Way(None, "balanced", 0.5)].advantage.mean == pytest.approx(0.17)


def test_there_is_no_advantage_without_a_control(summaries):
    assert summaries[Way("output", "none", 0.9)].advantage is None
    assert summaries[Way(None, None, 0.0)].advantage is None


def test_the_first_table_has_every_way_and_ratio(results):
    table, _ = study_tables(SETTINGS, results)
    records = {(record["bridge"], record["score"]): record for record in table.records()}
    assert list(records) == [
        ("(dense)", "(no selection)"),
        ("none", "paper"),
        ("none", "random"),
        ("none", "output"),
        ("lstsq", "random"),
        ("balanced", "(no selection)"),
    ]
    assert records["none", "output"]["mean_r0.5"] == pytest.approx(0.95)
    assert records["none", "output"]["mean_r0.9"] == pytest.approx(0.4)
    assert records["none", "paper"]["mean_r0.9"] is None
    assert records["(dense)", "(no selection)"]["mean_r0.9"] == pytest.approx(0.99)
    assert table.sections == {0, 1, 4, 5}


def test_the_second_table_has_the_differences(results):
    _, table = study_tables(SETTINGS, results)
    text = render(table, "text")
    assert [record["score"] for record in table.records()] == ["paper", "output", "(no selection)"]
    assert "+0.350" in text
    assert "+0.170" in text


def test_one_model_has_no_interval(results):
    alone = [result for result in results if result.model == "seed0"]
    for table in study_tables(SETTINGS, alone):
        assert not [column.key for column in table.columns if column.key.startswith("half_width")]
        assert "±" not in render(table, "text")


def test_the_chart_has_a_line_from_the_dense_model_for_each_score(results):
    rows = list(study_rows(results))
    points = {(row["panel"], row["line"], row["ratio"]): row for row in rows}
    assert points["none", "paper", 0.0]["value"] == points["lstsq", "balanced", 0.0]["value"] == 0.99
    assert points["none", "output", 0.9]["value"] == pytest.approx(0.4)
    low, high = (points["none", "output", 0.5][end] for end in ("low", "high"))
    half = average([0.9, 0.95, 1.0]).half_width
    assert (low, high) == (pytest.approx(0.95 - half), pytest.approx(0.95 + half))
    assert len(rows) == len(points) == 6 + 5


def test_the_chart_can_be_drawn(results):
    pytest.importorskip("altair")
    chart = study_chart(SETTINGS, results).to_dict()
    assert [panel["title"] for panel in chart["hconcat"]] == ["bridge none", "bridge lstsq, and balanced"]
