"""Floors, the table and its JSON."""

import json
from io import StringIO

from perfmamba_kernels.costs import Work
from rich.console import Console

from benchmarks.kernel_table.cases import work
from benchmarks.kernel_table.records import CaseRecord, ContenderResult, KernelTable
from benchmarks.kernel_table.report import WIDTH, rendered
from benchmarks.meter.measure.statistics import Ratio
from tests.benchmarks.kernel_table.small_cases import RATES, SSD, STEP


def test_the_copy_rate_is_that_of_the_size_that_is_moved():
    """What fits into a cache is no floor for what does not."""
    rates = [RATES.of("float32", Work(0, 0, size)).moved_bytes for size in (1, 10**5, 10**6, 10**8, 10**12)]
    assert rates == [4e9, 4e9, 2e9, 1e9, 1e9]


def test_the_table_shows_ratios_floors_and_reasons():
    results = {
        "hf": ContenderResult(1e-7, [0.08] * 10, None, 50 * 10**6),
        "torch": ContenderResult(1e-6, [0.02] * 10, Ratio(0.25, 0.2, 0.5, 0.99), 10 * 10**6),
        "triton": ContenderResult(failed="CompilationError: no"),
        "fla": ContenderResult(skipped="out of memory: much"),
    }
    done = CaseRecord(SSD, results, baseline="hf", work=Work(1, 1, 1), floor_s=0.01)
    table = KernelTable({"device": "cpu"}, RATES, [done, CaseRecord(STEP, {}, failed="it hangs")], left=3)
    console = Console(width=WIDTH, record=True, file=StringIO())
    console.print(rendered(table))
    rows = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "2 70 12 hf 1e-07 80 baseline 50.0 - 10 8.0" in rows
    assert "torch 1e-06 20 4.00 (2.00 to 5.00) 10.0 5.00 10 2.0" in rows
    assert "triton - failed - - - - -" in rows
    assert "fla - n/a - - - - -" in rows
    assert f"failed {SSD}: triton: CompilationError: no" in rows
    assert f"n/a {SSD}: fla: out of memory: much" in rows
    assert f"FAILED {STEP}: it hangs" in rows
    assert rows[-1] == "3 cases were not measured"


def test_json_has_samples_and_derived_numbers():
    record = CaseRecord(
        SSD, {"torch": ContenderResult(0.0, [3.0, 1.0, 2.0])}, baseline="torch", work=work(SSD), floor_s=1.0
    )
    document = json.loads(
        json.dumps(KernelTable({"device": "cpu"}, RATES, [record]).as_json(), allow_nan=False)
    )
    (stored,) = document["records"]
    assert stored["results"]["torch"]["samples"] == [3.0, 1.0, 2.0]
    assert stored["results"]["torch"]["seconds"] == 2.0
    assert stored["case"]["operation"] == "ssd"
    assert stored["work"]["matmul_flops"] == work(SSD).matmul_flops
    assert document["rates"]["matmul_flops"] == {"float32": 1e12}
