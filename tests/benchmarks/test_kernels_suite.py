"""The suite of the kernels: its grids, what it refuses to time, and what it leaves out."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from asv_runner.benchmarks import benchmark_types

from benchmarks import kernels
from benchmarks.kernel_table.measuring import check
from benchmarks.meter.measure.variants import STORE_VARIABLE
from benchmarks.meter.types.paired import Paired

ROOT = Path(__file__).parents[2]
SUITES = (
    kernels.Ssd,
    kernels.SelectiveScan,
    kernels.CausalConv,
    kernels.SsdUpdate,
    kernels.SelectiveStateUpdate,
    kernels.CausalConvUpdate,
)
PAPER = """
import os
os.environ["PERFMAMBA_BENCH_PROFILE"] = "paper"
from benchmarks.kernels import Ssd, SsdUpdate, SelectiveScan
print(Ssd.params[2:], SsdUpdate.params[2:], SelectiveScan.params[2:], sep="\\n")
"""


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def benchmark(suite, name="paired_time"):
    instance = suite()
    function = getattr(instance, name)
    return Paired(f"kernels.{suite.__name__}.{name}", function, [function, instance, kernels])


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_is_one_that_the_meter_takes(suite):
    """Its attributes are checked when asv makes the benchmark, its parameters here."""
    assert Paired in benchmark_types
    made = benchmark(suite)
    assert made.check(None)
    assert made.param_names == ["operation", "backend", "batch", "seqlen", "states"]
    assert made.variant == "backend"
    assert made.baseline == "'hf'"
    assert len(made.params[0]) == 1


@pytest.mark.slow
def test_the_grid_for_a_gpu_is_that_of_the_table():
    done = subprocess.run([sys.executable, "-c", PAPER], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "((8,), (2048, 4096, 8192, 16384), (128, 89, 64, 38, 12))",
        "((1, 8, 64, 256, 1024), (1,), (128, 89, 64, 38, 12))",
        "((8,), (2048, 4096, 8192, 16384), (16, 11, 4))",
    ]


@pytest.mark.parametrize(
    ("operation", "states"),
    [("ssd_update", 12), ("selective_state_update", 16), ("causal_conv1d_update", 128)],
)
def test_a_cell_has_a_checked_call_for_each_backend(operation, states):
    calls = kernels.checked_calls(operation, 2, 1, states)
    assert set(calls) == set(kernels.BACKENDS)
    for call in calls.values():
        assert all(output.isfinite().all() for output in call())


def test_a_cell_is_measured_in_turns_and_its_ratio_kept(monkeypatch, tmp_path):
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path))
    made = benchmark(kernels.CausalConvUpdate)
    made._attr_sources[0:0] = [type("Fewer", (), {"repeat": 6, "warmup_time": 0})]
    made.set_param_idx(0)
    assert not made.do_setup()
    assert torch.get_num_threads() == 1
    assert len(made.do_run()["samples"]) == 6
    made.set_param_idx(1)
    assert not made.do_setup()
    assert made._found.ratio.value > 0


def checked_by(failing):
    """`check`, with one backend that fails in its own way."""

    def maker(_case, _given):
        def call():
            raise failing

        return call

    return lambda case, makers: check(case, {**makers, "torch": maker})


def test_a_backend_that_fails_has_no_number(monkeypatch):
    monkeypatch.setattr(kernels, "check", checked_by(ValueError("no such thing")))
    with pytest.raises(AssertionError, match="torch: ValueError: no such thing"):
        kernels.checked_calls("ssd_update", 1, 1, 12)


def test_a_backend_that_runs_out_of_memory_is_left_out(monkeypatch):
    monkeypatch.setattr(kernels, "check", checked_by(MemoryError()))
    assert set(kernels.checked_calls("ssd_update", 1, 1, 12)) == {"hf"}


def test_a_commit_without_the_kernels_is_skipped(monkeypatch):
    monkeypatch.setattr(kernels, "MISSING", "No module named 'perfmamba_kernels.costs'")
    made = benchmark(kernels.Ssd)
    made.set_param_idx(0)
    assert made.do_setup()


@pytest.mark.parametrize("kernel", kernels.KERNELS)
def test_what_is_compared_between_commits_is_our_own(kernel, monkeypatch):
    offered = {backend: lambda backend=backend: backend for backend in kernels.BACKENDS}
    monkeypatch.setattr(kernels, "checked_calls", lambda *_: offered)
    suite = kernels.OurKernel()
    suite.setup(kernel)
    assert suite.call() == kernels.OURS
    assert not any(other.compared for other in SUITES)
