"""What is run: the configuration, the commits, the environments and the benchmarks.

In: the choices of the command line. Out: a `Suite`. Everything is found through asv's own objects, so the
configuration and the plugins have the meaning that they have for `asv run`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asv import util
from asv.benchmarks import Benchmarks
from asv.commands.setup import Setup
from asv.config import Config
from asv.environment import get_environments
from asv.machine import Machine
from asv.plugin_manager import plugin_manager
from asv.repo import NoSuchNameError, get_repo
from asv.results import Results, get_filename

from benchmarks.meter.gpu.identity import NO_GPU
from benchmarks.meter.run.bare import BareEnvironment
from benchmarks.meter.run.preflight import computes_on_cuda

_RECORDS = ".benchmarks.meter.asv_plugins.records"


@dataclass(frozen=True)
class Suite:
    """Everything that asv needs to run cells.

    Attributes:
        conf: asv's configuration.
        repo: asv's object for the repository.
        machine: the fields that describe the machine.
        environments: asv's environments; they exist.
        commits: whole hashes, in the order in which they are run.
        benchmarks: asv's `Benchmarks`, with the selected ones.
    """

    conf: Config
    repo: Any
    machine: dict[str, str]
    environments: list[Any]
    commits: list[str]
    benchmarks: Benchmarks

    def results_file(self, env: Any, commit: str) -> Path:
        """Return the path of a commit's results."""
        return Path(self.conf.results_dir, get_filename(self.machine["machine"], commit, env.name))

    def results(self, env: Any, commit: str) -> Results:
        """Return asv's object for the results of a commit, with the stored ones."""
        params = {**self.machine, "python": env.python, **env.requirements}
        date = self.repo.get_date(commit)
        results = Results(params, env.requirements, commit, date, env.python, env.name, env.env_vars)
        results.load_data(self.conf.results_dir)
        return results


def load_configuration(path: str | None) -> Config:
    """Load the configuration and its plugins; its folder becomes the working folder, as in asv.

    Args:
        path: of the configuration; None for asv.conf.json in the working folder.

    Raises:
        UserError: if there is no such file, or it is not valid.
    """
    if path:
        os.chdir(Path(path).resolve().parent)
        path = Path(path).name
    try:
        conf = Config.load(path)
    except ValueError as error:
        raise util.UserError(f"{path or 'asv.conf.json'} is not valid JSON: {error}") from error
    # this plugin saves the records of the cells, so it is loaded even if the configuration does not name it
    for plugin in dict.fromkeys([*conf.plugins, _RECORDS]):
        plugin_manager.import_plugin(plugin)
    return conf


def load_suite(
    conf: Config,
    revisions: Sequence[str],
    patterns: Sequence[str],
    machine_name: str | None,
    bare: Any = None,
) -> Suite:
    """Find the commits, create the environments and discover the benchmarks.

    Args:
        conf: asv's configuration.
        revisions: commits and ranges; if empty, the tips of the configured branches.
        patterns: regular expressions that select cells, as for `asv run --bench`.
        machine_name: another name for this machine.
        bare: a `GivenCommit` to measure without git, in the running Python.

    Raises:
        UserError: if there is nothing to run; the message says why.
    """
    machine = Machine.load(machine_name=machine_name, interactive=True)
    _check_gpu(vars(machine))
    machine.save(conf.results_dir)
    repo = bare or get_repo(conf)
    environments = list(get_environments(conf, [BareEnvironment.tool_name] if bare else None))
    if not environments:
        raise util.UserError("no environment can be used (see above)")
    commits = [bare.commit] if bare else find_commits(conf, repo, revisions)
    Setup.perform_setup(environments, parallel=1)
    benchmarks = Benchmarks.discover(conf, repo, environments, commits, regex=list(patterns))
    benchmarks.save()
    if not benchmarks:
        raise util.UserError(
            f"no benchmark matches {' or '.join(patterns)}" if patterns else "the suites have no benchmarks"
        )
    for benchmark in benchmarks.values():
        if benchmark.get("timeout") is None:
            benchmark["timeout"] = conf.default_benchmark_timeout
    return Suite(conf, repo, dict(vars(machine)), environments, commits, benchmarks)


def _check_gpu(machine: Mapping[str, str]) -> None:
    if machine.get("gpu") == NO_GPU and computes_on_cuda():
        raise util.UserError(
            "torch computes on CUDA, but the GPU's name, under which results are filed, cannot be found: put "
            "nvidia-smi on PATH, let CUDA_VISIBLE_DEVICES name a device of `nvidia-smi -L`, or set it to '' "
            "to measure on the CPU"
        )


def find_commits(conf: Config, repo: Any, revisions: Sequence[str]) -> list[str]:
    """Return the hashes of revisions; a range (`A..B`, `A^!`) gives all its commits, the newest first.

    Raises:
        UserError: if a revision is unknown, or a range is empty.
    """
    commits: list[str] = []
    for revision in revisions or conf.branches:
        try:
            if revision and (".." in revision or revision.endswith("^!")):
                found = repo.get_hashes_from_range(revision)
            else:
                found = [repo.get_hash_from_name(revision)]
        except (NoSuchNameError, util.ProcessError) as error:
            raise util.UserError(f"git knows no commit {revision}") from error
        if not found:
            raise util.UserError(f"there is no commit in {revision}")
        commits += found
    return list(dict.fromkeys(commits))


def date_in(conf: Config) -> Callable[[str], int | None]:
    """Return a function for the date of a commit in milliseconds since 1970, None for an unknown commit."""

    def date_of(commit: str) -> int | None:
        try:
            repo = get_repo(conf)
            return int(repo.get_date(repo.get_hash_from_name(commit)))
        except (NoSuchNameError, util.ProcessError, util.UserError, OSError):
            return None

    return date_of
