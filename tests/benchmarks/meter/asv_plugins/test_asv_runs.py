"""asv itself, run for real on a small project whose suite uses the meter."""

import itertools
import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.meter.measure.statistics import Ratio, verdict
from tests.benchmarks.meter.repository import Repository

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
CONF = {
    "version": 1,
    "project": "small",
    "repo": ".",
    "branches": ["HEAD"],
    "plugins": [".benchmarks.meter.asv_plugins.environment", ".benchmarks.meter.asv_plugins.machine"],
    "environment_type": "borrowed",
    "build_command": ["python -c pass"],
    "install_command": ["python -c pass"],
    "uninstall_command": ["python -c pass"],
    "build_cache_size": 1,
    "launch_method": "forkserver",
}
REGISTER = "from benchmarks.meter.types.register import register\n\nregister()\n"
SUITE = """
import os
from pathlib import Path

import torch

from benchmarks.meter.types.register import cuda_only

SIZES = (20_000, 60_000)
SLOW = float(os.environ["SLOW"])


def total(size):
    return lambda: sum(range(int(size)))


class Sums:
    params = (SIZES,)
    param_names = ("size",)
    version = "1"
    repeat = (12, 30, 0.1)

    def cudatime_same(self, size):
        sum(range(size))

    def cudatime_slower(self, size):
        sum(range(int(size * SLOW)))

    def cudatime_too_large(self, size):
        torch.empty(10**15)

    def devicemem_ones(self, size):
        torch.ones(1000 * size, dtype=torch.int8)

    @cuda_only
    def cudatime_on_gpu(self, size):
        raise AssertionError("left out without a GPU")


class Variants:
    params = (SIZES, (0, 0.5, 0.9))
    param_names = ("size", "ratio")
    variant = "ratio"
    baseline = 0
    version = "1"
    paper = "table2"
    repeat = (12, 30, 0.1)

    def paired_sum(self, size):
        with Path(os.environ["GROUPS"]).open("a") as file:
            file.write(f"{os.environ['ASV_COMMIT']} {size}\\n")
        return {0: total(size), 0.5: total(size * 0.5), 0.9: lambda: torch.empty(10**15)}
"""


class MeasuredProject(Repository):
    @property
    def variables(self):
        return {
            **super().variables,
            "METER_NOTES": str(self.path / "notes.jsonl"),
            "METER_STORE": "",
            "GROUPS": str(self.path / "groups"),
            "SLOW": "1",
        }

    def notes(self):
        return [json.loads(line) for line in (self.path / "notes.jsonl").read_text().splitlines()]

    def metadata(self):
        return json.loads((self.path / "results" / "benchmarks.json").read_text())

    def results(self, revision):
        """By benchmark and cell: the value and the recorded samples of one commit."""
        (file,) = self.path.glob(f"results/*/{self.git('rev-parse', revision)[:8]}-*.json")
        stored = json.loads(file.read_text())
        found = {}
        for name, row in stored["results"].items():
            columns = dict(zip(stored["result_columns"], row, strict=False))
            cells = list(itertools.product(*columns["params"]))
            samples = columns.get("samples") or [None] * len(cells)
            found |= {
                (name, *cell): (value, taken)
                for cell, value, taken in zip(cells, columns["result"], samples, strict=True)
            }
        return found


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two commits, measured: the second with one benchmark that takes three times as long."""
    if not shutil.which("git"):
        pytest.skip("asv needs git")
    path = tmp_path_factory.mktemp("project")
    project = MeasuredProject(path, path / "home")
    for folder in ("home", "benchmarks"):
        (project.path / folder).mkdir()
    shutil.copytree(ROOT / "benchmarks" / "meter", project.path / "benchmarks" / "meter")
    (project.path / "benchmarks" / "__init__.py").write_text(REGISTER)
    (project.path / "benchmarks" / "suite.py").write_text(SUITE)
    (project.path / "asv.conf.json").write_text(json.dumps(CONF))
    (project.path / "setup.py").write_text("")
    project.git("init", "--quiet", "--initial-branch", "main")
    project.git("add", "setup.py")
    project.git("commit", "--quiet", "--message", "One")
    project.git("commit", "--quiet", "--allow-empty", "--message", "Two")
    for revision, slow in (("HEAD~1", "1"), ("HEAD", "3")):
        project.asv("run", f"{revision}^!", "--record-samples", "--show-stderr", SLOW=slow)
    return project


def test_results_are_recorded_samples(project):
    results = project.results("HEAD")
    for benchmark in ("cudatime_same", "cudatime_slower", "devicemem_ones"):
        for size in ("20000", "60000"):
            value, samples = results[f"suite.Sums.{benchmark}", size]
            assert 12 <= len(samples) <= 30
            assert min(samples) <= value <= max(samples)
    assert results["suite.Sums.devicemem_ones", "60000"][0] == pytest.approx(60e6, rel=0.05)


def test_what_does_not_fit_is_n_a_with_its_reason(project):
    for size in ("20000", "60000"):
        value, samples = project.results("HEAD")["suite.Sums.cudatime_too_large", size]
        assert (math.isnan(value), samples) == (True, None)
    reasons = {
        note["reason"] for note in project.notes() if note["benchmark"] == "suite.Sums.cudatime_too_large"
    }
    assert len(reasons) == 1
    assert "can't allocate memory" in reasons.pop()


def test_compare_tells_the_slower_benchmark_by_its_samples(project):
    compared = project.asv("compare", "HEAD~1", "HEAD", "--factor", "2")
    changes = {line.split()[-2].split("(")[0]: line for line in compared.splitlines() if "suite.Sums" in line}
    slower, same = changes["suite.Sums.cudatime_slower"], changes["suite.Sums.cudatime_same"]
    assert slower.startswith("| +")
    assert not same.startswith("| +")
    assert "n/a" in changes["suite.Sums.cudatime_too_large"]


def test_a_group_is_measured_once_a_commit_and_each_variant_has_its_result(project):
    groups = (project.path / "groups").read_text().split("\n")[:-1]
    commits = [project.git("rev-parse", revision) for revision in ("HEAD~1", "HEAD")]
    assert groups == [f"{commit} {size}" for commit in commits for size in (20_000, 60_000)]
    for size in ("20000", "60000"):
        row = {
            ratio: project.results("HEAD")["suite.Variants.paired_sum", size, ratio]
            for ratio in ("0", "0.5", "0.9")
        }
        assert min(row["0.5"][1]) < min(row["0"][1])  # half the work, whatever else the machine does
        assert len(row["0.5"][1]) == len(row["0"][1]) >= 12
        assert math.isnan(row["0.9"][0])


def test_notes_compare_the_variants(project):
    pairs = [note for note in project.notes() if note["kind"] == "pair"]
    assert [note["params"] for note in pairs] == [
        [size, "0.5"] for _ in range(2) for size in ("20000", "60000")
    ]
    for note in pairs:
        ratio = Ratio(note["ratio"], note["low"], note["high"], note["confidence"])
        assert ratio.low <= 0.5 * 1.1
        assert ratio.high >= 0.5 * 0.9
        assert note["verdict"] == verdict(ratio, 0.01)  # a busy machine may let it see no difference


def test_what_needs_a_gpu_is_no_benchmark_without_one(project):
    names = project.metadata().keys()
    assert ("suite.Sums.cudatime_on_gpu" in names) is torch.cuda.is_available()
    assert "suite.Sums.cudatime_same" in names


def test_metadata_say_what_to_make_of_the_numbers(project):
    paired = project.metadata()["suite.Variants.paired_sum"]
    assert {
        "type": "paired",
        "unit": "seconds",
        "less_is_better": True,
        "paper": "table2",
        "variant": "ratio",
        "baseline": "0",
        "measure": "time",
    }.items() <= paired.items()


def test_stock_asv_publishes_it(project):
    project.asv("publish")
    index = json.loads((project.path / "html" / "index.json").read_text())
    assert index["benchmarks"]["suite.Sums.devicemem_ones"]["unit"] == "bytes"
