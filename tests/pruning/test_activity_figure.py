"""The heat map and the table of states: their numbers, and files that need no network."""

import re
import sys

import pytest
import torch

from perfmamba.errors import InputError
from perfmamba.report.activity_figure import activity_chart, activity_rows
from perfmamba.report.activity_table import activity_table, fewest
from perfmamba.report.charts import require_altair, save_chart
from perfmamba.table import render
from tests.benchmarks.meter.site.browser import visit
from tests.pruning.activities import activity_of, layer_activity

ACTIVITY = activity_of(
    layer_activity([0.1, 0.3], output=[[1.0, 2.0, 3.0, 6.0]]),
    layer_activity([0.2, 0.2], output=[[0.0, 0.0, 0.0, 0.0]]),
)


def test_each_layer_is_drawn_relative_to_its_mean():
    rows = list(activity_rows(ACTIVITY, ["output", "paper"]))
    assert [row["relative"] for row in rows[:4]] == pytest.approx([1 / 3, 2 / 3, 1, 2])
    assert [row["value"] for row in rows[:4]] == [1, 2, 3, 6]
    assert [row["relative"] for row in rows[4:8]] == [0] * 4  # a layer at rest
    assert [row["relative"] for row in rows[8:12]] == pytest.approx([0.5, 0.5, 1.5, 1.5])
    assert {(row["layer"], row["state"]) for row in rows} == {(i, s) for i in range(2) for s in range(4)}


def test_states_of_groups_come_one_group_after_the_other():
    grouped = activity_of(layer_activity([0.1, 0.2], output=[[1.0, 2.0], [3.0, 4.0]], write=[[0.0] * 2] * 2))
    assert [(row["state"], row["value"]) for row in activity_rows(grouped, ["output"])] == [
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
    ]


def test_the_files_hold_every_state_and_need_no_network(tmp_path):
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    chart = activity_chart(ACTIVITY, ["paper", "output"], title="some model")
    drawing, page = save_chart(chart, tmp_path / "activity.safetensors")
    assert (drawing.name, page.name) == ("activity.svg", "activity.html")
    svg = drawing.read_text(encoding="utf-8")
    for text in ("some model", "paper: mean dt", "output: E[C² h²]", "layer's mean"):
        assert text in svg
    assert len(re.findall(r'<path d="M[^"]*" fill="', svg)) >= 16  # a rectangle a state, in each panel
    html = page.read_text(encoding="utf-8")
    assert "vega" in html
    assert not re.findall(r"<script[^>]* src=|<link[^>]* href=|@import", html)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_page_draws_in_a_browser_without_network(tmp_path):
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    save_chart(activity_chart(ACTIVITY, ["paper", "output"], title="some model"), tmp_path / "activity.x")
    (tmp_path / "favicon.ico").touch()  # a browser asks for it
    with visit(tmp_path) as seen:
        seen.open("activity.html")
        seen.page.wait_for_selector("#vis svg.marks")
        assert "some model" in seen.page.locator("#vis").inner_text()
        assert seen.page.locator("#vis svg .mark-rect.role-mark path").count() == 16
        assert seen.problems == []


@pytest.mark.parametrize("absent", ["altair", "vl_convert"])
def test_without_altair_its_absence_is_said(monkeypatch, absent):
    for name in ("altair", "vl_convert"):
        monkeypatch.setitem(sys.modules, name, None if name == absent else sys)
    with pytest.raises(
        InputError, match=rf"a chart needs the package {absent}; pip install 'perfmamba\[report\]'"
    ):
        require_altair()


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 1), (0.51, 2), (0.75, 2), (0.875, 3), (0.9, 4), (0.999, 4)]
)
def test_the_fewest_states_with_a_share(share, expected):
    assert fewest(torch.tensor([[2.0, 4.0, 1.0, 1.0]]).double(), share) == expected
    assert fewest(torch.tensor([[4.0, 1.0], [1.0, 2.0]]).double(), share) == expected


def test_the_table_counts_states():
    table = activity_table(ACTIVITY, title="What states do")
    first, second = table.rows
    assert first[0] == 0
    assert first[1] == pytest.approx(0.2)
    assert first[2] == pytest.approx(ACTIVITY.layers[0].energy.sum().item())
    assert first[3:] == (12, 3, 4, 4)
    assert second[3:] == (0, 1, 1, 1)
    assert "100 tokens" in render(table, "text")
