"""The runner on a small project of its own: real commits, real builds, real benchmark processes."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from asv import util

ROOT = Path(__file__).parents[3]
RUN = [sys.executable, "-m", "benchmarks.meter.run"]
DEADLINE_S = 60

# Each call leaves its name in the file CALLS; the cell "gate" waits for a writer on the pipe GATE.
SUITE = """
import os
import signal
import sys
from pathlib import Path

import tiny

if "IMPORT_GATE" in os.environ and "run_server" in sys.argv:
    Path(os.environ["IMPORT_GATE"]).read_bytes()


def called(name):
    with open(os.environ["CALLS"], "a") as file:
        file.write(name + "\\n")


class Grid:
    params = ([1, 2, 4][: int(os.environ.get("COLUMNS_N", 2))], ["a", "b", "c"])
    param_names = ["n", "letter"]
    version = "1"
    unit = "seconds"

    def setup(self, n, letter):
        called(f"{n}{letter}")
        if (n, letter) == (1, "b"):
            raise NotImplementedError("not here")

    def track_samples(self, n, letter):
        if (n, letter) == (1, "c"):
            print("said before")
            raise ValueError("what failed\\nand more")
        return {"samples": [n * tiny.FACTOR, n * tiny.FACTOR + 1, n * tiny.FACTOR + 2], "number": 1}


class Forked:
    params = ([1, 2],)
    version = "1"

    def track_on_gpu(self, n):
        called(f"forked{n}")
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess. To use CUDA with ...")


class Late:
    params = (["before", "gate", "after"],)
    version = "1"

    def track_gate(self, which):
        called(which)
        if which == "gate" and "GATE" in os.environ:
            Path(os.environ["GATE"]).read_bytes()
        return 1


class Alone:
    version = "1"

    def track_alone(self):
        called("alone")
        return 1


class Cached:
    params = ([1, 2],)
    version = "1"

    def setup_cache(self):
        called("setup_cache")
        return {1: 10, 2: 20}

    def track_cached(self, cache, n):
        called(f"cached{n}")
        return cache[n]


class Murder:
    version = "1"

    def track_first(self):
        called("murder")
        os.kill(os.getppid(), signal.SIGKILL)

    def track_second(self):
        return 1


def time_twice():
    pass


time_twice.version = "1"
time_twice.rounds = 2
time_twice.repeat = 3
time_twice.number = 5
"""

REGISTER = "import torch\n\nfrom benchmarks.meter.benchmark_types import register\n\nregister()\n"
PAIRED = """
class Variants:
    params = ([1, 2], ["a", "b", "c"])
    param_names = ["n", "kind"]
    variant = "kind"
    baseline = "a"
    version = "1"
    repeat = 6

    def paired_sums(self, n):
        called(f"group{n}")
        return {kind: lambda: sum(range(1000)) for kind in "abc"}
"""

# As much of torch.cuda as it takes to be asked.
ONE_GPU = """
def device_count():
    return 1

def is_initialized():
    return False

def _device_count_nvml():
    return 1
"""

CONFIGURATION = {
    "version": 1,
    "project": "tiny",
    "repo": ".",
    "dvcs": "git",
    "branches": ["HEAD"],
    "plugins": [".benchmarks.meter.environment", ".benchmarks.meter.machine", ".benchmarks.meter.records"],
    "environment_type": "borrowed",
    "build_command": ["python {conf_dir}/build.py {build_cache_dir}"],
    "install_command": ["python {conf_dir}/install.py {build_dir}"],
    "uninstall_command": ["python -c pass"],
    "launch_method": "forkserver",
    "env_dir": ".asv/env",
    "results_dir": "results",
    "html_dir": "html",
}

BUILD = "import pathlib, sys, tiny; pathlib.Path(sys.argv[1], f'built-{tiny.FACTOR}').touch()"
INSTALL = (
    "import shutil, sys, sysconfig; shutil.copy(f'{sys.argv[1]}/tiny.py', sysconfig.get_path('purelib'))"
)


@dataclass(frozen=True)
class Project:
    """A git repository with a package of one number, a suite, and the meter."""

    path: Path

    @property
    def environment(self):
        # Other tests load the meter's plugins in this process, which set METER_NOTES and METER_STORE.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("METER_")}
        return {**inherited, "CALLS": str(self.path / ".asv" / "calls")}

    def start(self, *arguments, **environment):
        return subprocess.Popen(
            [*RUN, *arguments],
            cwd=self.path,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments, code=0, **environment):
        """Run the runner to its end; returns what it printed."""
        process = self.start(*arguments, **environment)
        printed, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == code, printed
        return printed

    def git(self, *arguments):
        command = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments]
        return subprocess.run(
            command, cwd=self.path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def calls(self):
        """How often each cell was called since this was asked for last."""
        file = self.path / ".asv" / "calls"
        names = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return Counter(names)

    def stored(self, results="results"):
        """The result files, by the first digits of the commit: benchmarks with their columns."""
        stored = {}
        for file in (self.path / results).glob("*/*-borrowed-*.json"):
            content = json.loads(file.read_text())
            columns = content["result_columns"]
            rows = content["results"].items()
            stored[file.name[:8]] = {name: dict(zip(columns, row, strict=False)) for name, row in rows}
        return stored

    def commit(self, factor):
        (self.path / "tiny.py").write_text(f"FACTOR = {factor}\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"Factor {factor}")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path):
    if not shutil.which("git"):
        pytest.skip("asv needs git")
    project = Project(tmp_path / "project")
    (project.path / "benchmarks").mkdir(parents=True)
    (project.path / "benchmarks" / "__init__.py").touch()
    (project.path / "benchmarks" / "cells.py").write_text(SUITE)
    (project.path / "benchmarks" / "meter").symlink_to(ROOT / "benchmarks" / "meter")
    (project.path / "asv.conf.json").write_text(json.dumps(CONFIGURATION))
    (project.path / "build.py").write_text(f"import os, sys; sys.path.insert(0, os.getcwd())\n{BUILD}\n")
    (project.path / "install.py").write_text(f"{INSTALL}\n")
    (project.path / ".gitignore").write_text(".asv\nresults\nbenchmarks/meter\n__pycache__\n")
    (project.path / ".asv").mkdir()
    project.git("init", "--quiet")
    project.commit(1)
    project.commit(10)
    return project


def values(stored, name):
    """The result column of a benchmark, with NaN as "n/a" to compare it."""
    return ["n/a" if util.is_nan(value) else value for value in stored[f"cells.{name}"]["result"]]


def test_files_are_those_of_asv_run(project):
    """Same cells, values, samples and statistics as `asv run --record-samples`."""
    selection = ["--bench", "Grid|Cached|twice"]
    project.run("HEAD~1..HEAD", "HEAD~1", *selection, code=2)
    ours = project.stored()
    shutil.move(project.path / "results", project.path / "ours")
    asv = [sys.executable, "-m", "asv", "run", "--record-samples", "HEAD", *selection]
    subprocess.run(asv, cwd=project.path, env=project.environment, capture_output=True, check=False)
    (head, theirs), *_ = project.stored().items()
    assert {commit: set(rows) for commit, rows in ours.items()} == {
        head: set(theirs),
        project.git("rev-parse", "HEAD~1")[:8]: set(theirs),
    }
    twice = [rows.pop("cells.time_twice") for rows in (ours[head], theirs)]
    assert [len(rows["samples"][0]) for rows in twice] == [6, 6], "two rounds of three"
    for name, columns in theirs.items():
        differing = {key for key in columns if json.dumps(columns[key]) != json.dumps(ours[head][name][key])}
        assert differing <= {"started_at", "duration"}
    older = ours[project.git("rev-parse", "HEAD~1")[:8]]
    assert values(ours[head], "Grid.track_samples") == [11, "n/a", None, 21, 21, 21]
    assert values(older, "Grid.track_samples") == [2, "n/a", None, 3, 3, 3], "each commit is installed"
    assert project.calls()["setup_cache"] == 3, "once for each commit"


def test_every_cell_is_run_once_and_failures_wait_to_be_asked_for(project):
    first = project.run("HEAD", "--bench", "Grid", code=2)
    assert "Grid.track_samples(1, 'c') failed: ValueError: what failed," in first
    project.calls()
    again = project.run("HEAD", "--bench", "Grid", code=2)
    assert "6 of 6 cells are done" in again
    assert "track_samples(1, 'c'): failed in an earlier run" in again
    assert not project.calls()
    retried = project.run("HEAD", "--bench", "Grid", "--retry-failed", "--show-stderr", code=2)
    assert set(project.calls()) == {"1c"}
    assert "said before" in retried
    project.run("HEAD", "--bench", r"Grid.*\(1", "--again", code=2)
    assert set(project.calls()) == {"1a", "1b", "1c"}


@contextmanager
def run_at_the_gate(project, selection, variable="GATE"):
    """A run whose cell "gate" is being measured."""
    gate = project.path / ".asv" / "gate"
    os.mkfifo(gate)
    process = project.start("HEAD", "--bench", selection, **{variable: str(gate)})
    with gate.open("wb", buffering=0) as writer:  # opens when the cell opens it
        yield process, writer
        process.communicate(timeout=DEADLINE_S)


def test_nothing_is_lost_and_nothing_run_twice_when_a_run_is_killed(project):
    project.run("HEAD", "--bench", "Grid", code=2)
    with run_at_the_gate(project, "Grid|Late") as (process, writer):
        process.kill()
        end_of_reader = select.poll()
        end_of_reader.register(writer, 0)
        assert end_of_reader.poll(DEADLINE_S * 1000), "the cell in flight is ended as well"
    (killed,) = project.stored().values()
    assert values(killed, "Grid.track_samples") == [11, "n/a", None, 21, 21, 21]
    assert values(killed, "Late.track_gate") == [1, "n/a", "n/a"]
    project.calls()
    project.run("HEAD", "--bench", "Grid|Late", code=2)
    assert project.calls() == {"gate": 1, "after": 1}
    (resumed,) = project.stored().values()
    assert values(resumed, "Late.track_gate") == [1, 1, 1]
    assert json.dumps(resumed["cells.Grid.track_samples"]) == json.dumps(killed["cells.Grid.track_samples"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_saves_all_that_is_done_and_is_resumed(project, number):
    with run_at_the_gate(project, "Grid|Late") as (process, _):
        process.send_signal(number)
        printed, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + number
    assert "7 of 9 cells are done" in printed
    assert "2 are left: the same command goes on with them" in printed
    project.calls()
    project.run("HEAD", "--bench", "Grid|Late", code=2)
    assert project.calls() == {"gate": 1, "after": 1}


def test_run_can_be_interrupted_while_the_suites_are_imported(project):
    with run_at_the_gate(project, "Grid", "IMPORT_GATE") as (process, _):
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert "0 of 6 cells are done" in printed


def note_an_hour(project, params):
    """Have the records say that a cell took an hour."""
    (notes,) = project.path.glob("results/*/*.notes.jsonl")
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    changed = [{**line, "seconds": 3600} if line.get("params") == params else line for line in lines]
    notes.write_text("".join(f"{json.dumps(line)}\n" for line in changed))


def test_time_limit_starts_no_cell_that_would_not_be_done(project):
    printed = project.run("HEAD", "--bench", "Grid", "--time-limit", "0", code=3)
    assert "0 of 6 cells are done" in printed
    assert "6 are left at the time limit: the same command goes on with them" in printed
    assert not project.calls()
    project.run("HEAD", "--bench", "Grid", code=2)
    note_an_hour(project, ["2", "'b'"])
    project.calls()
    project.run("HEAD", "--bench", "Grid", "--again", "--time-limit", "30", code=3)
    assert set(project.calls()) == {"1a", "1b", "1c", "2a"}


def test_time_limit_reckons_with_a_minute_for_what_was_never_run(project):
    project.run("HEAD", "--bench", "Alone")
    project.calls()
    project.run("HEAD", "--bench", "Late", "--time-limit", "0.9", code=3)
    assert project.calls() == {"before": 1}, "the first is tried, or nothing would ever be measured"
    project.run("HEAD", "--bench", "Late", "--time-limit", "0.9", code=3)
    assert project.calls() == {"gate": 1}


def test_time_limit_reckons_with_a_setup_cache_that_was_never_called(project):
    project.run("HEAD", "--bench", "Alone|Cached")
    (results,) = project.path.glob("results/*/*-borrowed-*.json")
    stored = json.loads(results.read_text())
    (cache,) = (name for name in stored["durations"] if name.startswith("<setup_cache"))
    project.calls()
    project.run("HEAD", "--bench", "Alone|Cached", "--again", "--time-limit", "0.9")
    assert project.calls() == {"alone": 1, "setup_cache": 1, "cached1": 1, "cached2": 1}
    del stored["durations"][cache]
    results.write_text(json.dumps(stored))
    project.run("HEAD", "--bench", "Alone|Cached", "--again", "--time-limit", "0.9", code=3)
    assert project.calls() == {"alone": 1}


def test_time_limit_does_not_part_what_is_measured_together(project):
    (project.path / "benchmarks" / "__init__.py").write_text(REGISTER)
    (project.path / "benchmarks" / "cells.py").write_text(f"{SUITE}\n{PAIRED}")
    printed = project.run("HEAD", "--bench", "Variants", "--time-limit", "0.9", code=3)
    assert "3 of 6 cells are done" in printed
    assert project.calls() == {"group1": 1}
    note_an_hour(project, ["1", "'b'"])
    printed = project.run("HEAD", "--bench", "Variants", "--again", "--time-limit", "0.9", code=3)
    assert "3 of 6 cells are done" in printed, "whatever its time, the hour was spent with the first variant"


def test_suites_that_initialise_cuda_on_import_end_the_run_at_once(project):
    printed = project.run("HEAD", "--bench", "Forked", code=2)
    assert "error: importing the suites has initialised CUDA" in printed
    assert "2 are left" in printed
    assert project.calls() == {"forked1": 1}


def test_results_of_a_gpu_are_not_filed_under_a_machine_without_one(project):
    """torch finds a GPU, whose name is not to be found out."""
    torch = project.path.with_name("with_cuda") / "torch"
    torch.mkdir(parents=True)
    (torch / "version.py").write_text("cuda = '13.0'\n")
    (torch / "__init__.py").write_text("from . import cuda, version\n")
    (torch / "cuda.py").write_text(ONE_GPU)
    unnamed = {"PYTHONPATH": str(torch.parent), "CUDA_VISIBLE_DEVICES": "GPU-nowhere"}
    printed = project.run("HEAD", "--bench", "Alone", code=2, **unnamed)
    assert "torch computes on CUDA, but no GPU is found to file the results under" in printed
    assert not project.stored()


def test_death_of_the_server_fails_the_cell_in_flight_alone(project):
    printed = project.run("HEAD", "--bench", "Murder|Cached", code=2)
    assert "Murder.track_first failed: asv: the server that runs the benchmarks died" in printed
    assert "Murder.track_second 1," in printed
    assert project.calls() == {"setup_cache": 1, "cached1": 1, "cached2": 1, "murder": 1}


def test_commit_that_cannot_be_built_is_reported_and_the_others_are_measured(project):
    project.commit("")
    printed = project.run("HEAD~1", "HEAD", "--bench", "Cached", code=2)
    assert f"{project.git('rev-parse', 'HEAD')[:8]}: cannot be built" in printed
    assert "2 of 4 cells are done" in printed
    assert set(project.stored()) == {project.git("rev-parse", "HEAD~1")[:8]}


def test_cells_of_another_grid_stay(project):
    project.run("HEAD", "--bench", "Grid", code=2, COLUMNS_N="1")
    project.run("HEAD", "--bench", "Grid.*4", COLUMNS_N="3")
    project.run("HEAD", "--bench", "Late", COLUMNS_N="1")
    (columns,) = project.stored().values()
    assert columns["cells.Grid.track_samples"]["params"] == [["1", "2", "4"], ["'a'", "'b'", "'c'"]]
    assert values(columns, "Grid.track_samples") == [11, "n/a", None, *["n/a"] * 3, 41, 41, 41]


def test_second_run_beside_the_first_is_refused(project):
    with run_at_the_gate(project, "Late") as (first, _):
        assert "another run is measuring" in project.run("HEAD", code=2)
        first.terminate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "git knows no nonsense"),
        (["HEAD..HEAD"], "there is no commit in HEAD..HEAD"),
        (["--bench", "nonsense"], "no benchmark is called like nonsense"),
        (["--config", "nonsense.json"], "nonsense.json not found"),
        (["--bench", "("], "'(' is no regular expression"),
        (["--bare"], "--bare needs --commit"),
        (["--bare", "--commit", "abc"], "give all 40 digits"),
        (["--merge", "nonsense"], "nonsense holds no results"),
    ],
)
def test_wrong_use_is_said_in_a_line(project, arguments, message):
    printed = project.run(*arguments, code=2)
    assert message in printed
    assert "Traceback" not in printed


def test_bare_run_checks_the_gpu_before_it_measures(project, tmp_path):
    """`nvidia-smi` lists a GPU, torch computes on the processor: told, and measured all the same."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\n")
    tool.chmod(0o755)
    bare = ["--bare", "--commit", project.git("rev-parse", "HEAD"), "--bench", "Alone"]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("cuda = None\n")
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError\n")
    on_cpu = {"PATH": path, "CUDA_VISIBLE_DEVICES": "0", "PYTHONPATH": str(tmp_path)}
    first = project.run(*bare, **on_cpu)
    assert "device check FAILED: torch computes on the processor" in first
    assert "1 of 1 cells are done" in first
    assert "device check" not in project.run(*bare, **on_cpu), "nothing is left to measure"


def test_bare_run_without_git_merges_into_the_results(project):
    """The whole way of a GPU box: a copy without .git, measured in place, its results brought home."""
    box = Project(project.path.with_name("box"))
    (project.path / "lib").mkdir()
    shutil.move(project.path / "tiny.py", project.path / "lib")
    ignored = shutil.ignore_patterns(".git", ".asv")
    shutil.copytree(project.path, box.path, symlinks=True, ignore=ignored)
    (box.path / "asv.conf.json").write_text(json.dumps({**CONFIGURATION, "bare_path": ["lib"]}))
    (box.path / ".asv").mkdir()
    commit = project.git("rev-parse", "HEAD")
    box.run(
        "--bare", "--commit", commit, "--bench", "Grid|twice", code=2, PATH=str(Path(sys.executable).parent)
    )
    project.run("HEAD", "--bench", "Late")
    shutil.move(box.path / "results", project.path / "brought")
    project.run("--merge", "brought")
    (columns,) = project.stored().values()
    (measured,) = project.stored("brought").values()
    assert values(columns, "Late.track_gate") == [1, 1, 1]
    for name in ("cells.Grid.track_samples", "cells.time_twice"):
        assert json.dumps(columns[name]) == json.dumps(measured[name])
    project.calls()
    project.run("HEAD", "--bench", "Grid|Late|twice", code=2)
    assert not project.calls(), "what the box measured is not measured again"
    told = "".join(file.read_text() for file in project.path.glob("results/**/*") if file.is_file())
    assert str(project.path.parent) not in told
