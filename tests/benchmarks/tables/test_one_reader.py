"""`perfmamba table 2` and the site print the same numbers from one folder, whatever the dates of commits."""

import csv
import io

import pytest

from benchmarks.tables import suites
from perfmamba.cli import main
from perfmamba.report.asv_results import git_order
from tests.benchmarks.tables.results import RATIOS, made_project, pair_note, paired_results, tables


@pytest.fixture
def printed(project, capsys):
    """The speed-ups and savings that `perfmamba table 2` prints, by length and ratio."""

    def numbers():
        main(["table", "2", str(project.path / "results"), "--format", "csv"])
        rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
        return {
            (int(row["seqlen"]), float(row["ratio"])): (
                f"{float(row['speedup']):.2f}x",
                f"{float(row['memory_saved_percent']):z.1f}",
            )
            for row in rows
        }

    return numbers


def on_page(made):
    """The same, read off the page."""
    (rows,) = tables(made).values()
    found = {}
    for row in rows[2:]:
        if row[0].endswith(" tokens"):
            seqlen = int(row[0].removesuffix(" tokens").replace(",", ""))
        elif row[0] == "hf, pruned":
            for number, ratio in enumerate(RATIOS[1:]):
                found[seqlen, ratio] = (row[1 + number][:5], row[3 + number].split(" ")[0][:4])
    return found


def noted(time):
    """A recorded pair for a ratio at 64 tokens, with this share of the dense model's time."""
    return [pair_note(suites.PAIRED_TIME, 0.5, (time, time - 0.01, time + 0.01), "faster")]


def test_the_newest_is_the_last_of_the_branch_not_the_one_with_the_latest_date(project, page, printed):
    project.measure(project.commits[1], paired_results(), notes=noted(0.8), day=0)
    older = {
        benchmark: {cell: [9.0, 9.0, 9.0] for cell in cells} for benchmark, cells in paired_results().items()
    }
    project.measure(project.commits[0], older, notes=noted(0.5), day=5)
    assert printed() == on_page(page())
    assert printed()[64, 0.5][0] == "1.25x"
    assert printed()[64, 0.9] == (f"{1 / 0.775:.2f}x", "45.0")


def test_commits_off_the_branch_count_for_neither(project, page, printed):
    project.measure(project.commits[1], paired_results(), notes=noted(0.5))
    project.measure(project.commits[0], paired_results(), notes=noted(0.8))
    project.go_back_to(project.commits[0])
    assert printed() == on_page(page())
    assert printed()[64, 0.5][0] == "1.25x"


def test_a_ratio_that_the_newest_commit_lacks_comes_from_the_one_before_in_both(project, page, printed):
    project.measure(project.commits[0], paired_results(), day=5)
    only_half = {
        benchmark: {cell: values for cell, values in cells.items() if cell[-1] != 0.9}
        for benchmark, cells in paired_results().items()
    }
    project.measure(project.commits[1], only_half, notes=noted(0.8), day=0)
    assert printed() == on_page(page())
    assert set(printed()) == {(seqlen, ratio) for seqlen in (64, 2048) for ratio in (0.5, 0.9)}


def test_without_git_the_latest_date_counts(tmp_path, capsys):
    project = made_project(tmp_path)
    project.measure(project.commits[0], paired_results(), notes=noted(0.8), day=5)
    project.measure(project.commits[1], paired_results(), notes=noted(0.5), day=0)
    (project.path / ".git").rename(project.path / "git")
    assert git_order(project.path) == {}
    main(["table", "2", str(project.path / "results"), "--format", "csv"])
    first = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(first["speedup"]) == pytest.approx(1.25)
