import csv
import io
import json

import pytest

from perfmamba.table import FORMATS, Column, Table, render

TABLE = Table(
    "Costs, 100 % of them",
    (Column("name", "Name"), Column("time_ns", "Time\n(ms)", ",.2f", 1e6), Column("note", "Note")),
    (("a_b & c|d", 1_234_567_890, None), ("total", None, "5 %")),
    frozenset({1}),
    ("A note.",),
)


def test_text_divides_into_the_unit_of_the_header():
    text = render(TABLE, "text")
    assert text.splitlines()[0] == "Costs, 100 % of them"
    assert "1,234.57" in text
    assert text.endswith("A note.")


def test_text_is_not_cut_to_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    wide = Table("", (Column("a", "A"),), (("x" * 500,),))
    assert "x" * 500 in render(wide, "text")


def test_color_adds_styles_only():
    assert "\x1b[" in render(TABLE, "text", color=True)
    assert "\x1b[" not in render(TABLE, "text")


def test_csv_keeps_every_digit_and_quotes():
    rows = list(csv.DictReader(io.StringIO(render(TABLE, "csv"))))
    assert rows[0] == {"name": "a_b & c|d", "time_ns": "1234567890", "note": ""}


def test_json_keeps_every_digit():
    parsed = json.loads(render(TABLE, "json"))
    assert parsed["rows"][0] == {"name": "a_b & c|d", "time_ns": 1_234_567_890, "note": None}
    assert parsed["notes"] == ["A note."]


def test_markdown_escapes_what_would_break_a_row():
    lines = render(TABLE, "markdown").splitlines()
    header, row = lines[2], lines[4]
    assert header.count("|") == 4
    assert row.replace(r"\|", "").count("|") == 4


def test_latex_escapes_its_special_characters():
    latex = render(TABLE, "latex")
    assert r"a\_b \& c" in latex
    assert r"Costs, 100 \% of them" in latex
    assert r"5 \%" in latex


def test_html_escapes_and_is_one_element():
    html = render(TABLE, "html")
    assert "a_b &amp; c|d" in html
    assert html.startswith("<figure>")
    assert html.endswith("</figure>")


@pytest.mark.parametrize("table_format", FORMATS)
def test_every_format_has_every_label(table_format):
    assert "total" in render(TABLE, table_format)
