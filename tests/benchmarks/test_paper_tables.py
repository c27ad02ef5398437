"""The page "Paper tables", from real result files; at the end, in Chromium."""

import subprocess
import sys
from statistics import median

import pytest
from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.repo import get_repo
from asv.util import UserError

from benchmarks.meter.site.newest import newest_results
from benchmarks.meter.statistics import NO_DIFFERENCE
from benchmarks.paper_tables import suites
from benchmarks.paper_tables.content import tables_page
from benchmarks.paper_tables.plugin import PaperTables
from benchmarks.paper_tables.published import printed_table2
from tests.benchmarks.meter.browser import visit
from tests.benchmarks.meter.site_project import FAILED, PAPER_TABLES, ROOT, SITE, Project, definition

MODELS = ["mamba-130m", "mamba2-130m"]
COMPONENTS = ["norm", "in_proj", "conv", "ssm", "out_proj", "other"]
LABELS = ["RMSNorm", "Gated MLP", "Conv. Transform", "State Space", "Final Linear", "other"]
LENGTHS = [64, 2048]
RATIOS = [0.0, 0.5, 0.9]
SAMPLES = [1.1e-3, 0.9e-3, 1e-3]


@pytest.fixture
def project(tmp_path):
    return made_project(tmp_path)


def made_project(path):
    """Two commits and the definitions of the suites, no results."""
    project = Project(path)
    project.commit()
    project.commit()
    component = {"model": MODELS, "component": COMPONENTS, "batch": [1, 8], "seqlen": LENGTHS}
    pair = {
        "model": ["mamba2-130m"],
        "backend": ["hf", "torch"],
        "configuration": ["pruned", "masked"],
        "seqlen": LENGTHS,
        "ratio": RATIOS,
    }
    project.define(
        definition(suites.COMPONENT_TIME, component),
        definition(suites.COMPONENT_MEMORY, component, unit="bytes"),
        definition(suites.PAIRED_TIME, pair, kind="paired"),
        definition(suites.PAIRED_MEMORY, pair, unit="bytes", kind="paired"),
    )
    return project


@pytest.fixture
def page(project, monkeypatch):
    """The page of the project's results, as `asv publish` would make it."""
    monkeypatch.chdir(project.path)

    def made():
        conf = Config.load("asv.conf.json")
        repo = get_repo(conf)
        revisions = repo.get_revisions(set(project.commits))
        return tables_page(newest_results(conf, repo, Benchmarks.load(conf), revisions))

    return made


def component_results(lengths=LENGTHS, batch=8):
    """Component number i takes i + 1 ms and i + 1 MB, twice as much in Mamba-2."""
    size = {
        (model, component, batch, seqlen): (index + 1) * (1 + MODELS.index(model))
        for model in MODELS
        for index, component in enumerate(COMPONENTS)
        for seqlen in lengths
    }
    return {
        suites.COMPONENT_TIME: {cell: [size[cell] * sample for sample in SAMPLES] for cell in size},
        suites.COMPONENT_MEMORY: {cell: [size[cell] * 1e6] for cell in size},
    }


def pair_note(benchmark, ratio, measured, verdict):
    """The note of one ratio at 64 tokens; `measured` is pruned / dense with its bounds."""
    value, low, high = measured
    return {
        "kind": "pair",
        "benchmark": benchmark,
        "params": ["'mamba2-130m'", "'hf'", "'pruned'", "64", str(ratio)],
        "variant_axis": "ratio",
        "baseline": "0.0",
        "variant": str(ratio),
        "measure": "memory" if benchmark == suites.PAIRED_MEMORY else "time",
        "ratio": value,
        "low": low,
        "high": high,
        "confidence": 0.99,
        "verdict": verdict,
    }


def tables(made):
    """The texts of the cells of each table of results, by its caption."""
    folded = {figure for details in made.iter("details") for figure in details.iter("figure")}
    return {
        text(figure[0]): [[text(cell) for cell in row] for row in figure.iter("tr")]
        for figure in made.iter("figure")
        if figure not in folded
    }


def measured(row):
    """A row of Table 1 with two models, without what is counted."""
    return [*row[:4], *row[6:9]]


def text(made):
    return "".join(made.itertext())


def test_without_results_the_page_says_how_to_get_them(page):
    made = text(page())
    assert "asv run HEAD --bench ComponentCost" in made
    assert "asv run HEAD --bench StateSize" in made


def test_table1_has_the_measured_costs_under_the_papers_labels(project, page):
    project.measure(project.commits[1], component_results())
    ((caption, rows),) = tables(page()).items()
    assert caption == "One prefill under the profiler, batch 8"
    assert rows[0] == ["Component", *MODELS]
    assert rows[1] == ["time ms", "share %", "allocated MB", "GFLOP", "I/O GB/s"] * 2
    assert rows[2] == ["64 tokens"]
    assert [row[0] for row in rows[3:10]] == [*LABELS, "total"]
    assert rows[10] == ["2,048 tokens"]
    # 4 ms of 1 + 2 + ... + 6 ms, and the same share of twice as much
    assert measured(rows[6]) == ["State Space", "4.00", "19.0", "4.00", "8.00", "19.0", "8.00"]
    assert measured(rows[9]) == ["total", "21.0", "100", "21.0", "42.0", "100", "42.0"]


def test_table1_counts_flops_and_traffic_from_shapes(project, page):
    project.measure(project.commits[1], component_results())
    (rows,) = tables(page()).values()
    at_2048 = {row[0]: row for row in rows[11:]}
    # docs/paper.md: 228.91 and 485.35 GFLOP, counted at batch 8, 2048 tokens, 24 layers
    assert (at_2048["State Space"][4], at_2048["State Space"][9]) == ("229", "485")
    # RMSNorm of Mamba-1: (2 tokens + 1) rows of 768 float32, in 24 layers and once at the end, in 1 ms
    moved = 25 * (2 * 8 * 2048 + 1) * 768 * 4
    assert float(at_2048["RMSNorm"][5].replace(",", "")) == pytest.approx(moved / 1e-3 / 1e9, rel=5e-3)


def test_table1_counts_nothing_for_models_that_are_not_published(project, page):
    component = {"model": ["other-1b"], "component": COMPONENTS, "batch": [8], "seqlen": LENGTHS}
    project.define(definition(suites.COMPONENT_TIME, component))
    cells = {("other-1b", component, 8, 64): [1e-3] for component in COMPONENTS}
    project.measure(project.commits[1], {suites.COMPONENT_TIME: cells})
    (rows,) = tables(page()).values()
    assert rows[1] == ["time ms", "share %", "allocated MB"]


def test_there_is_a_table_for_each_batch_size(project, page):
    for number, batch in enumerate((1, 8)):
        project.measure(project.commits[number], component_results(batch=batch))
    assert list(tables(page())) == [f"One prefill under the profiler, batch {batch}" for batch in (1, 8)]


def test_table1_shows_the_lengths_and_models_that_were_measured(project, page):
    project.measure(project.commits[1], component_results(lengths=[64]))
    (rows,) = tables(page()).values()
    assert "2,048 tokens" not in [row[0] for row in rows]


def test_table1_sums_nothing_that_is_incomplete(project, page):
    results = component_results()
    results[suites.COMPONENT_TIME]["mamba-130m", "conv", 8, 64] = FAILED
    project.measure(project.commits[1], results)
    (rows,) = tables(page()).values()
    assert rows[5][:4] == ["Conv. Transform", "failed", "-", "3.00"]
    assert rows[6][:4] == ["State Space", "4.00", "-", "4.00"]
    assert measured(rows[9]) == ["total", "-", "-", "21.0", "42.0", "100", "42.0"]


def test_table1_takes_what_the_newest_commit_lacks_from_the_one_before(project, page):
    project.measure(project.commits[0], component_results())
    project.measure(project.commits[1], component_results(lengths=[64]))
    (rows,) = tables(page()).values()
    assert rows[3][1] == "1.00"
    assert rows[11][1] == f"1.00 @{project.commits[0][:8]}"


def test_each_cell_of_table1_leads_to_its_history(project, page):
    project.measure(project.commits[1], component_results())
    addresses = [link.get("href") for link in page().iter("a")]
    time = "#components.ComponentCost.track_device_time?machine=box&"
    assert f"{time}p-batch=8&p-model=%27mamba2-130m%27&p-component=%27ssm%27&p-seqlen=64" in addresses
    assert (
        f"{time}p-batch=8&p-component=%27ssm%27&p-model=%27mamba-130m%27&p-model=%27mamba2-130m%27&x-axis=seqlen&y-axis-scale=log"
        in addresses
    )
    cells = len(MODELS) * len(COMPONENTS) * len(LENGTHS)
    assert len(addresses) == 2 * cells + len(COMPONENTS) * len(LENGTHS)


def test_the_papers_table1_is_at_hand_as_printed(page):
    (details,) = page().iter("details")
    rows = [[text(cell) for cell in row] for row in details.iter("tr")]
    # results/paper/table1_component_cost.csv
    assert rows[3] == ["RMSNorm", "3.2", "0.75", "0.06", "0.0016", "2.9", "0.5", "0.06", "0.08"]
    assert rows[-2][:3] == ["State Space", "74.82", "86.64"]


PRUNED = ("mamba2-130m", "hf", "pruned")


def paired_results(*variants):
    """Mamba-2 with r of its states removed takes 1 - r / 4 of the time and 1 - r / 2 of the memory."""
    grid = [
        (*variant, seqlen, ratio)
        for variant in variants or (PRUNED,)
        for seqlen in LENGTHS
        for ratio in RATIOS
    ]
    return {
        suites.PAIRED_TIME: {cell: [sample * (1 - cell[-1] / 4) for sample in SAMPLES] for cell in grid},
        suites.PAIRED_MEMORY: {cell: [1e9 * (1 - cell[-1] / 2)] * 3 for cell in grid},
    }


def test_table2_divides_medians_where_no_pair_was_recorded(project, page):
    project.measure(project.commits[1], paired_results())
    ((caption, rows),) = tables(page()).items()
    assert caption == "One prefill, compared with the dense model's: mamba2-130m"
    assert rows[0] == ["Backend, configuration", "speed-up", "memory saved %"]
    assert rows[1] == ["r = 0.5", "r = 0.9"] * 2
    assert rows[2] == ["64 tokens"]
    assert rows[3] == ["hf, pruned", f"{1 / 0.875:.2f}x", f"{1 / 0.775:.2f}x", "25.0", "45.0"]
    assert median(SAMPLES) == 1e-3


def test_table2_has_a_row_for_each_backend_and_configuration(project, page):
    masked, ours = ("mamba2-130m", "hf", "masked"), ("mamba2-130m", "torch", "pruned")
    project.measure(project.commits[1], paired_results(PRUNED, masked, ours))
    made = page()
    (rows,) = tables(made).values()
    variants = ["hf, pruned", "hf, masked", "torch, pruned", "paper"]
    assert [row[0] for row in rows[2:]] == ["64 tokens", *variants, "2,048 tokens", *variants]
    below = [text(line) for line in made.iter("p")]
    assert "pruned: states removed; masked: states zeroed, and still computed." in below


def test_table2_shows_recorded_pairs_with_their_intervals(project, page):
    notes = [
        pair_note(suites.PAIRED_TIME, 0.5, (0.8, 0.75, 0.82), "faster"),
        pair_note(suites.PAIRED_TIME, 0.9, (0.99, 0.95, 1.02), NO_DIFFERENCE),
        pair_note(suites.PAIRED_MEMORY, 0.5, (0.9, 0.89, 0.92), "smaller"),
    ]
    project.measure(project.commits[1], paired_results(), notes=notes)
    made = page()
    (rows,) = tables(made).values()
    assert rows[3][1:3] == ["1.25x1.22x to 1.33x", "1.01x ≈0.98x to 1.05x"]
    assert rows[3][3:] == ["10.08.0 to 11.0", "45.0"]
    below = [text(line) for line in made.iter("p")]
    assert below.count("≈ no difference seen.") == 1
    assert below.count("Below a number: its interval, 99% confidence, from pairs measured in turn.") == 1


def test_table2_has_the_papers_numbers_below_ours(project, page):
    project.measure(project.commits[1], paired_results())
    made = page()
    (rows,) = tables(made).values()
    # results/paper/table2_pruning_efficiency.csv
    assert rows[-1] == ["paper", "1.06x", "1.14x", "6.1", "11.0"]
    assert rows[-3] == ["2,048 tokens"]
    assert "paper: states removed, batch 8, all layers, one A100 40 GB." in [text(p) for p in made.iter("p")]
    assert printed_table2("speedup")[16384, 0.7] == 1.12


def test_table2_of_another_model_has_nothing_of_the_paper(project, page):
    pair = {"model": ["other-1b"], "backend": ["hf"], "configuration": ["pruned"], "seqlen": [64]}
    pair |= {"ratio": RATIOS}
    project.define(definition(suites.PAIRED_TIME, pair, kind="paired"))
    cells = {("other-1b", "hf", "pruned", 64, ratio): SAMPLES for ratio in RATIOS}
    project.measure(project.commits[1], {suites.PAIRED_TIME: cells})
    made = page()
    (rows,) = tables(made).values()
    assert [row[0] for row in rows[2:]] == ["64 tokens", "hf, pruned"]
    assert rows[3] == ["hf, pruned", "1.00x", "1.00x", "-", "-"]


def test_table2_leads_to_histories_and_to_graphs_over_lengths_and_ratios(project, page):
    project.measure(project.commits[1], paired_results())
    addresses = [link.get("href") for link in page().iter("a")]
    start = "#pruning.StateSize.paired_prefill?machine=box&p-model=%27mamba2-130m%27"
    row = "p-backend=%27hf%27&p-configuration=%27pruned%27&p-seqlen=64"
    assert f"{start}&{row}&x-axis=ratio" in addresses
    assert f"{start}&{row}&p-ratio=0.5" in addresses
    both = (
        "p-backend=%27hf%27&p-backend=%27torch%27&p-configuration=%27pruned%27&p-configuration=%27masked%27"
    )
    assert f"{start}&{both}&p-ratio=0.5&x-axis=seqlen&y-axis-scale=log" in addresses


def test_table2_says_what_failed(project, page):
    results = paired_results()
    results[suites.PAIRED_TIME][*PRUNED, 64, 0.9] = FAILED
    project.measure(project.commits[1], results)
    (rows,) = tables(page()).values()
    assert rows[3][1:3] == [f"{1 / 0.875:.2f}x", "failed"]


def test_table2_needs_the_dense_model(project, page):
    results = paired_results()
    del results[suites.PAIRED_TIME][*PRUNED, 64, 0.0]
    project.measure(project.commits[1], results)
    (rows,) = tables(page()).values()
    assert rows[3] == ["hf, pruned", "-", "-", "25.0", "45.0"]


def test_table2_divides_nothing_of_different_commits(project, page):
    dense = {cell: value for cell, value in paired_results()[suites.PAIRED_TIME].items() if cell[-1] == 0}
    pruned = {cell: value for cell, value in paired_results()[suites.PAIRED_TIME].items() if cell[-1] > 0}
    project.measure(project.commits[0], {suites.PAIRED_TIME: dense})
    project.measure(project.commits[1], {suites.PAIRED_TIME: pruned})
    (rows,) = tables(page()).values()
    assert rows[3] == ["hf, pruned", "-", "-", "-", "-"]


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
    monkeypatch.delitem(sys.modules, "benchmarks.paper_tables.content")
    monkeypatch.setitem(sys.modules, "perfmamba.report.paper", None)
    for name in ("published", "table1", "table2"):
        monkeypatch.delitem(sys.modules, f"benchmarks.paper_tables.{name}")
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
        visited.page.get_by_role("link", name="8.00", exact=True).first.click()
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
