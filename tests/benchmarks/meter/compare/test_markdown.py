"""The comparison as Markdown: the order of its parts, and that no text in it is taken for markup."""

import re
from pathlib import Path

import pytest

from benchmarks.meter.compare import markdown
from benchmarks.meter.compare.builds import Build
from benchmarks.meter.compare.duel import CellComparison, ComparedCell
from benchmarks.meter.compare.markdown import code

BASE, HEAD = Build("main", "b" * 40, Path()), Build("HEAD", "a" * 40, Path())


def measured(name, ratio, params=()):
    """A cell with a confirmed ratio."""
    cell = ComparedCell(name, params, None, "seconds")
    blocks = (0,) * 8 + (1,) * 8
    return CellComparison(cell, base=(1.0,) * 16, head=(ratio,) * 16, blocks=blocks, confirmed=True)


def without(name, outcome, reason):
    return CellComparison(ComparedCell(name, (), None, "seconds"), outcome, reason)


@pytest.fixture(autouse=True)
def _this_machine(monkeypatch):
    monkeypatch.setattr(markdown, "machine_fields", lambda: {"machine": "a-box"})
    monkeypatch.setattr(markdown, "versions", lambda: {"python": "3.12.1", "torch": "2.13.0", "gpu": None})


def rendered(results, cut_short=""):
    return markdown.rendered(BASE, HEAD, results, 0.02, cut_short=cut_short)


def test_the_verdict_comes_first_then_what_changed_then_the_rest_folded():
    text = rendered(
        [
            measured("suite.same", 1.0),
            measured("suite.faster", 0.5, params=("'a'", "64")),
            without("suite.gone", "lost", "no longer: Traceback\nValueError: no such grid"),
            measured("suite.slower", 2.0),
            without("suite.skipped", "skipped", "needs a GPU"),
        ]
    )
    verdict, counts, table, reasons, *folded = text.split("\n\n")
    assert verdict == "**2 of 5 cells got worse.** `HEAD` (`aaaaaaaa`) against `main` (`bbbbbbbb`)."
    assert counts.startswith("5 cells: 1 slower, 1 faster, 1 n/a, 1 no difference seen")
    assert table.splitlines() == [
        "| cell | base | HEAD | change | 99 % interval | verdict |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
        "| `suite.slower` | 1 s | 2 s | +100.0% | +100.0% to +100.0% | slower |",
        "| `suite.faster('a', 64)` | 1 s | 500 ms | -50.0% | -50.0% to -50.0% | faster |",
    ]
    assert reasons == "- lost: `suite.gone`: `ValueError: no such grid`"
    assert folded[0] == "<details><summary>1 unchanged</summary>"
    assert "`suite.same`" in folded[1]
    assert folded[2:5] == [
        "</details>",
        "<details><summary>1 n/a</summary>",
        "- n/a: `suite.skipped`: `needs a GPU`",
    ]
    assert folded[5:] == [
        "</details>",
        "<details><summary>Versions and machine</summary>",
        "- machine: `a-box`\n- python: `3.12.1`\n- torch: `2.13.0`",
        "</details>",
    ]


@pytest.mark.parametrize(
    ("results", "cut_short", "verdict"),
    [
        ([measured("one", 1.0)], "", "Nothing got worse."),
        ([measured("one", 0.5)], "", "Nothing got worse."),
        ([measured("one", 2.0)], "", "1 of 1 cell got worse."),
        ([measured("one", 2.0)], "interrupted", "The comparison was cut short."),
        ([without("one", "failed", "no"), measured("two", 1.0)], "", "1 of 2 cells could not be compared."),
    ],
)
def test_the_verdict_says_what_the_exit_code_says(results, cut_short, verdict):
    assert rendered(results, cut_short).startswith(f"**{verdict}** ")


def test_a_bar_in_a_name_ends_no_cell_of_the_table():
    text = rendered([measured("suite.slower", 2.0, params=("'a|b'", "'`c`'"))])
    (row,) = [line for line in text.splitlines() if "suite.slower" in line]
    assert row.count("|") == len(markdown.HEADERS) + 1
    assert "<code>suite.slower('a&#124;b', '&#96;c&#96;')</code>" in row


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("suite.Class.time_x('a', 64)", "`suite.Class.time_x('a', 64)`"),
        ("*bold* __init__ <b> @someone #7", "`*bold* __init__ <b> @someone #7`"),
        ("two\n  lines", "`two lines`"),
        ("", ""),
        ("a|<b>&*_", "<code>a&#124;&lt;b&gt;&amp;&#42;&#95;</code>"),
        ("`", "<code>&#96;</code>"),
    ],
)
def test_text_is_shown_as_it_is(text, shown):
    assert code(text) == shown
    assert not re.search(r"[\n]", shown)
