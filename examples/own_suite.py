"""Measure code of your own with the meter of this repository: `python examples/own_suite.py [FOLDER]`.

It writes a small project into the folder: two commits, a suite and asv's configuration. asv then measures
the last commit. In a project of yours, copy `benchmarks/meter` and keep the files that this script writes.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

METER = Path(__file__).parents[1] / "benchmarks" / "meter"

REGISTER = """
from benchmarks.meter.types.register import register

register()
"""

SUITE = '''
import torch


class Product:
    """The product of two square matrices."""

    params = ([64, 256],)
    param_names = ("size",)
    version = "1"
    repeat = (5, 20, 0.2)  # at least 5 samples, at most 20, and no new one after 0.2 s

    def setup(self, size):
        self.a = torch.randn(size, size)

    def cudatime_product(self, size):  # CUDA events on a GPU, the wall clock elsewhere
        self.a @ self.a

    def devicemem_product(self, size):  # peak memory
        self.a @ self.a
'''

CONFIGURATION = {
    "version": 1,
    "project": "mine",
    "repo": ".",
    "branches": ["HEAD"],
    "plugins": [".benchmarks.meter.asv_plugins.environment", ".benchmarks.meter.asv_plugins.machine"],
    "environment_type": "borrowed",  # torch comes from the Python that runs asv
    "build_command": ["python -c pass"],  # here the suite needs no wheel of the project
    "install_command": ["python -c pass"],
    "uninstall_command": ["python -c pass"],
    "launch_method": "forkserver",
}


def write_project(folder: Path) -> None:
    """Write the suite beside a copy of the meter, and commit something to measure."""
    suites = folder / "benchmarks"
    shutil.copytree(METER, suites / "meter")
    (suites / "__init__.py").write_text(REGISTER)
    (suites / "product.py").write_text(SUITE)
    (folder / "asv.conf.json").write_text(json.dumps(CONFIGURATION, indent=2))
    (folder / "setup.py").write_text("")
    git = ["git", "-C", str(folder), "-c", "user.name=me", "-c", "user.email=me@example.org"]
    subprocess.run([*git, "init", "--quiet", "--initial-branch", "main"], check=True)
    subprocess.run([*git, "add", "setup.py"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "Something to measure"], check=True)


def main(folder: Path) -> None:
    """Write the project and measure it."""
    write_project(folder)
    asv = [sys.executable, "-m", "asv", "run", "HEAD^!", "--record-samples", "--show-stderr"]
    subprocess.run(asv, cwd=folder, check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
