"""What every suite must keep to: found by asv, harmless to import, named in the words of the project."""

import json
import os
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
    "asv_modules": [name for name in sys.modules if name.partition(".")[0] == "asv"],
}))
"""


@pytest.fixture(scope="module")
def discovery(tmp_path_factory):
    """All benchmarks as asv lists them, and what the listing process was like afterwards."""
    return discover(tmp_path_factory.mktemp("discovery"), "quick")


def discover(folder, profile):
    listing = folder / "benchmarks.json"
    done = subprocess.run(
        [sys.executable, "-c", DISCOVER, str(BENCHMARKS), str(listing)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PERFMAMBA_BENCH_PROFILE": profile},
    )
    if done.returncode:
        return done.stderr
    return {"benchmarks": json.loads(listing.read_text()), **json.loads(done.stdout)}


def test_the_suites_are_found(discovery):
    """Those for a GPU as well, which the stub of NVML says is there."""
    names = {benchmark["name"] for benchmark in discovery["benchmarks"]}
    assert names == {
        "components.ComponentCost.track_allocated",
        "components.ComponentCost.track_device_time",
        "components.ComponentLatency.cudatime_component",
        "imports.ImportTime.timeraw_import",
        "kernels.CausalConv.paired_time",
        "kernels.CausalConvUpdate.paired_time",
        "kernels.OurKernel.cudatime_call",
        "kernels.SelectiveScan.paired_memory",
        "kernels.SelectiveScan.paired_time",
        "kernels.SelectiveStateUpdate.paired_time",
        "kernels.Ssd.paired_memory",
        "kernels.Ssd.paired_time",
        "kernels.SsdUpdate.paired_time",
        "latency.Device.energy_prefill",
        "latency.Device.nvmlmem_prefill",
        "latency.Latency.cudatime_forward",
        "latency.PeakMemory.devicemem_prefill",
        "pruning.DecodeStateSize.paired_step",
        "pruning.StateSize.paired_memory",
        "pruning.StateSize.paired_prefill",
        "trace_parsing.TraceParsing.time_break_down_component",
        "trace_parsing.TraceParsing.time_break_down_op",
        "trace_parsing.TraceParsing.time_read",
        "trace_parsing.TraceParsing.track_peak_bytes",
    }


def test_asv_itself_stays_out_of_benchmark_processes(discovery):
    """They need `asv_runner` alone: a commit's process has nothing that the commit's user would not have."""
    assert discovery["asv_modules"] == []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted through Linux's /proc")
def test_importing_the_suites_starts_no_thread(discovery):
    """A child forked from a process with threads of torch's hangs in its first operation."""
    assert discovery["threads_of_suites"] == 0


def test_importing_the_suites_leaves_the_cuda_driver_alone(discovery):
    """Told through stubs of the two calls that initialize it; NVML, which may be asked, is a stub too."""
    assert discovery["driver_calls"] == 0


def test_every_benchmark_sets_its_version(discovery):
    """asv's own version hashes the benchmark's lines, not the workload behind them."""
    assert all(benchmark["version"].isdecimal() for benchmark in discovery["benchmarks"])


def test_parameters_use_the_words_of_the_project(discovery):
    for benchmark in discovery["benchmarks"]:
        assert not HIDDEN_BY_THE_SITE & set(benchmark["param_names"]), benchmark["name"]


def test_the_paper_profile_has_the_lengths_and_ratios_of_its_tables(tmp_path):
    benchmarks = {
        benchmark["name"]: dict(zip(benchmark["param_names"], benchmark["params"], strict=True))
        for benchmark in discover(tmp_path, "paper")["benchmarks"]
    }
    lengths = ["64", "512", "2048", "4096", "8192", "16384"]
    table2 = benchmarks["pruning.StateSize.paired_prefill"]
    assert (table2["seqlen"], table2["ratio"]) == (lengths, ["0.0", "0.1", "0.3", "0.5", "0.7", "0.9"])
    assert table2["model"] == ["'mamba2-130m'"]
    assert benchmarks["components.ComponentCost.track_device_time"]["seqlen"] == lengths[:3]
    assert benchmarks["latency.Latency.cudatime_forward"]["seqlen"] == lengths


def test_an_unknown_profile_is_one_line_that_names_the_known_ones(tmp_path):
    said = discover(tmp_path, "fast")
    assert said == "PERFMAMBA_BENCH_PROFILE=fast: no such grid; choose one of quick, paper\n"
