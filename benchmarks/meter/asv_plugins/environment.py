"""An asv environment that borrows torch from the Python that runs asv; `asv.conf.json` loads it as a plugin.

In: the Python that runs asv. Out: for asv, a virtual environment that holds the wheel of one commit and
sees, behind it, every package of that Python. So a commit costs one small wheel, and `asv run` measures the
torch (CUDA build and all) that the user chose.

Packages that the borrowed Python has in editable mode are not seen: a checkout of `perfmamba` can never
stand in for the commit under test.

Variants that were measured together (`variants`) are kept in a temporary folder from one benchmark process to
the next, until another commit is installed or asv ends.
"""

import atexit
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from asv.environment import EnvironmentUnavailable
from asv.plugins.virtualenv import Virtualenv

from benchmarks.meter.measure.conditions import CONDITIONS
from benchmarks.meter.measure.variants import STORE_VARIABLE, Store

_RUNNING_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_SITE_FOLDERS = {"site-packages", "dist-packages"}


def setup() -> None:
    """Give benchmark processes their conditions and a folder to keep outcomes in; asv calls it on loading."""
    for name, value in CONDITIONS.items():
        os.environ.setdefault(name, value)
    if not os.environ.get(STORE_VARIABLE):
        os.environ[STORE_VARIABLE] = tempfile.mkdtemp(prefix="meter-store-")
        atexit.register(shutil.rmtree, os.environ[STORE_VARIABLE], ignore_errors=True)


class BorrowingEnvironment(Virtualenv):
    """A virtual environment of the running Python, with that Python's packages behind its own."""

    tool_name = "borrowed"

    def __init__(self, conf, python, requirements, tagged_env_vars):
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
        # asv would take the first `pythonX.Y` on PATH, which need not be the one whose packages we borrow.
        self._executable = sys.executable

    def check_presence(self):
        """True if the environment is on disk, works, and borrows from the Python that runs asv now."""
        borrowed = self._borrowed_file
        return borrowed.is_file() and borrowed.read_text() == _borrowed_paths() and super().check_presence()

    def install_project(self, conf, repo, commit_hash):
        """Install a commit, in place of the one whose outcomes are stored."""
        super().install_project(conf, repo, commit_hash)
        Store.of_this_process().clear()

    def _install_requirements(self):
        self._borrowed_file.write_text(_borrowed_paths())

    @property
    def _borrowed_file(self):
        site = sysconfig.get_path("purelib", scheme="venv", vars={"base": self._path})
        return Path(site, "borrowed.pth")


def _borrowed_paths():
    """The text of a .pth file: one line for each folder of packages that this Python imports from."""
    folders = (entry for entry in sys.path if Path(entry).name in _SITE_FOLDERS)
    return "".join(f"{Path(folder).resolve()}\n" for folder in folders)
