"""The asv plugin for an environment that borrows packages from the Python that runs asv.

In: the Python that runs asv. Out: for asv, a virtual environment that holds the wheel of one commit, and that
sees the packages of that Python behind it. So each commit needs only one small wheel, and `asv run` measures
with the torch that the user installed, built for whichever CUDA.

Packages that are installed in editable mode are not borrowed, so a checkout can never take the place of the
commit under test.

Outcomes of variants that were measured together (`variants`) are kept in a temporary folder for the next
benchmark processes, until another commit is installed or asv ends.
"""

import atexit
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from asv.environment import EnvironmentUnavailable
from asv.plugins.virtualenv import Virtualenv

from benchmarks.meter.measure.conditions import CONDITIONS
from benchmarks.meter.measure.variants import STORE_VARIABLE, Store

_RUNNING_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_SITE_FOLDERS = {"site-packages", "dist-packages"}


def setup() -> None:
    """Set the conditions of benchmark processes and their folder of outcomes; asv calls this on loading."""
    for name, value in CONDITIONS.items():
        os.environ.setdefault(name, value)
    if not os.environ.get(STORE_VARIABLE):
        os.environ[STORE_VARIABLE] = tempfile.mkdtemp(prefix="meter-store-")
        atexit.register(shutil.rmtree, os.environ[STORE_VARIABLE], ignore_errors=True)


class BorrowingEnvironment(Virtualenv):
    """A virtual environment of the running Python, with that Python's packages behind its own."""

    tool_name = "borrowed"

    def __init__(
        self, conf: Any, python: str, requirements: dict[str, str], tagged_env_vars: dict[Any, str]
    ) -> None:
        if python != _RUNNING_PYTHON:
            message = (
                f"cannot borrow packages for Python {python}: asv runs on Python {_RUNNING_PYTHON}; "
                f"start asv with a Python {python} that has torch"
            )
            raise EnvironmentUnavailable(message)
        if requirements:
            message = (
                f"matrix.req asks for {', '.join(requirements)}, but packages are borrowed from the Python "
                "that runs asv: install them there"
            )
            raise EnvironmentUnavailable(message)
        super().__init__(conf, python, requirements, tagged_env_vars)
        # asv would take the first pythonX.Y on PATH, which may be another one than the one that lends
        self._executable = sys.executable

    def check_presence(self) -> bool:
        """Return whether the environment exists, works, and borrows from the Python that runs asv now."""
        borrowed = self._borrowed_file
        borrows = borrowed.is_file() and borrowed.read_text() == _borrowed_paths()
        return borrows and bool(super().check_presence())

    def install_project(self, conf: Any, repo: Any, commit_hash: str) -> None:
        """Install a commit, and forget the outcomes of the one before."""
        super().install_project(conf, repo, commit_hash)
        Store.of_this_process().clear()

    def _install_requirements(self) -> None:
        self._borrowed_file.write_text(_borrowed_paths())

    @property
    def _borrowed_file(self) -> Path:
        site = sysconfig.get_path("purelib", scheme="venv", vars={"base": self._path})
        return Path(site, "borrowed.pth")


def _borrowed_paths() -> str:
    """The text of a .pth file: one line for each folder of packages that this Python imports from."""
    folders = (entry for entry in sys.path if Path(entry).name in _SITE_FOLDERS)
    return "".join(f"{Path(folder).resolve()}\n" for folder in folders)
