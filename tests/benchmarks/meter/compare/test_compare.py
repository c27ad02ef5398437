"""Comparing commits of a small project for real: its git history, its wheel, its suite, worker processes.

What is planted is large (a call does its work three times, or a third of it), so that no noise hides it.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
SUITE = """
import worked

class Work:
    params = ([20000, 40000],)
    param_names = ["size"]
    version = "1"
    number = 1

    def time_work(self, size):
        worked.work(size)

class Odd:
    version = "1"

    def setup(self):
        if not hasattr(worked, "extra"):
            raise NotImplementedError("no extra")

    def time_extra(self):
        worked.extra()

class Sized:
    version = "1"
    unit = "bytes"

    def setup_cache(self):
        return {"scale": 10}

    def track_size(self, cache):
        return cache["scale"] * worked.SIZE

class Left:
    version = "1"
    compared = False

    def time_left_out(self):
        raise AssertionError("not compared, so never run")
"""
PACKAGE = """
SIZE = {size}

def work(size):
    for _ in range({times}):
        sum(range(size))
{extra}
"""
EXTRA = "def extra():\n    sum(range(20000))\n"
BROKEN = "def extra():\n    raise RuntimeError('extra is broken')\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository with tags: `plain`, `slower`, `smaller`, `extra` (one more function), `broken`."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "suites").mkdir()
    (folder / "suites" / "__init__.py").touch()
    (folder / "suites" / "suite.py").write_text(SUITE)
    (folder / "asv.conf.json").write_text(
        '{"version": 1, "project": "worked", "repo": ".", "benchmark_dir": "suites"}'
    )
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "worked"\nversion = "1"\n'
    )
    git(folder, "init", "--quiet", "--initial-branch=main")
    versions = {
        "plain": (1, 1000, ""),
        "slower": (3, 1000, ""),
        "smaller": (1, 500, ""),
        "extra": (1, 1000, EXTRA),
        "broken": (1, 1000, BROKEN),
    }
    for tag, (times, size, extra) in versions.items():
        (folder / "worked.py").write_text(PACKAGE.format(times=times, size=size, extra=extra))
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", tag)
        git(folder, "tag", tag)
    return folder


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def command(*arguments):
    return [sys.executable, "-m", "benchmarks.meter.compare", "--budget", "0.1", *arguments]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def compare(project, *arguments):
    done = subprocess.run(
        command(*arguments, "--out", "out.json"),
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    written = project / "out.json"
    found = {}
    if written.exists():
        cells = json.loads(written.read_text())["cells"]
        found = {(cell["benchmark"], *cell["params"]): cell for cell in cells}
        written.unlink()
    return done, found


@pytest.mark.slow
def test_the_same_commit_twice_differs_in_nothing(project):
    done, found = compare(project, "--base", "plain", "--head", "plain", "--all")
    assert done.returncode == 0, done.stderr
    assert {cell["verdict"] for cell in found.values() if cell["outcome"] == "measured"} == {
        "no difference seen"
    }
    assert "3 no difference seen" in done.stdout
    assert "1 n/a" in done.stdout


@pytest.mark.slow
def test_more_work_is_a_regression(project):
    done, found = compare(project, "--base", "plain", "--head", "slower")
    assert done.returncode == 1, done.stderr
    for size in ("20000", "40000"):
        cell = found["suite.Work.time_work", size]
        assert (cell["verdict"], cell["confirmed"]) == ("slower", True)
        assert cell["low"] <= cell["ratio"] <= cell["high"]
        assert 2 < cell["ratio"] < 4
    assert "2 slower, 1 n/a, 1 no difference seen" in done.stdout


@pytest.mark.slow
def test_less_work_and_less_memory_are_no_regressions(project):
    done, found = compare(project, "--base", "slower", "--head", "smaller")
    assert done.returncode == 0, done.stderr
    assert found["suite.Work.time_work", "20000"]["verdict"] == "faster"
    size = found["suite.Sized.track_size",]
    assert (size["verdict"], size["ratio"]) == ("smaller", pytest.approx(0.5))
    assert set(size["base"]) == {10000.0}


@pytest.mark.slow
def test_cells_that_one_commit_cannot_run(project):
    gained, found = compare(project, "--base", "plain", "--head", "extra", "--bench", "Odd")
    assert (gained.returncode, found["suite.Odd.time_extra",]["outcome"]) == (0, "new")
    lost, found = compare(project, "--base", "extra", "--head", "plain", "--bench", "Odd")
    assert (lost.returncode, found["suite.Odd.time_extra",]["outcome"]) == (1, "lost")
    broken, found = compare(project, "--base", "extra", "--head", "broken", "--bench", "Odd")
    assert broken.returncode == 1
    assert "extra is broken" in broken.stdout
    both, found = compare(project, "--base", "broken", "--head", "broken", "--bench", "Odd")
    assert (both.returncode, found["suite.Odd.time_extra",]["outcome"]) == (2, "failed")


@pytest.mark.slow
def test_uncommitted_changes_are_measured_when_asked_for(project):
    original = (project / "worked.py").read_text()
    try:
        (project / "worked.py").write_text(PACKAGE.format(times=1, size=77, extra=""))
        _, found = compare(project, "--base", "plain", "--uncommitted", "--bench", "Sized")
        assert found["suite.Sized.track_size",]["head"][0] == 770
        _, found = compare(project, "--base", "plain", "--bench", "Sized")
        assert found["suite.Sized.track_size",]["head"][0] == 10000
    finally:
        (project / "worked.py").write_text(original)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base", "nowhere"], "error: git knows no revision 'nowhere' here"),
        (["--base", "plain", "--bench", "Nothing"], "error: no cell of 4 matches Nothing"),
        (["--base", "plain", "--bench", "("], "'(' is no regular expression"),
        (["--base", "plain", "--min-effect", "3"], "3 is no fraction from 0 to 1"),
        (["--base", "plain", "--budget", "-1"], "-1 is no number of seconds"),
    ],
)
def test_wrong_input_is_one_error(project, arguments, message):
    done, found = compare(project, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert found == {}


def test_a_suite_that_cannot_be_imported_says_what_it_printed(project):
    suite = project / "suites" / "__init__.py"
    suite.write_text("raise ValueError('no such grid')")
    try:
        done, _ = compare(project, "--base", "plain")
    finally:
        suite.write_text("")
    assert done.returncode == 2
    assert "no such grid" in done.stderr


def test_ctrl_c_reports_what_is_known_and_leaves_no_process(project):
    process = subprocess.Popen(
        [*command("--base", "plain", "--head", "slower", "--out", "out.json"), "--budget", "60"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout.readline().startswith("slower")
    assert process.stdout.readline().startswith("0/")  # the first cell is being measured
    started = children(process.pid)
    workers = [pid for pid in started if "worker.py" in Path("/proc", pid, "cmdline").read_text()]
    assert len(workers) == 2
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "0 cells" in stdout
    assert json.loads((project / "out.json").read_text())["cells"] == []
    assert not any(Path("/proc", pid).exists() for pid in started)


def children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]
