"""A git repository with results in asv's own files, and the site that asv publishes from them."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asv import util
from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.machine import Machine
from asv.repo import get_repo
from asv.results import Results
from asv.runner import BenchmarkResult

from benchmarks.tables.histories import site_histories

ROOT = Path(__file__).parents[4]
CONFIGURATION = {
    "version": 1,
    "project": "perfmamba",
    "repo": ".",
    "dvcs": "git",
    "branches": ["HEAD"],
    "environment_type": "virtualenv",
    "results_dir": "results",
    "html_dir": "html",
}
SITE = ".benchmarks.meter.site.plugin"
PAPER_TABLES = ".benchmarks.tables.plugin"
NOT_MEASURED = float("nan")
FAILED = None


def definition(name, params: Mapping[str, Sequence], unit="seconds", kind="cudatime"):
    """A benchmark as asv writes it to benchmarks.json."""
    return {
        "name": name,
        "param_names": list(params),
        "params": [[repr(value) for value in values] for values in params.values()],
        "unit": unit,
        "type": kind,
        "version": "1",
        "code": f"def {name.rpartition('.')[2]}(self): ...",
        "less_is_better": True,
        "timeout": 60,
    }


@dataclass
class Project:
    """The repository; `commits` are its hashes, oldest first."""

    path: Path
    plugins: Sequence[str] = (SITE, PAPER_TABLES)
    commits: list[str] = field(default_factory=list)
    definitions: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self):
        self.path.mkdir(parents=True, exist_ok=True)
        conf = json.dumps(CONFIGURATION | {"plugins": list(self.plugins)})
        (self.path / "asv.conf.json").write_text(conf)
        self._git("init", "--quiet", "--initial-branch", "main")

    def commit(self):
        """Add a commit, a day younger than the last."""
        date = f"2026-01-{len(self.commits) + 1:02d}T12:00:00Z"
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        self._git(*identity, "commit", "--quiet", "--allow-empty", "--message", "change", env=dates)
        self.commits.append(self._git("rev-parse", "HEAD").strip())
        return self.commits[-1]

    def go_back_to(self, commit):
        """Make the branch end at an earlier commit; the later ones stay, on a branch of their own."""
        self._git("branch", "later")
        self._git("reset", "--quiet", "--hard", commit)

    def define(self, *definitions):
        """Write benchmarks.json; to be done before results are added."""
        self.definitions |= {made["name"]: made for made in definitions}
        path = self.path / "results" / "benchmarks.json"
        path.parent.mkdir(exist_ok=True)
        util.write_json(str(path), self.definitions, Benchmarks.api_version)

    def measure(self, commit, values, *, machine="box", notes=(), fields=None, day=None):
        """Store results of a commit as asv would, and the notes beside them.

        Args:
            commit: its hash.
            values: by benchmark, by combination of parameters: samples, `NOT_MEASURED` or `FAILED`.
            machine: its name.
            notes: lines of the sidecar.
            fields: of the machine.
            day: of the commit in the result; by default its place.
        """
        described = {"os": "Linux", "arch": "x86_64", "cpu": "EPYC 7543", "num_cpu": "64", "ram": "512GB"}
        described |= {"gpu": "none"} | (fields or {}) | {"machine": machine}
        folder = self.path / "results" / machine
        folder.mkdir(exist_ok=True)
        util.write_json(str(folder / "machine.json"), described, Machine.api_version)
        (folder / "benchmarks.definitions").write_text(json.dumps(self.definitions))
        date = 1767268800000 + 86_400_000 * (self.commits.index(commit) if day is None else day)
        results = Results({**described, "python": "3.12"}, {}, commit, date, "3.12", "borrowed-py3.12", {})
        for name, cells in values.items():
            results.add_result(self.definitions[name], _result(self.definitions[name], cells))
        results.save(str(self.path / "results"))
        file = self.path / "results" / results._filename
        lines = "".join(json.dumps(note) + "\n" for note in notes)
        file.with_suffix(".notes.jsonl").write_text(lines)

    def histories(self):
        """The newest results, as `asv publish` reads them in this folder."""
        conf = Config.load("asv.conf.json")
        repo = get_repo(conf)
        return site_histories(conf, repo, Benchmarks.load(conf), repo.get_revisions(set(self.commits)))

    def asv(self, *arguments):
        """Run asv; stdout and stderr together."""
        return subprocess.run(
            [sys.executable, "-m", "asv", *arguments],
            cwd=self.path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT) + ":" + os.environ.get("PYTHONPATH", ""),
                "HOME": str(self.path),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )

    def publish(self):
        """The folder of the site that `asv publish` writes."""
        done = self.asv("publish", "--no-pull")
        assert done.returncode == 0, done.stdout
        return self.path / "html"

    def _git(self, *arguments, env=None):
        command = ["git", *arguments]
        whole = os.environ | (env or {})
        return subprocess.run(
            command, cwd=self.path, env=whole, text=True, check=True, capture_output=True
        ).stdout


def _result(defined, cells):
    """The result of one benchmark, as asv's runner gives it."""
    combinations = list(itertools.product(*defined["params"]))
    given = {tuple(map(repr, combination)): cell for combination, cell in cells.items()}
    assert set(given) <= set(combinations), "a cell outside the grid"
    found = [given.get(combination, NOT_MEASURED) for combination in combinations]
    samples = [cell if isinstance(cell, list) else None for cell in found]
    return BenchmarkResult(
        result=[True if isinstance(cell, list) else cell for cell in found],  # asv computes the median
        samples=samples,
        number=[1 if cell else None for cell in samples],
        errcode=0,
        stderr="",
        profile=None,
    )
