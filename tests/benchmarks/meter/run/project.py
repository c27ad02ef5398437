"""A small project of its own: real commits, real builds, real benchmark processes."""

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asv import util

ROOT = Path(__file__).parents[4]
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

REGISTER = "import torch\n\nfrom benchmarks.meter.types.register import register\n\nregister()\n"
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
    "plugins": [
        ".benchmarks.meter.asv_plugins.environment",
        ".benchmarks.meter.asv_plugins.machine",
        ".benchmarks.meter.asv_plugins.records",
    ],
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
class RunnerProject:
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


def values(stored, name):
    """The result column of a benchmark, with NaN as "n/a" to compare it."""
    return ["n/a" if util.is_nan(value) else value for value in stored[f"cells.{name}"]["result"]]


@contextmanager
def run_at_the_gate(project, selection, variable="GATE"):
    """A run whose cell "gate" is being measured."""
    gate = project.path / ".asv" / "gate"
    os.mkfifo(gate)
    process = project.start("HEAD", "--bench", selection, **{variable: str(gate)})
    with gate.open("wb", buffering=0) as writer:  # opens when the cell opens it
        yield process, writer
        process.communicate(timeout=DEADLINE_S)
