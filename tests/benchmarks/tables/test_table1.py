"""Table 1 on the page, from real result files."""

import pytest

from benchmarks.tables import suites
from tests.benchmarks.meter.site.project import FAILED, definition
from tests.benchmarks.tables.results import (
    COMPONENTS,
    LABELS,
    LENGTHS,
    MODELS,
    component_results,
    measured,
    tables,
    text,
)


def test_table1_has_the_measured_costs_under_the_papers_labels(project, page):
    project.measure(project.commits[1], component_results())
    ((caption, rows),) = tables(page()).items()
    assert caption == "One prefill under the profiler, batch 8"
    assert rows[0] == ["Component", *MODELS]
    assert rows[1] == ["GFLOP", "allocated MB", "I/O GB/s", "time ms", "share %"] * 2
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
    assert (at_2048["State Space"][1], at_2048["State Space"][6]) == ("229", "485")
    # RMSNorm of Mamba-1: (2 tokens + 1) rows of 768 float32, in 24 layers and once at the end, in 1 ms
    moved = 25 * (2 * 8 * 2048 + 1) * 768 * 4
    assert float(at_2048["RMSNorm"][3].replace(",", "")) == pytest.approx(moved / 1e-3 / 1e9, rel=5e-3)


def test_table1_counts_nothing_for_models_that_are_not_published(project, page):
    component = {"model": ["other-1b"], "component": COMPONENTS, "batch": [8], "seqlen": LENGTHS}
    project.define(definition(suites.COMPONENT_TIME, component))
    cells = {("other-1b", component, 8, 64): [1e-3] for component in COMPONENTS}
    project.measure(project.commits[1], {suites.COMPONENT_TIME: cells})
    (rows,) = tables(page()).values()
    assert rows[1] == ["allocated MB", "time ms", "share %"]


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
    assert measured(rows[5])[:4] == ["Conv. Transform", "failed", "-", "3.00"]
    assert measured(rows[6])[:4] == ["State Space", "4.00", "-", "4.00"]
    assert measured(rows[9]) == ["total", "-", "-", "21.0", "42.0", "100", "42.0"]


def test_table1_takes_what_the_newest_commit_lacks_from_the_one_before(project, page):
    project.measure(project.commits[0], component_results())
    project.measure(project.commits[1], component_results(lengths=[64]))
    (rows,) = tables(page()).values()
    assert measured(rows[3])[1] == "1.00"
    assert measured(rows[11])[1] == f"1.00 @{project.commits[0][:8]}"


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
    assert rows[3] == ["RMSNorm", "0.06", "0.75", "0.0016", "3.2", "0.06", "0.5", "0.08", "2.9"]
    assert (rows[-2][0], rows[-2][4], rows[-2][2]) == ("State Space", "74.82", "86.64")
