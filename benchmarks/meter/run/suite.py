"""What a run is about: the configuration, the commits, the environments and the benchmarks.

In: the command line's choices. Out: a `Suite`, with everything found through asv's own objects, so that the
configuration and the plugins mean what they mean to `asv run`.
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
        repo: asv's view of the repository.
        machine: the fields of the machine.
        environments: asv's environments, created.
        commits: whole hashes, in the order to run them.
        benchmarks: asv's `Benchmarks`, those that were selected.
    """

    conf: Config
    repo: Any
    machine: dict[str, str]
    environments: list[Any]
    commits: list[str]
    benchmarks: Benchmarks

    def results_file(self, env: Any, commit: str) -> Path:
        """Where the results of a commit are."""
        return Path(self.conf.results_dir, get_filename(self.machine["machine"], commit, env.name))

    def results(self, env: Any, commit: str) -> Results:
        """The results of a commit, with what is stored of it."""
        params = {**self.machine, "python": env.python, **env.requirements}
        date = self.repo.get_date(commit)
        results = Results(params, env.requirements, commit, date, env.python, env.name, env.env_vars)
        results.load_data(self.conf.results_dir)
        return results


def load_configuration(path: str | None) -> Config:
    """The configuration, with its plugins loaded; its folder becomes the working folder, as in asv.

    Raises:
        UserError: if there is no configuration, or it is wrong.
    """
    if path:
        os.chdir(Path(path).resolve().parent)
        path = Path(path).name
    try:
        conf = Config.load(path)
    except ValueError as error:
        raise util.UserError(f"{path or 'asv.conf.json'} is not valid JSON: {error}") from error
    # The records of the cells are kept by this plugin; a configuration that lacks it gets it for the run.
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
        revisions: commits and ranges; none means the tips of the configured branches.
        patterns: regular expressions that select cells, as for `asv run --bench`.
        machine_name: another name for this machine.
        bare: a `GivenCommit`, if there is neither git nor an environment to build.

    Raises:
        UserError: if there is nothing to run, with the reason.
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
            f"no benchmark is called like {' or '.join(patterns)}" if patterns else "no benchmarks"
        )
    for benchmark in benchmarks.values():
        if benchmark.get("timeout") is None:
            benchmark["timeout"] = conf.default_benchmark_timeout
    return Suite(conf, repo, dict(vars(machine)), environments, commits, benchmarks)


def _check_gpu(machine: Mapping[str, str]) -> None:
    if machine.get("gpu") == NO_GPU and computes_on_cuda():
        raise util.UserError(
            "torch computes on CUDA, but no GPU is found to file the results under: put nvidia-smi on PATH, "
            "see that CUDA_VISIBLE_DEVICES names a device of `nvidia-smi -L`, or set it to '' to measure on "
            "the processor"
        )


def find_commits(conf: Config, repo: Any, revisions: Sequence[str]) -> list[str]:
    """The hashes of the revisions; a range (`A..B`, `A^!`) gives all its commits, the newest first.

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
            raise util.UserError(f"git knows no {revision}") from error
        if not found:
            raise util.UserError(f"there is no commit in {revision}")
        commits += found
    return list(dict.fromkeys(commits))


def date_in(conf: Config) -> Callable[[str], int | None]:
    """Gives the date of a commit, in milliseconds since 1970, or None if git does not know it here."""

    def date_of(commit: str) -> int | None:
        try:
            repo = get_repo(conf)
            return repo.get_date(repo.get_hash_from_name(commit))
        except (NoSuchNameError, util.ProcessError, util.UserError, OSError):
            return None

    return date_of
