"""The kernel table: who is asked, what is refused, what is reported; one small run of the command itself."""

import inspect
import json
import math
import os
import pkgutil
import re
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from io import StringIO
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest
import torch
from perfmamba_kernels.costs import Work
from rich.console import Console

import benchmarks
from benchmarks.kernel_table import __main__ as command
from benchmarks.kernel_table import cases, contenders, measuring
from benchmarks.kernel_table.cases import MAMBA1, MAMBA2, Case, arguments, work
from benchmarks.kernel_table.grids import grid
from benchmarks.kernel_table.measuring import Checked, WrongOutputError, check, require_equal
from benchmarks.kernel_table.rates import MachineRates
from benchmarks.kernel_table.records import Record, Result, Table
from benchmarks.kernel_table.report import WIDTH, rendered
from benchmarks.kernel_table.run import Limits, Workers, run
from benchmarks.kernel_table.worker import RequestFailedError, Worker, WorkerLostError
from benchmarks.meter.conditions import CONDITIONS, STEADY_HEAP
from benchmarks.meter.statistics import Ratio
from perfmamba.models import published_config

ROOT = Path(__file__).parents[2]
SMALL = (
    Case("ssd", MAMBA2, 2, 70, 12),
    Case("ssd_update", MAMBA2, 2, 1, 12),
    Case("selective_scan", MAMBA1, 2, 40, 4),
    Case("selective_state_update", MAMBA1, 2, 1, 4),
    Case("causal_conv1d", MAMBA2, 2, 40, 12),
    Case("causal_conv1d_update", MAMBA1, 2, 1, 4),
)
SSD, STEP = SMALL[:2]
RATES = MachineRates("a device", {"float32": 1e12}, {10**5: 4e9, 10**7: 2e9, 10**9: 1e9}, 1e9)

each_operation = pytest.mark.parametrize("case", SMALL, ids=lambda case: case.operation)


def outcomes(case, makers):
    return dict(check(case, makers))


# --- cases


def test_the_shapes_are_those_of_the_published_models():
    mamba1, mamba2 = published_config(MAMBA1), published_config(MAMBA2)
    assert mamba1.intermediate_size == cases.CHANNELS == cases.HEADS * cases.HEAD_DIM
    assert (mamba2.num_heads, mamba2.head_dim, mamba2.n_groups) == (cases.HEADS, cases.HEAD_DIM, 1)
    assert mamba1.conv_kernel == mamba2.conv_kernel == cases.TAPS


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_grids_have_every_operation_and_no_case_twice(device):
    whole, quick = grid(device), grid(device, quick=True)
    assert len(whole) == len(set(whole)) > len(quick) == len(set(quick))
    assert {case.operation for case in whole} == {case.operation for case in quick} == set(cases.OPTIONS)
    assert set(quick) <= set(whole)


def test_the_grids_have_the_sizes_that_were_asked_for():
    def sizes(device, operation, dtype):
        return {
            (case.batch, case.seqlen, case.states)
            for case in grid(device)
            if (case.operation, case.dtype) == (operation, dtype)
        }

    assert sizes("cpu", "ssd", "float32") == set(product([1], [512, 2048, 4096], [128, 64, 12]))
    assert sizes("cpu", "selective_scan", "float32") == {(1, 512, 16), (1, 2048, 16)}
    assert sizes("cpu", "ssd_update", "float32") == set(product([1, 8, 64], [1], [128, 64, 12]))
    at_batch_8 = product([8], [2048, 4096, 8192, 16384], [128, 89, 64, 38, 12])
    assert sizes("cuda", "ssd", "bfloat16") >= set(at_batch_8)
    steps = product([1, 8, 64, 256, 1024], [1], [128, 89, 64, 38, 12])
    assert sizes("cuda", "ssd_update", "bfloat16") == set(steps)
    assert {states for _, _, states in sizes("cuda", "selective_scan", "bfloat16")} == {16, 11, 4}


@each_operation
def test_arguments_are_seeded_of_the_dtype_and_as_many_bytes_as_the_work_says(case):
    """Inputs in; the output, which is as large as the first input, and the state out."""
    case = replace(case, dtype="bfloat16")
    given = arguments(case, "cpu")
    again = arguments(case, "cpu")
    assert all(torch.equal(value, again[name]) for name, value in given.items())
    states = {name for name in given if name in cases.STATES.values()}
    (first,) = {"x", "u"} & set(given)
    moved = sum(value.numel() * value.element_size() for value in given.values())
    moved += given[first].numel() * 2 + sum(given[name].numel() * 2 for name in states)
    if case.operation == "causal_conv1d":
        moved += 2 * case.channels * (cases.TAPS - 1) * 2  # the last inputs
    if case.operation in {"ssd", "selective_scan"}:
        moved += 2 * cases.CHANNELS * case.states * 4  # the final state, in float32
    assert work(case).moved_bytes == moved


def test_steps_are_spread_around_a_twentieth():
    given = arguments(replace(SSD, batch=4, seqlen=500), "cpu")
    steps = torch.nn.functional.softplus(given["dt_bias"])
    assert 0.03 < steps.median() < 0.08


# --- contenders


@each_operation
def test_transformers_and_ours_agree_with_the_reference(case):
    found = outcomes(case, contenders.contenders(case, "cpu"))
    assert list(found) == ["hf", "torch"]
    assert all(isinstance(outcome, Checked) and outcome.error < 1e-5 for outcome in found.values()), found


OFFICIAL = {
    "mamba_ssm.ops.triton.ssd_combined": {"mamba_chunk_scan_combined": ("mamba2", "mamba2_chunk_scan")},
    "mamba_ssm.ops.triton.selective_state_update": {
        "selective_state_update": ("mamba2", "mamba2_selective_state_update")
    },
    "mamba_ssm.ops.selective_scan_interface": {"selective_scan_fn": ("mamba", "mamba_selective_scan")},
    "causal_conv1d": {
        "causal_conv1d_fn": ("mamba2", "causal_conv1d_fn"),
        "causal_conv1d_update": ("mamba2", "causal_conv1d_update"),
    },
}


def stand_in(name, module, function):
    """What transformers runs instead of an official kernel; most of its arguments have the same names."""
    plain = inspect.unwrap(
        getattr(import_module(f"transformers.models.{module}.modeling_{module}"), function)
    )

    def scan(u, delta, *others, **options):
        return plain(u, delta, *others, **options)

    def step(x, *others, **options):  # of (b, c), not (b, c, 1)
        return plain(x[..., None], *others, **options)[..., 0]

    return {"selective_scan_fn": scan, "causal_conv1d_update": step}.get(name, plain)


@pytest.fixture
def official(monkeypatch):
    """Stand-ins for the official packages, in their modules, under their names."""
    for path, functions in OFFICIAL.items():
        module = ModuleType(path)
        for name, (source, function) in functions.items():
            setattr(module, name, stand_in(name, source, function))
        monkeypatch.setitem(sys.modules, path, module)


@pytest.mark.usefixtures("official")
@pytest.mark.parametrize("case", [case for case in SMALL if case.operation != "selective_state_update"])
def test_the_official_kernels_get_what_they_ask_for(case):
    found = outcomes(case, {"mamba_ssm": contenders._MAMBA_SSM[case.operation]})
    assert isinstance(found["mamba_ssm"], Checked), found


def test_the_official_step_of_mamba1_gets_what_it_asks_for(monkeypatch):
    module = ModuleType("stub")
    module.selective_state_update = stand_in("", "mamba", "mamba_selective_state_update")
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.triton.selective_state_update", module)
    found = outcomes(SMALL[3], {"mamba_ssm": contenders._mamba_ssm_selective_state_update})
    assert isinstance(found["mamba_ssm"], Checked), found


def simple_gla(q, k, v, g, *, scale, output_final_state):
    """What flash-linear-attention documents: o = scale q S after S = exp(g) S + k v^T; q, k (b, l, h, n)."""
    assert output_final_state
    state = q.new_zeros(len(q), q.shape[2], k.shape[3], v.shape[3])
    outputs = []
    for t in range(q.shape[1]):
        state = g[:, t].exp()[..., None, None] * state + k[:, t, :, :, None] * v[:, t, :, None]
        outputs.append(torch.einsum("bhn,bhnp->bhp", scale * q[:, t], state))
    return torch.stack(outputs, dim=1), state


def test_linear_attention_computes_ssd(monkeypatch):
    module = ModuleType("stub")
    module.chunk_simple_gla = simple_gla
    monkeypatch.setitem(sys.modules, "fla.ops.simple_gla", module)
    found = outcomes(SSD, {"fla": contenders._fla_ssd})
    assert isinstance(found["fla"], Checked), found


def test_what_is_not_installed_is_not_asked(monkeypatch):
    found = {"transformers": "a spec", "causal_conv1d": "a spec"}
    monkeypatch.setattr(contenders, "find_spec", found.get)
    assert contenders.missing_packages() == ["mamba_ssm", "fla"]
    assert list(contenders.contenders(replace(SSD, dtype="bfloat16"), "cuda")) == ["hf", "torch", "triton"]
    conv = contenders.contenders(SMALL[4], "cuda")
    assert list(conv) == ["mamba_ssm", "hf", "torch", "triton"]


def test_loops_in_python_are_spared_what_would_take_minutes_or_gigabytes():
    long = replace(SMALL[2], seqlen=16384)
    assert "hf" not in contenders.contenders(long, "cuda")
    assert "hf" in contenders.contenders(replace(SSD, batch=8, seqlen=8192), "cuda")
    assert not {"hf", "torch"} & set(contenders.contenders(replace(SSD, batch=8, seqlen=16384), "cuda"))
    assert "torch" in contenders.contenders(replace(SSD, batch=8, seqlen=2048), "cuda")


# --- checking


def torch_but(change):
    """Our torch backend, its outputs changed."""

    def maker(case, given):
        call = contenders._ours("torch", case, given)
        return lambda: change(*call())

    return maker


def raising(error):
    def maker(_case, _given):
        def call():
            raise error

        return call

    return maker


def test_what_is_wrong_or_fails_is_not_timed_and_the_others_are(monkeypatch):
    makers = {
        "raises": raising(ValueError("no such layout\nand more")),
        "too large": raising(torch.OutOfMemoryError("CUDA out of memory")),
        "wrong by a thousandth": torch_but(lambda y, state: (1.001 * y, state)),
        "wrong state": torch_but(lambda y, state: (y, state + 0.1 * state.abs().max())),
        "state of nan": torch_but(lambda y, state: (y, state * math.nan)),
        "one wrong number": torch_but(lambda y, state: (y + (y == y.max()), state)),
        "right": torch_but(lambda y, state: (y, state)),
    }
    monkeypatch.setattr(
        measuring, "contenders", lambda _case, _device: makers | {"left alone": raising(OSError)}
    )
    record = measuring.measure(SSD, {"left alone": "it broke the device"}, 0.01, lambda *_: None)
    assert record.troubled
    assert record.baseline == "right"
    right = record.results.pop("right")
    assert len(right.samples) >= 10
    assert right.error < 1e-5
    assert not any(result.samples for result in record.results.values())
    assert record.results["raises"].failed == "ValueError: no such layout"
    assert record.results["too large"].skipped == "out of memory: CUDA out of memory"
    assert record.results["left alone"].failed == "it broke the device"
    assert record.results["wrong by a thousandth"].failed.startswith(
        "WrongOutputError: differs from the reference by 0.001 of"
    )
    assert all("differs from the reference" in record.results[name].failed for name in list(makers)[2:6])


def test_a_contender_that_is_right_on_a_short_sequence_only_is_seen():
    long = replace(SSD, seqlen=cases.SHORT + 20)

    def change(y, state):
        return (y if y.shape[1] <= cases.SHORT else 1.01 * y), state

    found = outcomes(long, {"first": torch_but(lambda *same: same), "second": torch_but(change)})
    assert isinstance(found["first"], Checked)
    assert found["second"].failed == "WrongOutputError: differs from first by 0.01 of the largest number"
    assert found["second"].error < 1e-5


def test_a_contender_without_numbers_on_the_whole_case_spoils_no_other():
    long = replace(SSD, seqlen=cases.SHORT + 20)

    def change(y, state):
        return (y if y.shape[1] <= cases.SHORT else y * math.nan), state

    found = outcomes(long, {"first": torch_but(change), "second": torch_but(lambda *same: same)})
    assert found["first"].failed == "WrongOutputError: differs from first by nan of the largest number"
    assert isinstance(found["second"], Checked)


def test_a_step_gets_a_state_of_its_own():
    """Else the second contender would go on from where the first left it."""
    found = outcomes(STEP, {name: torch_but(lambda *same: same) for name in ("first", "second", "third")})
    assert all(isinstance(outcome, Checked) for outcome in found.values())


def test_outputs_of_another_shape_are_wrong():
    with pytest.raises(WrongOutputError, match=r"the shape is \(1, 3\), that of the reference \(3,\)"):
        require_equal((torch.ones(1, 3),), (torch.ones(3),), 1e-4, "the reference")


def test_a_lost_device_ends_the_process(monkeypatch):
    def broken():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(measuring, "release", broken)
    with pytest.raises(measuring.DeviceLostError, match=r"bad broke the device: .*illegal memory access"):
        outcomes(SSD, {"bad": raising(RuntimeError("CUDA error"))})


# --- processes


def test_a_process_that_dies_is_said_to_and_replaced(capfd):
    worker = Worker(1, print)
    try:
        assert worker.ask("peaks", STEP, [], timeout_s=100) == {}
        worker._process.kill()
        with pytest.raises(WorkerLostError, match="the process died, exit code -9"):
            worker.ask("peaks", STEP, [], timeout_s=100)
        with pytest.raises(RequestFailedError, match="KeyError: 'nobody'"):
            worker.ask("peaks", STEP, ["nobody"], timeout_s=100)
        assert worker.ask("peaks", STEP, ["torch"], timeout_s=100)["torch"] >= 0
        assert f"{STEP}: torch memory" in capfd.readouterr().out
        with pytest.raises(WorkerLostError, match="no answer in time"):
            worker.ask("peaks", STEP, [], timeout_s=0)
    finally:
        worker.stop()


class Answering:
    """A worker with prepared answers; an error is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def ask(self, *request, timeout_s):
        assert timeout_s > 0
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def last_table(tested, times, memory, deadline=math.inf):
    (*_, table) = run(tested, Workers(times, memory), Limits(1.0, deadline), {"device": "cpu"})
    return table


def test_a_contender_that_kills_its_process_is_left_out_when_the_case_is_tried_again():
    measured = Record(STEP, {"hf": Result(failed="it died"), "torch": Result(0.0, [1.0])}, baseline="torch")
    times = Answering(RATES, WorkerLostError("it died", "hf"), measured)
    table = last_table([STEP], times, Answering({"torch": 5}))
    assert times.asked[2] == ("measure", STEP, {"hf": "it died"}, 1.0)
    assert table.records[0].results["torch"].peak_bytes == 5
    assert table.left == 0


def test_a_case_that_fails_as_a_whole_is_a_record_and_the_next_one_runs():
    times = Answering(
        RATES,
        WorkerLostError("it hangs", ""),
        RequestFailedError("ValueError: no"),
        Record(STEP, {"torch": Result(0.0, [1.0])}, baseline="torch"),
    )
    table = last_table([SSD, SMALL[2], STEP], times, Answering(RequestFailedError("cannot reset the peak")))
    assert [record.failed for record in table.records] == ["it hangs", "ValueError: no", ""]
    assert table.records[2].results["torch"].peak_bytes is None
    assert [record.troubled for record in table.records] == [True, True, False]


def test_no_case_is_started_after_the_deadline():
    table = last_table([SSD, STEP], Answering(RATES), Answering(), deadline=time.monotonic())
    assert (table.records, table.left) == ([], 2)


# --- rates, report


def test_the_copy_rate_is_that_of_the_size_that_is_moved():
    """What fits into a cache is no floor for what does not."""
    rates = [RATES.of("float32", Work(0, 0, size)).moved_bytes for size in (1, 10**5, 10**6, 10**8, 10**12)]
    assert rates == [4e9, 4e9, 2e9, 1e9, 1e9]


def test_the_table_shows_ratios_floors_and_reasons():
    results = {
        "hf": Result(1e-7, [0.08] * 10, None, 50 * 10**6),
        "torch": Result(1e-6, [0.02] * 10, Ratio(0.25, 0.2, 0.5, 0.99), 10 * 10**6),
        "triton": Result(failed="CompilationError: no"),
        "fla": Result(skipped="out of memory: much"),
    }
    done = Record(SSD, results, baseline="hf", work=Work(1, 1, 1), floor_s=0.01)
    table = Table({"device": "cpu"}, RATES, [done, Record(STEP, {}, failed="it hangs")], left=3)
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
    record = Record(
        SSD, {"torch": Result(0.0, [3.0, 1.0, 2.0])}, baseline="torch", work=work(SSD), floor_s=1.0
    )
    document = json.loads(json.dumps(Table({"device": "cpu"}, RATES, [record]).as_json(), allow_nan=False))
    (stored,) = document["records"]
    assert stored["results"]["torch"]["samples"] == [3.0, 1.0, 2.0]
    assert stored["results"]["torch"]["seconds"] == 2.0
    assert stored["case"]["operation"] == "ssd"
    assert stored["work"]["matmul_flops"] == work(SSD).matmul_flops
    assert document["rates"]["matmul_flops"] == {"float32": 1e12}


# --- the command


@pytest.fixture
def _own_conditions(monkeypatch):
    """What the command puts into the environment is gone afterwards."""
    for name in CONDITIONS:
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_own_conditions")
def test_the_command_measures_prints_and_saves(tmp_path, capsys):
    out = tmp_path / "new" / "table.json"
    chosen = ["--quick", "--case", "causal_conv1d_update mamba-130m", "--threads", "1", "--seconds", "0.01"]
    assert command.main([*chosen, "--out", str(out), "--commit", "c0ffee"]) == 0
    document = json.loads(out.read_text())
    (record,) = document["records"]
    assert record["baseline"] == "hf"
    assert record["results"]["torch"]["ratio"]["value"] > 0
    assert record["results"]["torch"]["peak_bytes"] >= 0
    assert record["floor_s"] > 0
    assert document["machine"]["commit"] == "c0ffee"
    assert document["machine"]["threads"] == 1
    assert document["machine"]["glibc_tunables"] == STEADY_HEAP["GLIBC_TUNABLES"]
    printed = capsys.readouterr().out
    assert "causal_conv1d_update, mamba-130m, float32" in printed
    assert "baseline" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--case", "("], "argument --case: '(' is no regular expression"),
        (["--case", "nothing like it"], "error: no case matches 'nothing like it'; --list shows them"),
        (["--threads", "0"], "argument --threads: '0' is no int above 0"),
        (["--seconds", "soon"], "argument --seconds: 'soon' is no float above 0"),
        (["--time-limit", "-1"], "argument --time-limit: '-1' is no float above 0"),
    ],
)
def test_bad_input_is_one_clear_error(arguments, message, capsys):
    try:
        code = command.main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("_own_conditions")
def test_a_file_that_cannot_be_written_is_known_before_anything_is_measured(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert command.main(["--quick", "--out", str(tmp_path / "file" / "table.json")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_list_prints_the_cases(capsys):
    assert command.main(["--list", "--quick", "--case", "^ssd "]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ssd mamba2-130m b=1 L=512 N=128 float32",
        "ssd mamba2-130m b=1 L=512 N=12 float32",
    ]


def test_asv_does_not_find_it():
    assert "kernel_table" not in {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}


BARE = """
import sys
from importlib.abc import MetaPathFinder
from types import ModuleType

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"asv", "asv_runner", "cyclopts", "msgspec", "perfmamba", "tabulate"}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
sys.modules["benchmarks"] = ModuleType("benchmarks")
sys.modules["benchmarks"].__path__ = ["benchmarks"]
from benchmarks.kernel_table.__main__ import main
sys.exit(main(["--list", "--quick"]))
"""


def test_the_command_needs_little_more_than_torch():
    """On a GPU box that nobody prepared, from a checkout."""
    done = subprocess.run([sys.executable, "-c", BARE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ssd mamba2-130m" in done.stdout


# --- the kernel of exponentials

INTERPRETED = """
import torch
from benchmarks.kernel_table.exponentials import repeated_exponentials

out = torch.full((64,), float("nan"))
repeated_exponentials[2,](out, 5, 32)
print(out.tolist())
"""
COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from benchmarks.kernel_table.exponentials import repeated_exponentials

signature = {"out": "*fp32", "rounds": "i32", "NUMBERS": "constexpr"}
source = ASTSource(repeated_exponentials, signature, constexprs={"NUMBERS": 1024})
print(triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"])
"""


def printed_by(code, **environment):
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment = {**inherited, **environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_kernel_of_exponentials_computes_them():
    printed = printed_by(INTERPRETED, TRITON_INTERPRET="1")
    expected = [1 / (1 + number) for number in range(64)]
    for _ in range(5):
        expected = [2.0**-x for x in expected]
    assert json.loads(printed) == pytest.approx(expected, rel=1e-5)


def test_the_kernel_of_exponentials_loops_over_little_else():
    """Of 1024 numbers and four warps each thread has eight, all in its registers."""
    ptx = printed_by(COMPILED)
    assert ptx.count("ex2.approx") == 8
    _, _, loop = ptx.partition("ex2.approx")
    assert not re.search(r"\b(ld|st)\.", loop.rpartition("ex2.approx")[0])
