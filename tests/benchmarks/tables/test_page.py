"""The page "Paper tables" as a whole; at the end, in Chromium."""

import subprocess
import sys

import pytest
from asv.util import UserError

from benchmarks.tables import suites
from benchmarks.tables.plugin import PaperTables
from tests.benchmarks.meter.site.browser import visit
from tests.benchmarks.meter.site.project import PAPER_TABLES, ROOT, SITE
from tests.benchmarks.tables.results import (
    component_results,
    made_project,
    paired_results,
    text,
)


def test_without_results_the_page_says_how_to_get_them(page):
    made = text(page())
    assert "asv run HEAD --bench ComponentCost" in made
    assert "asv run HEAD --bench StateSize" in made


def test_every_machine_has_its_tables(project, page):
    project.measure(project.commits[0], component_results(), machine="a")
    project.measure(project.commits[1], component_results(), machine="b", fields={"gpu": "NVIDIA A100"})
    made = page()
    assert [text(heading) for heading in made.iter("h3")] == ["a", "b"]
    above = [text(line) for line in made.iter("dl")]
    assert project.commits[0][:8] in above[0]
    assert "NVIDIA A100" in above[1]
    assert project.commits[1][:8] in above[1]


def test_plugins_import_neither_torch_nor_the_package():
    plugins = ", ".join(name.removeprefix(".") for name in (SITE, PAPER_TABLES))
    heavy = "{'torch', 'transformers', 'perfmamba'}"
    command = f"import sys, {plugins}; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_without_the_packages_dependencies_publishing_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "benchmarks.tables.content")
    monkeypatch.setitem(sys.modules, "perfmamba.report.paper", None)
    for name in ("perfmamba.report.table1", "perfmamba.report.table2"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match=r"needs perfmamba \(.*perfmamba\.report\.paper.*pip install"):
        PaperTables.publish(None, None, None, None, None)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a published site, and the medians of one cell by commit."""
    project = made_project(tmp_path_factory.mktemp("tables"))
    for commit in project.commits:
        project.measure(commit, component_results() | paired_results())
    return project.publish()


def test_a_number_leads_to_its_graph(published):
    with visit(published) as visited:
        visited.open("index.html")
        visited.page.get_by_role("link", name="Paper tables").click()
        assert visited.page.locator("li.active").inner_text() == "Paper tables"
        # the first is the memory of the same component
        visited.page.get_by_role("link", name="8.00", exact=True).nth(1).click()
        visited.page.wait_for_function("() => $('#main-graph').data('plot')")
        assert visited.page.locator("#title").inner_text() == suites.COMPONENT_TIME
        assert not visited.page.locator("#tables-display").is_visible()
        ((label, points),) = visited.page.evaluate(CURVES)
        assert label == "batch-8; component-ssm; model-mamba2-130m; seqlen-64"
        assert [value for _, value in points] == pytest.approx([8e-3, 8e-3])
        assert visited.problems == []


CURVES = "() => $('#main-graph').data('plot').getData().map(curve => [curve.label, curve.data])"


@pytest.mark.parametrize("path", ["index.html#/tables", "tables/index.html"])
def test_page_is_no_wider_than_a_phone(published, path):
    with visit(published, viewport={"width": 390, "height": 800}, is_mobile=True) as visited:
        visited.open(path)
        assert visited.page.get_by_role("heading", name="Table 2: what removing states saves").is_visible()
        assert visited.page.evaluate("() => document.documentElement.scrollWidth") <= 390
        assert visited.problems == []
