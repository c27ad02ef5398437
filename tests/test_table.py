import csv
import io
import json

import pytest

from perfmamba.table import (
    FORMATS,
    Column,
    Linked,
    Mark,
    Table,
    number,
    render,
    significant,
    terminal_width,
)

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


GROUPS = ("first", "second", "the third")
GROUPED = Table(
    "Costs of three models, by component, on a machine with a long name",
    (
        Column("component", "Component", is_key=True),
        *(
            Column(f"{key}_{group}", f"{header}\n{group}", ",.1f", group=group, short=header)
            for key, header in (("time_ms", "time ms"), ("memory_mb", "allocated MB"))
            for group in GROUPS
        ),
    ),
    (("scan", 1.0, 2.0, 3.0, 10.0, 20.0, 30.0), ("total", 11.0, 12.0, 13.0, 110.0, 120.0, 13_000.0)),
    frozenset({1}),
    ("This note is longer than a narrow terminal is wide, so that it is continued below.",),
)
"""Its columns are by quantity; each group has one of either."""


def test_the_columns_of_a_group_stand_together_below_its_name():
    _, names, *headers = render(GROUPED, "text").splitlines()[:4]
    assert names.replace("─", "").split() == ["first", "second", "the", "third"]
    assert headers[-1].split() == ["Component", *["ms", "MB"] * 3]
    (scan,) = [line for line in render(GROUPED, "text").splitlines() if "scan" in line]
    assert scan.split() == ["scan", "1.0", "10.0", "2.0", "20.0", "3.0", "30.0"]


def test_a_table_that_does_not_fit_is_printed_in_blocks_of_whole_groups():
    text = render(GROUPED, "text", width=52)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 52
    assert [line.split()[1:] for line in lines if "total" in line] == [
        ["11.0", "110.0", "12.0", "120.0"],
        ["13.0", "13,000.0"],
    ]
    assert text.count("Component") == 2
    assert lines[:2] == ["Costs of three models, by component, on a machine", "  with a long name"]
    assert lines[-1].startswith("  ")


def test_a_group_that_does_not_fit_is_split_into_columns():
    lines = render(GROUPED, "text", width=24).splitlines()
    assert [line.split()[1:] for line in lines if "total" in line] == [
        ["11.0"],
        ["110.0"],
        ["12.0"],
        ["120.0"],
        ["13.0"],
        ["13,000.0"],
    ]
    assert max(map(len, lines)) <= 24


def test_no_value_is_cut_where_not_even_one_column_fits():
    text = render(GROUPED, "text", width=5)
    assert text.count("13,000.0") == 1
    assert text.count("total") == 6


def test_a_table_that_fits_reads_as_without_a_width():
    assert render(TABLE, "text", width=200) == render(TABLE, "text")


def test_the_formats_for_programs_keep_the_order_of_the_columns():
    (header, *_) = csv.reader(io.StringIO(render(GROUPED, "csv")))
    assert header[:4] == ["component", "time_ms_first", "time_ms_second", "time_ms_the third"]


def test_the_width_is_that_of_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "77")
    assert terminal_width() is None
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert terminal_width() == 77


def test_columns_without_a_value_are_left_out_for_people():
    table = Table(
        "", (Column("a", "Name", is_key=True), Column("b", "Empty"), Column("c", "Full")), ((None, None, 1),)
    )
    assert "Empty" not in render(table, "text")
    assert "Name" in render(table, "text")
    assert render(table, "csv").splitlines() == ["a,b,c", ",,1"]


LINKED = Linked(
    1.5, href="#there", marks=(Mark("T", "hot"), Mark("~", "unclear")), detail="1 to 2", hover="why"
)
FAILED = Linked(None, text="failed")


def test_people_read_marks_and_details_and_programs_the_value():
    table = Table("", (Column("a", "A", ".2f", suffix="x"),), ((LINKED,), (FAILED,), (None,)))
    assert [line.strip() for line in render(table, "text").splitlines()[3:]] == [
        "1.50x T ~ (1 to 2)",
        "failed",
        "-",
    ]
    assert render(table, "csv").splitlines() == ["a", "1.5", '""', '""']
    assert [row["a"] for row in json.loads(render(table, "json"))["rows"]] == [1.5, None, None]
    assert (number(LINKED), number(FAILED), number("text")) == (1.5, None, None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.012345, "0.0123"),
        (0.99999, "1.00"),
        (1.234, "1.23"),
        (99.96, "100"),
        (123.4, "123"),
        (12345, "12,300"),
        (-1.5, "-1.50"),
    ],
)
def test_numbers_have_significant_digits_and_no_exponent(value, text):
    assert significant(value) == text


def test_rows_that_stand_out_have_a_style_in_color():
    table = Table("", (Column("a", "A"),), ((1,), (2,), (3,)), row_styles={1: "strong", 2: "quiet"})
    plain, strong, quiet = render(table, "text", color=True).splitlines()[3:]
    assert "\x1b" not in plain
    assert strong.startswith("\x1b[1m")
    assert quiet.startswith("\x1b[2m")
