"""The experiment's parts: what is planted, scheduled, reported. Trials themselves are run by hand."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.experiments.verdict import planting, stock
from benchmarks.experiments.verdict.experiment import EQUAL, Trial, read, schedule
from benchmarks.experiments.verdict.report import table

ROOT = Path(__file__).parents[3]
TIMES_OF_A_SCAN = """
import time
import torch
from perfmamba.models import component_replays, published_config
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
config = published_config("mamba2-130m", layers=1)
config.vocab_size = 64
model = AutoModelForCausalLM.from_config(config).eval()
tokens = torch.arange(64)[None]
with torch.inference_mode():
    replays = component_replays(model, lambda: model(tokens))
    for component in ("ssm", "out_proj"):
        times = []
        for _ in range(15):
            began = time.perf_counter()
            replays[component]()
            times.append(time.perf_counter() - began)
        print(min(times))
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planting") / "clone"
    subprocess.run(
        ["git", "clone", "--quiet", f"file://{ROOT}", str(folder)], check=True, capture_output=True
    )
    return folder


def shortest(clone, branch):
    """Seconds of a scan and of a projection in a commit of the clone, the shortest of fifteen each."""
    subprocess.run(["git", "checkout", "--quiet", branch], cwd=clone, check=True)
    command = [sys.executable, "-P", "-c", TIMES_OF_A_SCAN]
    environment = {"PYTHONPATH": f"{clone}:{clone / 'kernels'}", "PATH": "", "HOME": str(clone)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return [float(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_what_is_planted_slows_the_scan_and_nothing_else(clone):
    """Ten times slower, so that no noise hides it; the experiment plants a few percent in the same way."""
    plain_scan, plain_projection = shortest(clone, planting.planted(clone, EQUAL))
    scan, projection = shortest(clone, planting.planted(clone, 9.0))
    assert 5 < scan / plain_scan < 20
    assert projection / plain_projection < 3


def test_trials_that_were_made_are_not_made_again():
    equal, slowed = Trial("meter", EQUAL), Trial("meter", 0.1)
    left = schedule({equal: 3, slowed: 2}, Counter({equal: 2, slowed: 5}))
    assert left == [equal]
    everything = schedule({equal: 3, slowed: 2}, Counter())
    assert Counter(everything) == {equal: 3, slowed: 2}


def test_a_file_that_does_not_exist_holds_no_trials(tmp_path):
    assert read(tmp_path / "none.jsonl") == []


def test_the_table_counts_false_alarms_and_found_slow_downs():
    trials = [
        {"method": "meter", "planted": 0.0, "said": {"1.02": {"ssm": "", "norm": "faster"}}, "seconds": 30},
        {"method": "meter", "planted": 0.0, "said": {"1.02": {"ssm": "", "norm": ""}}, "seconds": 40},
        {
            "method": "meter",
            "planted": 0.1,
            "said": {"1.02": {"ssm": "slower", "norm": "slower"}},
            "seconds": 50,
        },
        {"method": "asv", "planted": 0.1, "said": {"1.1": {"ssm": "faster", "norm": ""}}, "seconds": 90},
    ]
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table(trials).splitlines()
    ]
    assert head == ["", "none planted", "+10% in the scan", "time"]
    assert rows[0] == ["meter, changes from 2%", "1 of 4 (5% to 70%)", "1 of 1 (21% to 100%)", "40 s"]
    assert rows[1] == ["asv, changes from 10%", "-", "0 of 1 (0% to 79%)", "90 s"]


def test_marks_of_asv_are_read_from_its_table():
    printed = (
        "| Change | Before [a] | After [b] | Ratio | Benchmark (Parameter) |\n"
        "|--------|------------|-----------|-------|-----------------------|\n"
        "| +      | 1±0ms | 2±0ms | 2.00 | stock_verdict.Stock.time_cell('ssm') |\n"
        "| -      | 2±0ms | 1±0ms | 0.50 | stock_verdict.Stock.time_cell('norm') |\n"
        "|        | 2±0ms | 2±0ms | ~1.00 | stock_verdict.Stock.time_cell('decode') |\n"
    )
    assert stock._marks(printed) == {"ssm": "slower", "norm": "faster", "decode": ""}
