"""Table 2 on the page, from real result files."""

from statistics import median

from benchmarks.meter.measure.statistics import NO_DIFFERENCE
from benchmarks.tables import suites
from perfmamba.report.paper import paper_table2
from tests.benchmarks.meter.site.project import FAILED, definition
from tests.benchmarks.tables.results import (
    PRUNED,
    RATIOS,
    SAMPLES,
    pair_note,
    paired_results,
    tables,
    text,
)


def test_table2_divides_medians_where_no_pair_was_recorded(project, page):
    project.measure(project.commits[1], paired_results())
    ((caption, rows),) = tables(page()).items()
    assert caption == "One prefill, compared with the dense model's: mamba2-130m, batch 8"
    assert rows[0] == ["Backend, configuration", "speed-up", "memory saved %"]
    assert rows[1] == ["r = 0.5", "r = 0.9"] * 2
    assert rows[2] == ["64 tokens"]
    assert rows[3] == ["hf, pruned", f"{1 / 0.875:.2f}x", f"{1 / 0.775:.2f}x", "25.0", "45.0"]
    assert median(SAMPLES) == 1e-3


def test_table2_has_a_row_for_each_backend_and_configuration(project, page):
    masked, ours = ("mamba2-130m", "hf", "masked", 8), ("mamba2-130m", "torch", "pruned", 8)
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
    assert paper_table2()[16384, 0.7].speedup == 1.12


def test_table2_of_another_model_has_nothing_of_the_paper(project, page):
    pair = {"model": ["other-1b"], "backend": ["hf"], "configuration": ["pruned"]}
    pair |= {"batch": [8], "seqlen": [64], "ratio": RATIOS}
    project.define(definition(suites.PAIRED_TIME, pair, kind="paired"))
    cells = {("other-1b", "hf", "pruned", 8, 64, ratio): SAMPLES for ratio in RATIOS}
    project.measure(project.commits[1], {suites.PAIRED_TIME: cells})
    made = page()
    (rows,) = tables(made).values()
    assert [row[0] for row in rows[2:]] == ["64 tokens", "hf, pruned"]
    assert rows[3] == ["hf, pruned", "1.00x", "1.00x", "-", "-"]


def test_table2_leads_to_histories_and_to_graphs_over_lengths_and_ratios(project, page):
    project.measure(project.commits[1], paired_results())
    addresses = [link.get("href") for link in page().iter("a")]
    start = "#pruning.StateSize.paired_prefill?machine=box&p-model=%27mamba2-130m%27&p-batch=8"
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
