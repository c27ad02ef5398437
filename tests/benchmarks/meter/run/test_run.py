"""The runner: what it writes, what it runs again, and what it refuses."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.benchmarks.meter.run.project import (
    ONE_GPU,
    values,
)


@pytest.mark.slow
def test_files_are_those_of_asv_run(project):
    """Same cells, values, samples and statistics as `asv run --record-samples`."""
    selection = ["--bench", "Grid|Cached|twice"]
    project.run("HEAD~1..HEAD", "HEAD~1", *selection, code=2)
    ours = project.stored()
    shutil.move(project.path / "results", project.path / "ours")
    asv = [sys.executable, "-m", "asv", "run", "--record-samples", "HEAD", *selection]
    subprocess.run(asv, cwd=project.path, env=project.environment, capture_output=True, check=False)
    (head, theirs), *_ = project.stored().items()
    assert {commit: set(rows) for commit, rows in ours.items()} == {
        head: set(theirs),
        project.git("rev-parse", "HEAD~1")[:8]: set(theirs),
    }
    twice = [rows.pop("cells.time_twice") for rows in (ours[head], theirs)]
    assert [len(rows["samples"][0]) for rows in twice] == [6, 6], "two rounds of three"
    for name, columns in theirs.items():
        differing = {key for key in columns if json.dumps(columns[key]) != json.dumps(ours[head][name][key])}
        assert differing <= {"started_at", "duration"}
    older = ours[project.git("rev-parse", "HEAD~1")[:8]]
    assert values(ours[head], "Grid.track_samples") == [11, "n/a", None, 21, 21, 21]
    assert values(older, "Grid.track_samples") == [2, "n/a", None, 3, 3, 3], "each commit is installed"
    assert project.calls()["setup_cache"] == 3, "once for each commit"


@pytest.mark.slow
def test_every_cell_is_run_once_and_failures_wait_to_be_asked_for(project):
    first = project.run("HEAD", "--bench", "Grid", code=2)
    assert "Grid.track_samples(1, 'c') failed: ValueError: what failed," in first
    project.calls()
    again = project.run("HEAD", "--bench", "Grid", code=2)
    assert "6 of 6 cells are done" in again
    assert "track_samples(1, 'c'): failed in an earlier run" in again
    assert not project.calls()
    retried = project.run("HEAD", "--bench", "Grid", "--retry-failed", "--show-stderr", code=2)
    assert set(project.calls()) == {"1c"}
    assert "said before" in retried
    project.run("HEAD", "--bench", r"Grid.*\(1", "--again", code=2)
    assert set(project.calls()) == {"1a", "1b", "1c"}


def test_suites_that_initialize_cuda_on_import_end_the_run_at_once(project):
    printed = project.run("HEAD", "--bench", "Forked", code=2)
    assert "error: importing the suites has initialized CUDA" in printed
    assert "2 are left" in printed
    assert project.calls() == {"forked1": 1}


def test_results_of_a_gpu_are_not_filed_under_a_machine_without_one(project):
    """torch finds a GPU, whose name is not to be found out."""
    torch = project.path.with_name("with_cuda") / "torch"
    torch.mkdir(parents=True)
    (torch / "version.py").write_text("cuda = '13.0'\n")
    (torch / "__init__.py").write_text("from . import cuda, version\n")
    (torch / "cuda.py").write_text(ONE_GPU)
    unnamed = {"PYTHONPATH": str(torch.parent), "CUDA_VISIBLE_DEVICES": "GPU-nowhere"}
    printed = project.run("HEAD", "--bench", "Alone", code=2, **unnamed)
    assert (
        "torch computes on CUDA, but the GPU's name, under which results are filed, cannot be found"
        in printed
    )
    assert not project.stored()


def test_death_of_the_server_fails_the_cell_in_flight_alone(project):
    printed = project.run("HEAD", "--bench", "Murder|Cached", code=2)
    assert "Murder.track_first failed: asv: the server that runs the benchmarks died" in printed
    assert "Murder.track_second 1," in printed
    assert project.calls() == {"setup_cache": 1, "cached1": 1, "cached2": 1, "murder": 1}


def test_commit_that_cannot_be_built_is_reported_and_the_others_are_measured(project):
    project.commit("")
    printed = project.run("HEAD~1", "HEAD", "--bench", "Cached", code=2)
    assert f"{project.git('rev-parse', 'HEAD')[:8]}: cannot be built" in printed
    assert "2 of 4 cells are done" in printed
    assert set(project.stored()) == {project.git("rev-parse", "HEAD~1")[:8]}


@pytest.mark.slow
def test_cells_of_another_grid_stay(project):
    project.run("HEAD", "--bench", "Grid", code=2, COLUMNS_N="1")
    project.run("HEAD", "--bench", "Grid.*4", COLUMNS_N="3")
    project.run("HEAD", "--bench", "Late", COLUMNS_N="1")
    (columns,) = project.stored().values()
    assert columns["cells.Grid.track_samples"]["params"] == [["1", "2", "4"], ["'a'", "'b'", "'c'"]]
    assert values(columns, "Grid.track_samples") == [11, "n/a", None, *["n/a"] * 3, 41, 41, 41]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "git knows no commit nonsense"),
        (["HEAD..HEAD"], "there is no commit in HEAD..HEAD"),
        (["--bench", "nonsense"], "no benchmark matches nonsense"),
        (["--config", "nonsense.json"], "nonsense.json not found"),
        (["--bench", "("], "'(' is not a regular expression"),
        (["--bare"], "--bare needs --commit"),
        (["--bare", "--commit", "abc"], "give all 40 digits"),
        (["--merge", "nonsense"], "nonsense holds no results"),
    ],
)
def test_wrong_use_is_said_in_a_line(project, arguments, message):
    printed = project.run(*arguments, code=2)
    assert message in printed
    assert "Traceback" not in printed
