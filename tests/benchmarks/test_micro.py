"""The micro-benchmarks run, time every kernel, refuse a wrong one, and compare each run with the last."""

import json
import os
import pkgutil
import re
import subprocess
import sys
from inspect import getmembers, isfunction
from pathlib import Path

import pytest
from perfmamba_kernels import reference, torch_backend

import benchmarks
from benchmarks.micro import test_kernels as kernels
from perfmamba.models import published_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
KERNELS = {
    name
    for name, function in getmembers(reference, isfunction)
    if function.__module__ == reference.__name__ and hasattr(torch_backend, name)
}

WRONG_BY_A_THOUSANDTH = f"""
from perfmamba_kernels import reference, torch_backend

def wrong(kernel):
    def call(*args, **kwargs):
        result = kernel(*args, **kwargs)
        return (result[0] * 1.001, result[1]) if isinstance(result, tuple) else result * 1.001
    return call

for name in {sorted(KERNELS)}:
    for backend in (reference, torch_backend):
        setattr(backend, name, wrong(getattr(backend, name)))
"""


ONE_ROUND = ("--benchmark-min-rounds=1", "--benchmark-max-time=0")


def run_micro(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Run the micro-benchmarks as a user does, their runs saved below `folder`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    fixed = ["-p", "no:cacheprovider", f"--benchmark-storage={folder / 'saved'}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks/micro", *fixed, *options],
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("micro")


@pytest.fixture(scope="module")
def first_run(folder):
    return run_micro(folder, "-v", *ONE_ROUND)


def test_every_kernel_and_the_parser_run(first_run):
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr
    passed = set(re.findall(r"::test_(\w+)(?:\[[^\]]*\])? PASSED", first_run.stdout))
    assert passed >= KERNELS | {
        "read_one_step",
        "decode_events",
        "build_columns",
        "find_ranges",
        "break_down",
    }


def test_a_run_is_compared_with_the_one_before(first_run, folder):
    second = run_micro(folder, "-k", "find_ranges", *ONE_ROUND)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "No benchmark files" in first_run.stderr
    assert "find_ranges (0001)" not in first_run.stdout
    assert "find_ranges (0001)" in second.stdout
    assert "find_ranges (NOW)" in second.stdout
    assert len(list(folder.glob("saved/*/*.json"))) == 2


def test_a_slow_down_ends_with_exit_code_1_and_a_line(first_run, folder, tmp_path):
    (saved,) = folder.glob("saved/*/0001_*.json")
    run = json.loads(saved.read_text())
    for benchmark in run["benchmarks"]:
        benchmark["stats"]["min"] = 1e-12  # nothing is as fast
    before = tmp_path / saved.relative_to(folder)
    before.parent.mkdir(parents=True)
    before.write_text(json.dumps(run))

    done = run_micro(tmp_path, "-k", "find_ranges", *ONE_ROUND, "--benchmark-compare-fail=min:10%")
    assert done.returncode == 1
    assert "Exit: Performance has regressed." in done.stderr
    assert "find_ranges (0001) - Field 'min'" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_wrong_kernel_is_not_timed(tmp_path):
    (tmp_path / "wrong_kernels.py").write_text(WRONG_BY_A_THOUSANDTH)
    done = run_micro(tmp_path, "-p", "wrong_kernels", "-k", "kernels", "--tb=no")
    failed = set(re.findall(r"^FAILED \S*::test_(\w+)", done.stdout, re.MULTILINE))
    assert failed == KERNELS, done.stdout + done.stderr
    assert " passed" not in done.stdout
    assert not list(tmp_path.glob("saved/*/*.json"))


def test_the_shapes_are_those_of_the_published_models():
    mamba1, mamba2 = published_config("mamba-130m"), published_config("mamba2-130m")
    assert (mamba1.intermediate_size, mamba1.state_size) == (kernels.MAMBA1_CHANNELS, kernels.MAMBA1_STATES)
    assert mamba1.conv_kernel == mamba2.conv_kernel == kernels.TAPS
    assert (mamba2.num_heads, mamba2.head_dim) == (kernels.MAMBA2_HEADS, kernels.MAMBA2_HEAD_DIM)
    assert (mamba2.state_size, mamba2.n_groups) == (kernels.MAMBA2_STATES, 1)


def test_asv_does_not_find_them():
    assert "micro" not in {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}
