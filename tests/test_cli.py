import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perfmamba.cli import main
from tests.small_models import small_mamba1, small_mamba2


@pytest.fixture
def run(capsys):
    """Run a command; returns exit code, stdout and stderr."""

    def call(*arguments):
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    small_mamba1().save_pretrained(root / "one")
    small_mamba2().save_pretrained(root / "two")
    return root / "one", root / "two"


PROFILE = ("--seqlen", 3, 5, "--batch", 1, "--repeat", 1, "--warmup", 0, "--device", "cpu")


@pytest.fixture(scope="module")
def results(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        arguments = (*folders, *PROFILE, "--mode", "prefill", "decode", "--out", out)
        main(["profile", *map(str, arguments)])
    return out


def one_line(error):
    return error.startswith("perfmamba: ") and error.count("\n") == 1


def test_profile_writes_a_trace_and_a_result_for_every_cell(results):
    names = sorted(path.name for path in results.iterdir())
    cells = [
        f"{model}_{mode}_b1_s{seqlen}_float32_cpu"
        for model in ("one", "two")
        for mode in ("decode", "prefill")
        for seqlen in (3, 5)
    ]
    assert names == sorted([f"{cell}.json" for cell in cells] + [f"{cell}.trace.json.gz" for cell in cells])


def test_profile_shows_progress_and_what_comes_next(run, folders, tmp_path):
    code, out, err = run("profile", folders[0], *PROFILE, "--out", tmp_path)
    assert code == 0
    assert f"Next: perfmamba table 1 {tmp_path}" in out
    assert "one prefill length 5 batch 1: " in err
    assert "2/2" in err


def test_profile_refuses_to_lose_results(run, folders, results):
    code, _, err = run("profile", *folders, *PROFILE, "--out", results)
    assert code == 2
    assert one_line(err)
    assert "already holds results of 4 of these 4 cells" in err


def test_resume_runs_nothing_twice(run, folders, results):
    before = {path: path.stat().st_mtime_ns for path in results.iterdir()}
    code, _, err = run("profile", *folders, *PROFILE, "--out", results, "--resume")
    assert code == 0
    assert "4 of 4 cells are done already" in err
    assert {path: path.stat().st_mtime_ns for path in results.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("profile", "mamba-13b", "--out", "x"), "no model 'mamba-13b'"),
        (("profile", "mamba-130m", "--out", "x", "--seqlen", 0), "--seqlen 0"),
        (("profile", "mamba-130m", "--out", "x", "--seqlen", "many"), "many"),
        (("profile", "mamba-130m", "--out", "x", "--dtype", "int8"), '"int8"'),
        (("profile", "mamba-130m", "--out", "x", "--device", "tpu"), "tpu"),
        (("profile", "mamba-130m", "--out", "x", "--device", "cuda:99"), "cuda:99' is not available"),
        (("profile", "mamba-130m", "--out", "x", "--layers", 0), "layers=0"),
        (("profile", "mamba-130m", "--out", "x", "--mode", "train"), "train"),
        (("profile", "mamba-130m", "--out", "x", "--threads", 0), "--threads 0"),
        (("profile", "mamba-130m"), "--out"),
        (("profile", "mamba-130m", "--out", "x", "--resume", "--overwrite"), "exclude each other"),
        (("profile", "mamba-130m", "--out", "/proc/nothing"), "cannot make the folder"),
        (("parse", "missing.json"), "missing.json"),
        (("parse", "missing.json", "--top", 0), "--top 0"),
        (("parse", "a.json", "b.json", "--format", "csv"), "one trace at a time"),
        (("parse", "missing.json", "--by", "colour"), "colour"),
        (("table", "1", "missing"), "missing: no such folder"),
        (("table", "9", "missing"), "9"),
        (("prune",), "prune"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(run, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert one_line(err)
    assert message in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("table_format", ["text", "markdown", "latex", "csv", "html", "json"])
def test_table_1_in_every_format(run, results, table_format):
    code, out, _ = run("table", "1", results, "--format", table_format)
    assert code == 0
    for label in ("State Space", "Final Linear", "total"):
        assert label in out
    if table_format == "json":
        assert json.loads(out)["rows"][0]["component"] == "RMSNorm"


def test_table_1_of_decode_with_peak_memory(run, results):
    code, out, _ = run("table", "1", results, "--mode", "decode", "--memory", "peak")
    assert code == 0
    assert "decode step" in out
    assert "peak" in out


def test_table_1_chooses_by_axis(run, results):
    assert run("table", "1", results, "--batch", 1, "--dtype", "float32", "--device", "cpu")[0] == 0
    code, _, err = run("table", "1", results, "--batch", 2)
    assert code == 2
    assert "no results with --batch 2 here; there are some with 1" in err


@pytest.mark.parametrize("choice", [("--mode", "decode"), ("--memory", "peak")])
def test_the_paper_has_prefill_and_allocated_memory_only(run, results, choice):
    assert run("table", "1", results, "--against", "paper")[0] == 0
    code, _, err = run("table", "1", results, "--against", "paper", *choice)
    assert code == 2
    assert "leave --mode and --memory out" in err


def test_a_full_disk_behind_stdout_is_one_line(results):
    command = [sys.executable, "-m", "perfmamba", "table", "1", str(results)]
    with Path("/dev/full").open("w") as full:
        finished = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert finished.returncode == 2
    assert finished.stderr == "perfmamba: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("by", ["component", "layer", "kernel", "op"])
def test_parse_breaks_a_trace_down(run, results, by):
    trace = results / "two_prefill_b1_s5_float32_cpu.trace.json.gz"
    code, out, _ = run("parse", trace, "--by", by, "--top", 3, "--format", "csv")
    assert code == 0
    assert out.splitlines()[-1].startswith("total,")


def test_parse_names_each_of_several_traces(run, results):
    traces = sorted(results.glob("*prefill*.gz"))
    code, out, _ = run("parse", *traces)
    assert code == 0
    assert all(trace.name in out for trace in traces)


def test_a_truncated_trace_is_an_error_unless_partial(run, results, tmp_path):
    whole = gzip.decompress((results / "two_prefill_b1_s5_float32_cpu.trace.json.gz").read_bytes())
    cut = tmp_path / "cut.json"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    code, out, err = run("parse", cut)
    assert (code, out) == (2, "")
    assert one_line(err)
    assert "byte" in err
    code, out, _ = run("parse", cut, "--partial")
    assert code == 0
    assert "truncated" in out


@pytest.mark.parametrize("text", ['{"traceEvents": []}', "[]"])
def test_a_trace_with_nothing_in_it(run, tmp_path, text):
    path = tmp_path / "empty.json"
    path.write_text(text)
    code, _, err = run("parse", path)
    assert code == 2
    assert one_line(err)
    assert "no operators, kernels or memory events" in err


def perfmamba(*arguments, **options):
    command = [sys.executable, "-m", "perfmamba", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_ctrl_c_keeps_the_finished_cells(folders, tmp_path):
    out = tmp_path / "out"
    grid = ("--seqlen", *range(3, 40), "--repeat", 1, "--batch", 1, "--device", "cpu")
    process = perfmamba("profile", folders[0], *grid, "--out", out)
    deadline = time.monotonic() + 120
    while not list(out.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    done = len(list(out.glob("*.json")))
    assert 1 <= done < 37
    said = re.search(
        r"interrupted: (\d+) of 37 cells are done; --resume does the rest", " ".join(err.split())
    )
    assert int(said[1]) in {done - 1, done}  # Ctrl-C may come when the last is written and not yet counted
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    assert "Traceback" not in err


def test_a_closed_pipe_is_no_error(results):
    trace = next(results.glob("*.gz"))
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "perfmamba", "parse", str(trace), "--by", "op"]
    finished = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "Traceback" not in finished.stderr
    assert "BrokenPipe" not in finished.stderr


def test_help_and_version(run):
    assert run("--version")[1].startswith("0.")
    code, out, _ = run("--help")
    assert code == 0
    verbs = ("profile", "parse", "table", "activity", "prune", "recall", "perplexity", "study")
    places = [re.search(rf"^\W*{verb} ", out, re.MULTILINE).start() for verb in verbs]
    assert places == sorted(places)


@pytest.mark.parametrize("module", ["perfmamba", "perfmamba.cli"])
def test_importing_the_package_or_the_command_line_is_cheap(module):
    say = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True).stdout
    assert {"torch", "transformers", "numpy", "rich.progress"}.isdisjoint(loaded.split())
