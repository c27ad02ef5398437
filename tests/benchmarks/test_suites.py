"""What every suite must keep to: found by asv, harmless to import, named in the words of the project."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HIDDEN_BY_THE_SITE = {"arch", "os", "cpu", "ram"}

DISCOVER = """
import json, os, sys

os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
import numpy
from asv_runner.discovery import list_benchmarks

threads_of_numpy = len(os.listdir("/proc/self/task"))

import torch

driver_calls = []
torch._C._cuda_getDeviceCount = torch._C._cuda_init = lambda: driver_calls.append(1) or 1
torch.cuda._device_count_nvml = lambda: 1

with open(sys.argv[2], "w") as file:
    list_benchmarks(sys.argv[1], file)
print(json.dumps({
    "threads_of_suites": len(os.listdir("/proc/self/task")) - threads_of_numpy,
    "driver_calls": len(driver_calls),
    "plugins": [name for name in sys.modules if name.startswith("asv.")],
}))
"""


@pytest.fixture(scope="module")
def discovery(tmp_path_factory):
    """All benchmarks as asv lists them, and what the listing process was like afterwards."""
    listing = tmp_path_factory.mktemp("discovery") / "benchmarks.json"
    command = [sys.executable, "-c", DISCOVER, str(BENCHMARKS), str(listing)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=listing.parent)
    return {"benchmarks": json.loads(listing.read_text()), **json.loads(done.stdout)}


def test_the_suites_are_found(discovery):
    names = {benchmark["name"] for benchmark in discovery["benchmarks"]}
    assert {
        "imports.ImportTime.timeraw_import",
        "latency.Latency.time_forward",
        "components.ComponentCost.track_device_time",
        "components.ComponentCost.track_allocated",
    } <= names


def test_asv_plugins_stay_out_of_benchmark_processes(discovery):
    assert discovery["plugins"] == []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted through Linux's /proc")
def test_importing_the_suites_starts_no_thread(discovery):
    """A child forked from a process with threads of torch's hangs in its first operation."""
    assert discovery["threads_of_suites"] == 0


def test_importing_the_suites_leaves_the_cuda_driver_alone(discovery):
    """Told through stubs of the two calls that initialise it; NVML, which may be asked, is a stub too."""
    assert discovery["driver_calls"] == 0


def test_every_benchmark_sets_its_version(discovery):
    """asv's own version hashes the benchmark's lines, not the workload behind them."""
    assert all(benchmark["version"].isdecimal() for benchmark in discovery["benchmarks"])


def test_parameters_use_the_words_of_the_project(discovery):
    for benchmark in discovery["benchmarks"]:
        assert not HIDDEN_BY_THE_SITE & set(benchmark["param_names"]), benchmark["name"]
