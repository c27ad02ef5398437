"""Which result of a cell a page shows, on real result files in a real repository."""

import pytest

from benchmarks.tables.elements import entry_element
from benchmarks.tables.histories import address, provenance
from perfmamba.report.result_entries import legend, result_entry
from perfmamba.table import Column
from tests.benchmarks.meter.site.project import FAILED, NOT_MEASURED, Project, definition

SCAN = "scan.Scan.cudatime_forward"
CELL = {"model": "'large'", "seqlen": "64"}
KEY = ("large", 64)
SECONDS = Column("s", "time", "g", suffix=" s")


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path)
    for _ in range(3):
        made.commit()
    made.define(definition(SCAN, {"model": ["small", "large"], "seqlen": [64, 512]}))
    return made


@pytest.fixture
def histories(project, monkeypatch):
    """Reads the project's results as `asv publish` does."""
    monkeypatch.chdir(project.path)

    return project.histories


def measure(project, number, cell, **more):
    project.measure(project.commits[number], {SCAN: {KEY: cell}}, **more)


def test_newest_is_by_the_order_of_commits(project, histories):
    for number in (1, 2, 0):
        measure(project, number, [float(number + 1)])
    (history,) = histories()
    assert history.result_at(SCAN, **CELL).value == 3
    assert (
        history.result_at(SCAN, **CELL).source.commit
        == history.newest_commit(SCAN).commit
        == project.commits[2]
    )


def test_value_is_the_median(project, histories):
    measure(project, 0, [1.0, 2.0, 30.0])
    (history,) = histories()
    assert history.result_at(SCAN, **CELL).value == 2


def test_a_cell_that_was_not_selected_is_taken_from_an_older_commit_which_is_named(project, histories):
    measure(project, 0, [1.0])
    project.measure(project.commits[1], {SCAN: {KEY: NOT_MEASURED, ("small", 64): [5.0]}})
    (history,) = histories()
    cell, newest = history.result_at(SCAN, **CELL), history.newest_commit(SCAN)
    assert (cell.value, cell.source.commit, newest.commit) == (1, project.commits[0], project.commits[1])
    assert text(cell_element(cell, newest)) == f"1 s @{project.commits[0][:8]}"
    (line,) = legend([cell], newest.commit)
    assert line.startswith("@: measured at another commit")
    assert line.endswith(f"all others at {project.commits[1][:8]}.")


def test_a_failure_is_not_hidden_by_an_older_value(project, histories):
    measure(project, 0, [1.0])
    project.measure(project.commits[1], {SCAN: {KEY: FAILED, ("small", 64): [5.0]}})
    (history,) = histories()
    cell = history.result_at(SCAN, **CELL)
    assert (cell.value, cell.failed) == (None, True)
    assert text(cell_element(cell, history.newest_commit(SCAN))) == "failed"


def test_a_cell_that_was_skipped_says_why(project, histories):
    measure(project, 0, [1.0])
    note = {"kind": "skipped", "benchmark": SCAN, "params": list(CELL.values()), "reason": "out of memory"}
    project.measure(project.commits[1], {SCAN: {("small", 64): [5.0]}}, notes=[note])
    (history,) = histories()
    cell, newest = history.result_at(SCAN, **CELL), history.newest_commit(SCAN)
    shown = cell_element(cell, newest)
    assert (text(shown), shown.get("title")) == ("n/a", "out of memory")
    assert [*legend([cell], newest.commit)] == ["n/a: out of memory."]


def test_a_cell_that_no_commit_has_is_a_dash(project, histories):
    project.measure(project.commits[0], {SCAN: {("small", 64): [5.0]}})
    (history,) = histories()
    assert history.result_at(SCAN, **CELL) is None
    assert history.result_at(SCAN, model="'huge'", seqlen="64") is None
    assert history.result_at("another.benchmark", **CELL) is None
    assert text(cell_element(None, history.newest_commit(SCAN))) == "-"


@pytest.mark.parametrize(("marked", "shown"), [(True, "1 sT"), (False, "1 s")])
def test_a_cell_measured_on_a_throttled_device_is_marked(project, histories, marked, shown):
    note = {"kind": "cell", "benchmark": SCAN, "params": list(CELL.values())}
    measure(project, 0, [1.0], notes=[{**note, "throttle": ["hw thermal"], "marked": marked}])
    (history,) = histories()
    cell, newest = history.result_at(SCAN, **CELL), history.newest_commit(SCAN)
    assert text(cell_element(cell, newest)) == shown
    assert [*legend([cell], newest.commit)] == marked * [
        "T measured while the device was throttled (hw thermal): not to be compared."
    ]


def test_commits_off_the_branch_do_not_count(project, histories):
    measure(project, 2, [3.0])
    measure(project, 1, [2.0])
    project.go_back_to(project.commits[1])
    (history,) = histories()
    assert history.result_at(SCAN, **CELL).value == 2


def test_results_of_another_version_do_not_count(project, histories):
    measure(project, 0, [1.0])
    project.define(definition(SCAN, {"model": ["small", "large"], "seqlen": [64, 512]}) | {"version": "2"})
    (history,) = histories()
    assert history.result_at(SCAN, **CELL) is None
    assert history.newest_commit(SCAN) is None


def test_each_machine_has_its_history_and_links_name_what_tells_them_apart(project, histories):
    measure(project, 0, [1.0], machine="a", fields={"ram": "8GB"})
    measure(project, 1, [2.0], machine="a", fields={"ram": "16GB"})
    measure(project, 1, [3.0], machine="b")
    found = histories()
    assert [history.result_at(SCAN, **CELL).value for history in found] == [2, 1, 3]
    assert [address(history, found) for history in found] == [
        {"machine": "a", "ram": "16GB"},
        {"machine": "a", "ram": "8GB"},
        {"machine": "b"},
    ]


def test_machine_commit_and_versions_are_named(project, histories):
    note = {"kind": "versions", "python": "3.12.3", "torch": "2.11.0", "cuda": None, "gpu": "A100"}
    measure(project, 1, [1.0], fields={"gpu": "A100"}, notes=[note])
    (history,) = histories()
    shown = provenance(history, history.newest_commit(SCAN))
    assert [text(entry) for entry in shown] == [
        "GPUA100",
        "CPUEPYC 7543",
        f"commit{project.commits[1][:8]}",
        "committed2026-01-02",
        "Python3.12.3",
        "torch2.11.0",
    ]


def cell_element(result, newest):
    """The element of a result in seconds."""
    value = result.value if result else None
    return entry_element(SECONDS, result_entry(result, value, newest=newest.commit, href="#"))


def text(made):
    return "".join(made.itertext())
