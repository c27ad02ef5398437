"""The documentation: the code of docs/extending.md runs, and pages, commands and links are what is there."""

import re
from pathlib import Path

import pytest

import perfmamba
from perfmamba.models.backends import BACKENDS
from perfmamba.pruning.scores import SCORES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(section):
    """The Python code of docs/extending.md: what all examples share, then that of a section."""
    shared, *sections = re.split(r"^## ", (ROOT / "docs" / "extending.md").read_text(), flags=re.MULTILINE)
    texts = [shared, *(text for text in sections if text.startswith(f"{section}\n"))]
    assert len(texts) == 2
    return [
        code
        for text in texts
        for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]


def run(section):
    names = {}
    for code in blocks(section):
        exec(compile(code, "docs/extending.md", "exec"), names)
    return names


@pytest.mark.slow
def test_a_score_is_added_as_written(capsys):
    before = dict(SCORES)
    try:
        run("A score")
    finally:
        SCORES.clear()
        SCORES.update(before)
    assert capsys.readouterr().out.split() == ["64"]


@pytest.mark.slow
def test_a_backend_is_added_as_written(capsys):
    before = dict(BACKENDS)
    try:
        calls = run("A backend")["calls"]
    finally:
        BACKENDS.clear()
        BACKENDS.update(before)
    assert sum(calls.values()) == 2, "the convolution and the scan of one layer"


@pytest.mark.slow
def test_a_suite_is_added_as_written():
    suite = run("A suite")["Embedding"]
    for seqlen in suite.params[0]:
        cell = suite()
        cell.setup(seqlen)
        cell.cudatime_lookup(seqlen)
        assert cell.tokens.shape == (1, seqlen)


@pytest.mark.slow
def test_a_table_is_added_as_written(capsys):
    names = run("A table")
    printed = capsys.readouterr().out
    assert "Time of a pass by component" in printed
    assert f"{names['rows'][0][0]},{names['rows'][0][1]}" in printed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_reference_names_the_public_face():
    page = (ROOT / "docs" / "api.md").read_text()
    assert ".. automodule:: perfmamba\n   :members:" in page or all(
        name in page for name in perfmamba.__all__
    )


def test_ci_runs_the_command_of_the_readme():
    (command,) = re.findall(
        r"^    (python -m pip install nox && python -m nox -s tests)\b", PAGES[0].read_text(), re.MULTILINE
    )
    assert command.replace("python", "python3") in (ROOT / ".ci" / "run").read_text().splitlines()
