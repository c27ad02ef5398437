"""asv without git and without environments, for a GPU box that has little more than torch.

In: the hash of the commit whose files are there. Out: for asv, a repository with that one commit, and an
environment that is the running Python and imports the measured packages from the folder.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asv import util
from asv.environment import Environment, EnvironmentUnavailable, get_env_name
from asv.repo import NoRepository, NoSuchNameError

_RUNNING_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_HASH = re.compile(r"[0-9a-f]{40}")

TaggedVariables = dict[tuple[str, str], str]
"""Environment variables of asv's matrix, by (tag, name)."""


class GivenCommit(NoRepository):
    """A stand-in for the repository, with one commit.

    Args:
        commit: its whole hash. A short one would not match the commit when the results are merged.
        date: when it was made; by default, now.

    Raises:
        UserError: if `commit` is not a whole hash, or `date` has no time zone.
    """

    dvcs = "given"

    def __init__(self, commit: str, date: datetime | None = None) -> None:
        super().__init__()
        if not _HASH.fullmatch(commit):
            raise util.UserError(f"--commit {commit}: give all 40 digits (`git rev-parse HEAD`)")
        if date and date.tzinfo is None:
            raise util.UserError(f"--commit-date {date}: give the time zone (`git log -1 --format=%aI`)")
        self.commit = commit
        self._date = date or datetime.now(UTC)

    def get_date(self, commit: str) -> int:
        """Return the date of the commit, in milliseconds since 1970."""
        if commit != self.commit:
            raise NoSuchNameError(commit)
        return int(self._date.timestamp()) * 1000

    def get_hash_from_name(self, name: str) -> str:
        """Raise an error: there are no names without git."""
        raise NoSuchNameError(name)


class BareEnvironment(Environment):
    """The running Python, with the folders of the checkout in front of its own packages.

    It has the name of the managed environment that it stands in for, so that the results of both are in one
    history. The folders are those of `bare_path` in asv.conf.json, by default the checkout itself.

    Raises:
        EnvironmentUnavailable: if asv asks for another Python than the running one.
        UserError: if one of the folders does not exist.
    """

    tool_name = "bare"

    def __init__(
        self, conf: Any, python: str, requirements: dict[str, str], tagged_env_vars: TaggedVariables
    ) -> None:
        if python != _RUNNING_PYTHON:
            raise EnvironmentUnavailable(f"--bare runs on Python {_RUNNING_PYTHON}, not {python}")
        self._stands_in_for = conf.environment_type
        self._requirements = requirements  # asv's constructor asks for a name before it sets them
        super().__init__(conf, python, requirements, tagged_env_vars)
        folders = [Path(folder).resolve() for folder in getattr(conf, "bare_path", ["."])]
        missing = [folder for folder in folders if not folder.is_dir()]
        if missing:
            raise util.UserError(f"bare_path in asv.conf.json: there is no folder {missing[0]}")
        inherited = filter(None, [os.environ.get("PYTHONPATH")])
        self._import_path = os.pathsep.join([*map(str, folders), *inherited])

    @property
    def name(self) -> str:
        """The name of the managed environment: its type, the Python version and what the matrix adds."""
        parts = (self._stands_in_for, self._python, self._requirements, self._tagged_env_vars)
        return str(get_env_name(*parts))

    def create(self) -> None:
        """Create nothing: the environment is there."""

    def install_project(self, _conf: Any, _repo: Any, commit_hash: str) -> None:
        """Take the checkout as the installed commit."""
        self._set_commit_hash(commit_hash)

    def run(self, args: Sequence[str], *, env: Mapping[str, str] = os.environ, **kwargs: Any) -> Any:
        """Run this Python with some arguments; return what it prints."""
        # asv's scripts remove the entries of PYTHONPATH from sys.path, but keep those of ASV_PYTHONPATH;
        # processes that benchmarks start read PYTHONPATH alone
        path = {"ASV_PYTHONPATH": self._import_path, "PYTHONPATH": self._import_path}
        return util.check_output(
            [sys.executable, *args], env={**env, **self._global_env_vars, **path}, **kwargs
        )
