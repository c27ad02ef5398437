"""Definitions of several machines: united as data, then in real runs of asv in a small project."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.meter.asv_plugins.definitions import save_definitions, united

ROOT = Path(__file__).parents[4]
METER = ROOT / "benchmarks" / "meter"

SUITE = """
import os

from benchmarks.meter.asv_plugins.notes import note

class Scan:
    params = [[int(n) for n in os.environ["SEQLENS"].split()], ["fast", "slow"]]
    param_names = ["seqlen", "mode"]
    unit = "seconds"

    def track_scan(self, seqlen, mode):
        note("cell", benchmark="suite.Scan.track_scan", params=[repr(seqlen), repr(mode)])
        return seqlen / 1000

if "ALSO_OLD" in os.environ:
    def track_old():
        return 1
"""
CONFIGURATION = {
    "version": 1,
    "project": "small",
    "repo": ".",
    "branches": ["HEAD"],
    "environment_type": "existing",
    "launch_method": "forkserver",
    "benchmark_dir": "benchmarks",
    "results_dir": "results",
    "html_dir": "html",
}


def defined(*axes, version="1", names=("seqlen", "mode")):
    return {"name": "scan", "version": version, "param_names": list(names), "params": list(axes)}


def test_numbers_are_united_in_their_order():
    both = united(defined(["64", "1024"], ["'a'"]), defined(["128", "64"], ["'a'"]))
    assert both["params"] == [["64", "128", "1024"], ["'a'"]]


def test_other_values_keep_the_order_of_the_suite():
    both = united(defined(["64"], ["'prefill'", "'decode'"]), defined(["64"], ["'chunked'", "'decode'"]))
    assert both["params"][1] == ["'prefill'", "'decode'", "'chunked'"]


def test_an_order_that_is_no_numbers_is_left_where_nothing_is_added():
    assert united(defined(["128", "64"], ["'a'"]), defined(["64"], ["'a'"]))["params"][0] == ["128", "64"]


@pytest.mark.parametrize(
    "other", [None, defined(["1"], version="2"), defined(["1"], names=("batch", "mode"))]
)
def test_another_version_or_other_axes_add_nothing(other):
    assert united(defined(["64"]), other) == defined(["64"])


def test_values_of_an_earlier_run_stay_and_its_other_benchmarks_go(tmp_path):
    file = tmp_path / "box" / "benchmarks.definitions"
    save_definitions(tmp_path, "box", {"scan": defined(["64"]), "gone": defined(["1"])})
    save_definitions(tmp_path, "box", {"scan": defined(["128"])})
    assert json.loads(file.read_text()) == {"scan": defined(["64", "128"])}


def test_damaged_definitions_are_warned_of_and_replaced(tmp_path, caplog):
    file = tmp_path / "box" / "benchmarks.definitions"
    file.parent.mkdir()
    file.write_text('{"scan": ')
    save_definitions(tmp_path, "box", {"scan": defined(["128"])})
    assert "the benchmarks of box are unknown until it runs again" in caplog.text
    assert json.loads(file.read_text()) == {"scan": defined(["128"])}


@dataclass(frozen=True)
class PluginProject:
    """A git repository with a suite, the meter, and a configuration with and without the plugins."""

    path: Path

    def run(self, *command, **environ):
        done = subprocess.run(
            command,
            cwd=self.path,
            env={**os.environ, "HOME": str(self.path), **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def git(self, *arguments):
        return self.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments)

    def asv(self, *arguments, configuration="asv.conf.json", **environ):
        return self.run(sys.executable, "-m", "asv", "--config", configuration, *arguments, **environ)

    def measure(self, machine, seqlens, *arguments, **environ):
        commit = self.git("rev-parse", "HEAD").strip()
        where = ["--python", sys.executable, "--set-commit-hash", commit, "--machine", machine]
        return self.asv("run", *where, *arguments, SEQLENS=seqlens, **environ)

    def published(self, configuration="asv.conf.json"):
        """What the site knows of each benchmark."""
        self.asv("publish", configuration=configuration)
        return json.loads((self.path / "html" / "index.json").read_text())["benchmarks"]

    def graph(self, machine):
        """The values at the one commit, of all cells."""
        (file,) = self.path.glob(f"html/graphs/**/machine-{machine}/**/suite.Scan.track_scan.json")
        ((_revision, values),) = json.loads(file.read_text())
        return values


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project after a run on a laptop and one on a GPU box, whose grids differ."""
    if not shutil.which("git"):
        pytest.skip("asv needs git")
    path = tmp_path_factory.mktemp("small")
    project = PluginProject(path)
    suite = path / "benchmarks"
    suite.mkdir()
    suite.joinpath("__init__.py").touch()
    suite.joinpath("suite.py").write_text(SUITE)
    shutil.copytree(METER, suite / "meter", ignore=shutil.ignore_patterns("__pycache__"))
    plugins = {"plugins": [".benchmarks.meter.asv_plugins.machine", ".benchmarks.meter.asv_plugins.records"]}
    path.joinpath("asv.conf.json").write_text(json.dumps(CONFIGURATION | plugins))
    path.joinpath("stock.conf.json").write_text(json.dumps(CONFIGURATION))
    project.git("init", "--quiet")
    project.git("add", "asv.conf.json")
    project.git("commit", "--quiet", "--message", "First")
    project.measure("laptop", "64 128", ALSO_OLD="1")
    project.measure("gpubox", "128 1024")
    return project


@pytest.fixture
def own_project(project, tmp_path):
    """A copy of the project, to run again."""
    shutil.copytree(project.path, tmp_path / "own")
    return PluginProject(tmp_path / "own")


def notes(project, machine):
    (file,) = project.path.glob(f"results/{machine}/*.notes.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_notes_of_the_benchmark_processes_are_beside_the_results(project):
    versions, *cells = notes(project, "laptop")
    assert (versions["kind"], versions["gpu"]) == ("versions", None)
    grid = [[seqlen, mode] for seqlen in ("64", "128") for mode in ("'fast'", "'slow'")]
    assert [cell["params"] for cell in cells] == grid


def test_the_site_has_the_cells_of_both_machines(project):
    benchmarks = project.published()
    assert benchmarks["suite.Scan.track_scan"]["params"] == [["64", "128", "1024"], ["'fast'", "'slow'"]]
    assert "suite.track_old" in benchmarks, "the GPU box ran last, without it"
    assert project.graph("laptop") == [0.064, 0.064, 0.128, 0.128, None, None]
    assert project.graph("gpubox") == [None, None, 0.128, 0.128, 1.024, 1.024]


def test_show_tells_each_machine_in_its_own_grid(project):
    shown = project.asv("show", "HEAD")
    assert "failed" not in shown
    assert "laptop" in shown
    assert "gpubox" in shown
    assert "1.02s" in shown


def test_compare_knows_the_units_of_a_machine_that_did_not_run_last(project):
    compared = project.asv("compare", "HEAD", "HEAD", "--machine", "laptop")
    assert "64.0ms" in compared


def test_stock_asv_publishes_without_a_word_about_what_is_beside_the_results(project):
    printed = project.asv("publish", configuration="stock.conf.json")
    assert "arning" not in printed
    assert "kipping" not in printed
    assert project.graph("laptop") == [0.128, 0.128, None, None], "in the grid of the last run"


def test_selected_cells_are_added_to_the_others(own_project):
    own_project.measure("laptop", "64 128", "--bench", r"scan\(64, 'fast'", ALSO_OLD="1")
    assert len(notes(own_project, "laptop")) == 5
    own_project.published()
    assert own_project.graph("laptop") == [0.064, 0.064, 0.128, 0.128, None, None]


def test_a_deleted_benchmark_vanishes_with_the_next_run(own_project):
    own_project.measure("laptop", "64 128", "--bench", "scan")
    assert "suite.track_old" not in own_project.published()
