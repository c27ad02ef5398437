"""asv without git and without environments, for a GPU box that has little more than torch.

In: the hash of the checked-out commit. Out: for asv, a repository that holds that commit alone, and an
environment that is this very Python, which imports what is measured from the checkout.
"""

import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from asv import util
from asv.environment import Environment, EnvironmentUnavailable, get_env_name
from asv.repo import NoRepository, NoSuchNameError

_RUNNING_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_HASH = re.compile(r"[0-9a-f]{40}")


class GivenCommit(NoRepository):
    """Stands in for the repository where there is none.

    Args:
        commit: the whole hash: a short one would not match the commit when the results are merged.
        date: when it was made; now, if it is not known.

    Raises:
        UserError: if `commit` is no whole hash, or `date` has no time zone.
    """

    dvcs = "given"

    def __init__(self, commit: str, date: datetime | None = None):
        super().__init__()
        if not _HASH.fullmatch(commit):
            raise util.UserError(f"--commit {commit}: give all 40 digits (`git rev-parse HEAD`)")
        if date and date.tzinfo is None:
            raise util.UserError(f"--commit-date {date}: give the time zone (`git log -1 --format=%aI`)")
        self.commit = commit
        self._date = date or datetime.now(UTC)

    def get_date(self, commit) -> int:
        """The date of the one commit, in milliseconds since 1970."""
        if commit != self.commit:
            raise NoSuchNameError(commit)
        return int(self._date.timestamp()) * 1000

    def get_hash_from_name(self, name) -> str:
        """No names are known here."""
        raise NoSuchNameError(name)


class BareEnvironment(Environment):
    """The running Python, with the checkout's folders in front of its own packages.

    Its name is that of the managed environment that it stands in for, so that the results of both go into
    one history. The folders are those of `bare_path` in asv.conf.json; the checkout alone by default.

    Raises:
        EnvironmentUnavailable: if another Python than the running one is asked for.
        UserError: if there is no such folder.
    """

    tool_name = "bare"

    def __init__(self, conf, python, requirements, tagged_env_vars):
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
        """As the managed environment's: its type, the Python version and what the matrix adds."""
        return get_env_name(self._stands_in_for, self._python, self._requirements, self._tagged_env_vars)

    def create(self) -> None:
        """There is nothing to create."""

    def install_project(self, _conf, _repo, commit_hash) -> None:
        """The checkout is the installed commit."""
        self._set_commit_hash(commit_hash)

    def run(self, args, *, env=os.environ, **kwargs):
        """Run this Python."""
        # asv's scripts take the entries of PYTHONPATH off sys.path, unless ASV_PYTHONPATH puts them there;
        # the processes that benchmarks start know only PYTHONPATH.
        path = {"ASV_PYTHONPATH": self._import_path, "PYTHONPATH": self._import_path}
        return util.check_output(
            [sys.executable, *args], env={**env, **self._global_env_vars, **path}, **kwargs
        )
