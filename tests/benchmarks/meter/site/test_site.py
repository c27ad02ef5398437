"""What the site carries and how asv's pages are edited; then a published site in Chromium, offline."""

import base64
import hashlib
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import asv
import pytest
from asv.graph import GraphSet
from asv.util import UserError

from benchmarks.meter.site.edits import Edit, after, before, edit_page
from benchmarks.meter.site.links import graph_link
from benchmarks.meter.site.markup import element, html_text
from benchmarks.meter.site.offline import ASSETS, CARRIED, OTHER_BUILDS, carry_assets, remote_resources
from benchmarks.meter.site.repairs import first_view, repair_pages
from tests.benchmarks.meter.site.browser import visit
from tests.benchmarks.meter.site.project import SITE, Project, definition

STOCK = Path(asv.__file__).parent / "www"
BENCHMARK = "scan.Scan.cudatime_forward"
MIXED = "mixed.Mixed.cudatime_forward"
NEW = "new.New.cudatime_forward"
LENGTHS = [64, 512, 16384]
SLOW_FROM = 3


@pytest.fixture
def stock(tmp_path):
    """The pages that the installed asv ships."""
    return Path(shutil.copytree(STOCK, tmp_path / "html"))


def test_carried_files_are_those_of_the_readme():
    stated = dict(reversed(line) for line in re.findall(r"(?m)^([0-9a-f]{64})  (\S+)$", _readme()))
    found = {
        path.relative_to(ASSETS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in ASSETS.rglob("*.*")
        if path.name != "README.md"
    }
    assert stated == found


def test_every_package_has_its_licence():
    for folder in {Path(carried.file).parent for carried in CARRIED}:
        texts = [path.read_text(encoding="utf-8") for path in (ASSETS / folder).iterdir()]
        assert any(re.search(r"MIT license|Permission is hereby granted", text) for text in texts), folder
        assert f"| `{folder}` |" in _readme()


@pytest.mark.parametrize("carried", CARRIED, ids=lambda carried: carried.file)
def test_carried_files_are_what_asv_asks_for(carried):
    algorithm, _, digest = carried.integrity.partition("-")
    own = hashlib.new(algorithm, (ASSETS / carried.file).read_bytes()).digest()
    assert (base64.b64encode(own).decode() == digest) == (carried.file not in OTHER_BUILDS)


def _readme():
    return (ASSETS / "README.md").read_text(encoding="utf-8")


def test_stock_page_loads_from_elsewhere_exactly_what_is_carried():
    remote = remote_resources((STOCK / "index.html").read_text(encoding="utf-8"))
    assert remote == [carried.url for carried in CARRIED]


def test_no_page_loads_from_elsewhere(stock):
    carry_assets(stock)
    pages = [path for path in stock.rglob("*") if path.suffix in {".html", ".css"}]
    assert len(pages) > 2
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert remote_resources(text) == []
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", text)


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="//cdn.example.org/new.js"></script>',
        "<link rel='stylesheet' href='https://cdn.example.org/new.css'>",
    ],
)
def test_a_page_that_loads_more_is_refused(stock, tag):
    edit_page(stock / "index.html", before("  </head>", tag))
    with pytest.raises(UserError, match=r"also loads \S*cdn.example.org/new"):
        carry_assets(stock)


def test_a_page_with_another_script_is_refused(stock):
    edit_page(stock / "index.html", Edit("jquery-3.3.1", "jquery-4.0.0"))
    with pytest.raises(UserError, match=rf"asv {re.escape(version('asv'))} .* 0 times, not 1.*jquery-3.3.1"):
        carry_assets(stock)


def test_another_graph_page_is_refused(stock):
    edit_page(stock / "graphdisplay.js", Edit("if (min < unit_list[i+1][2]) {", "if (false) {"))
    with pytest.raises(UserError, match=r"graphdisplay\.js has 0 times"):
        repair_pages(stock, {}, GraphSet())


def test_a_page_is_edited_wholly_or_not_at_all(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("a b b", encoding="utf-8")
    with pytest.raises(UserError, match=r"page\.html has 2 times, not 1, the text 'b'"):
        edit_page(page, Edit("a", "c"), Edit("b", "d"))
    assert page.read_text(encoding="utf-8") == "a b b"
    edit_page(page, after("a", "!"), Edit("b", "d", times=2))
    assert page.read_text(encoding="utf-8") == "a! d d"


def test_links_say_what_the_graph_shows():
    link = graph_link(
        BENCHMARK,
        chosen={"model": ["'a & b'", "'c'"], "seqlen": "64"},
        setting={"machine": "box", "gpu": None},
        x_axis="seqlen",
        log_y=True,
    )
    assert link == (
        "#scan.Scan.cudatime_forward?machine=box&gpu=%5Bnone%5D&p-model=%27a%20%26%20b%27&p-model=%27c%27&p-seqlen=64"
        "&x-axis=seqlen&y-axis-scale=log"
    )


def test_markup_escapes_texts_and_attributes():
    made = element("p", "1 < 2", element("b", "&"), " end", title='"&', class_="", data_page="x")
    assert html_text(made) == '<p title="&quot;&amp;" data-page="x">1 &lt; 2<b>&amp;</b> end</p>'


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site of six commits, the last three slower, with a page of its own beside asv's."""
    project = Project(tmp_path_factory.mktemp("site"), plugins=[SITE, ".extra"])
    (project.path / "extra.py").write_text(EXTRA_PAGE, encoding="utf-8")
    for _ in range(6):
        project.commit()
    project.define(
        definition(BENCHMARK, {"model": ["small", "large"], "seqlen": LENGTHS}),
        definition(MIXED, {"model": ["cut", "whole"], "batch": [1, 8]}),
        definition(NEW, {"model": ["small"]}),
    )
    for number, commit in enumerate(project.commits):
        cells = {
            (model, length): _samples(number, model, length)
            for model in ("small", "large")
            for length in LENGTHS
        }
        results = {BENCHMARK: cells, MIXED: {("whole", 8): [1.0]}}
        if commit == project.commits[-1]:
            results[NEW] = {("small",): [1.0]}
        project.measure(commit, results, machine="box")
        project.measure(commit, {BENCHMARK: cells, MIXED: {("cut", 1): [2.0]}}, machine="other")
    return project.publish()


EXTRA_PAGE = """
from pathlib import Path
from asv.publishing import OutputPublisher
from benchmarks.meter.site.markup import element, link
from benchmarks.meter.site.pages import Page, add_page

class Extra(OutputPublisher):
    name = "extra"

    @classmethod
    def publish(cls, conf, *results):
        body = element("div", element("h2", "Hello"), link("over lengths", "#scan.Scan.cudatime_forward?"
            "machine=box&p-model='large'&x-axis=seqlen&y-axis-scale=log"))
        add_page(Path(conf.html_dir), Page("extra", "Extra page", "A page", body))
"""


def _samples(number, model, length):
    """Seconds, 13 us and more; twice as many from commit `SLOW_FROM` on."""
    seconds = 2e-7 * length * (2 if number >= SLOW_FROM else 1) * (1 if model == "small" else 3)
    return [seconds * factor for factor in (0.99, 1, 1, 1, 1, 1.01)]


@pytest.fixture(scope="module")
def visiting(site):
    with visit(site) as made:
        yield made


@pytest.fixture
def visited(visiting):
    visiting.problems.clear()
    yield visiting
    assert visiting.problems == []


def test_a_request_to_another_machine_would_be_seen(site, visiting):
    (site / "remote.html").write_text('<script src="https://cdn.example.org/x.js"></script>')
    visiting.problems.clear()
    visiting.open("remote.html")
    assert "remote: https://cdn.example.org/x.js" in visiting.problems
    assert "failed: https://cdn.example.org/x.js" in visiting.problems


def test_an_error_in_a_script_would_be_seen(site, visiting):
    (site / "broken.html").write_text("<script>null.x</script><script src='none.js'></script>")
    visiting.problems.clear()
    visiting.open("broken.html")
    assert any("Cannot read properties of null" in problem for problem in visiting.problems)
    assert f"404: {visiting.address}none.js" in visiting.problems


def test_grid_draws_its_graphs(visited):
    visited.open("index.html")
    assert visited.page.locator("#summarygrid-display canvas").count() > 0
    assert visited.page.locator("li.active").inner_text() == "Benchmark grid"


def test_grid_shows_what_was_measured_once(visited):
    visited.open("index.html")
    box = visited.page.locator(f'[id="summarygrid-{NEW}"]')
    box.scroll_into_view_if_needed()
    box.locator("canvas.flot-base").wait_for()
    assert visited.page.evaluate(COLOURED_PIXELS, f'[id="summarygrid-{NEW}"]') > 0


def test_list_sorts_and_shows_values(visited):
    visited.open("index.html#/summarylist")
    rows = visited.page.locator("#summarylist-body tbody tr")
    visited.page.wait_for_url("**sort=0&dir=asc")  # asv sorts by name first
    assert rows.count() == 2 * len(LENGTHS) + 1 + 1  # of the mixed grid, the cell that the machine measured
    heading = visited.page.locator("#summarylist-body th", has_text="Value")
    for direction in ("asc", "desc"):
        heading.click()
        visited.page.wait_for_url(f"**sort=1&dir={direction}")
        values = [float(text) for text in rows.locator(".value").evaluate_all(SORT_VALUES)]
        assert values == sorted(values, reverse=direction == "desc")


SORT_VALUES = "cells => cells.map(cell => cell.dataset.sortValue)"


def test_regressions_page_lists_the_slower_commit(visited):
    visited.open("index.html#/regressions")
    rows = visited.page.locator("#regressions-body tbody tr")
    rows.first.wait_for()
    assert rows.count() == 2 * 2 * len(LENGTHS)
    assert all("2.00x" in text for text in rows.all_inner_texts())


def test_page_of_ours_opens_from_the_bar_and_closes(visited):
    visited.open("index.html")
    display = visited.page.locator("#extra-display")
    assert not display.is_visible()
    visited.page.get_by_role("link", name="Extra page").click()
    display.wait_for(state="visible")
    assert visited.page.locator("li.active").inner_text() == "Extra page"
    assert visited.page.locator("#title").inner_text() == "A page"
    assert not visited.page.locator("#summarygrid-display").is_visible()
    visited.page.get_by_role("link", name="Regressions").click()
    display.wait_for(state="hidden")
    assert visited.page.locator("li.active").inner_text() == "Regressions"
    visited.page.get_by_role("link", name="Extra page").click()
    display.wait_for(state="visible")


def test_page_of_ours_opens_by_its_address_and_alone(visited):
    visited.open("index.html#/extra")
    assert visited.page.locator("#extra-display").is_visible()
    visited.open("extra/index.html")
    assert visited.page.get_by_role("heading", name="Hello").is_visible()
    visited.page.get_by_role("link", name="over lengths").click()
    visited.page.wait_for_url("**/index.html#scan.Scan.cudatime_forward?*")
    assert _curves(visited.page) == {"commit-last; model-large": _over_lengths("large")}


def test_link_leads_to_the_graph_over_lengths(visited):
    visited.open("index.html#/extra")
    visited.page.get_by_role("link", name="over lengths").click()
    assert _curves(visited.page) == {"commit-last; model-large": _over_lengths("large")}
    assert _chosen(visited.page, "x-axis") == ["seqlen"]
    assert _chosen(visited.page, "machine") == ["box"]
    assert _chosen(visited.page, "model") == ["large"]
    assert "active" in visited.page.locator("#log-scale").get_attribute("class")
    ticks = visited.page.locator("#main-graph .flot-x-axis .flot-tick-label").all_inner_texts()
    assert ticks == list(map(str, LENGTHS))


def test_scale_is_that_of_the_address(visited):
    link = graph_link(BENCHMARK, chosen={"seqlen": "64", "model": "'small'"}, setting={"machine": "box"})
    visited.open("index.html" + link + "&y-axis-scale=log")
    _curves(visited.page)
    visited.page.evaluate("link => window.location.hash = link", link)
    visited.page.wait_for_function("() => !$('#log-scale').hasClass('active')")
    assert _unit(visited.page) == "microseconds"


def test_unit_of_a_graph_suits_its_largest_value(visited):
    link = graph_link(BENCHMARK, chosen={"model": "'small'"}, setting={"machine": "box"})
    visited.open("index.html" + link)
    assert len(_curves(visited.page)) == len(LENGTHS)
    assert _unit(visited.page) == "milliseconds"


def test_graph_shows_curves_with_points_first(visited):
    visited.open(f"index.html#{MIXED}")
    curves = _curves(visited.page)
    assert len(curves) == 1
    assert {value for _, value in curves.popitem()[1]} == {1.0}


def test_first_view_is_what_was_measured_around_a_cell():
    params = [["a", "b", "c"], ["1", "2"], ["x"]]
    cells = {("b", "1", "x"), ("c", "1", "x"), ("a", "2", "x"), ("gone", "1", "x")}
    assert first_view([set(), cells], params) == [[0], [1], [0]]
    cells.remove(("a", "2", "x"))
    assert first_view([set(), cells], params) == [[1, 2], [0], [0]]
    assert first_view([set()], params) == [[0, 1, 2], [0, 1], [0]]


def _over_lengths(model):
    return [[length, pytest.approx(_samples(5, model, length)[1])] for length in LENGTHS]


def _curves(page):
    """The points of each curve that the graph has drawn, by its label in the legend."""
    page.wait_for_function("() => $('#main-graph').data('plot')")
    assert page.evaluate(COLOURED_PIXELS, "#main-graph") > 0
    series = "() => $('#main-graph').data('plot').getData().map(curve => [curve.label, curve.data])"
    return dict(page.evaluate(series))


COLOURED_PIXELS = """graph => {
    const canvas = $(graph).find('canvas.flot-base')[0];
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let coloured = 0;
    for (let i = 0; i < pixels.length; i += 4) {
        coloured += pixels[i] == 0x24 && pixels[i + 1] == 0x7a && pixels[i + 2] == 0xad;
    }
    return coloured;
}"""


def _chosen(page, axis):
    """The values that a panel beside the graph has switched on."""
    panel = page.locator("#graphdisplay-navigation .panel").filter(
        has=page.locator(".panel-heading", has_text=re.compile(f"^{axis}$"))
    )
    return panel.locator(".active").all_inner_texts()


def _unit(page):
    return page.evaluate("() => $('#main-graph').data('plot').getOptions().yaxes[0].axisLabel")
