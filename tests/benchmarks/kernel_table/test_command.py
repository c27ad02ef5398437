"""The command itself, in one small run, and what it refuses."""

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks
from benchmarks.kernel_table import __main__ as command
from benchmarks.meter.measure.conditions import CONDITIONS, STEADY_HEAP

ROOT = Path(__file__).parents[3]


@pytest.fixture
def _own_conditions(monkeypatch):
    """What the command puts into the environment is gone afterwards."""
    for name in CONDITIONS:
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)


@pytest.mark.slow
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
