"""What the harness costs: `python -m benchmarks.experiments.overhead` runs asv on cells that do nothing.

In: a number of cells. Out: the seconds of a whole `asv run` of one cell, and of each further cell. The suite
imports torch and takes the fewest samples, so next to nothing of it is measuring.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

METER = Path(__file__).parents[1] / "meter"
CONF = {
    "version": 1,
    "project": "nothing",
    "repo": ".",
    "branches": ["HEAD"],
    "plugins": [
        ".benchmarks.meter.asv_plugins.environment",
        ".benchmarks.meter.asv_plugins.machine",
        ".benchmarks.meter.asv_plugins.records",
    ],
    "environment_type": "existing",
    "launch_method": "forkserver",
}
REGISTER = "from benchmarks.meter.types.register import register\n\nregister()\n"
SUITE = """
import torch


class Nothing:
    params = (list(range({cells})),)
    repeat = 6

    def cudatime_nothing(self, _cell):
        pass
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what asv and the meter cost beside the sampling.")
    parser.add_argument("--cells", type=int, default=100, help="cells to run (100)")
    cells = parser.parse_args().cells
    if cells < 2:
        parser.error(f"--cells must be 2 at least, not {cells}")
    one, all_cells = run_seconds(1), run_seconds(cells)
    further = (all_cells - one) / (cells - 1)
    print(f"asv run of 1 cell: {one:.2f} s, of {cells} cells: {all_cells:.2f} s")
    print(f"that is {all_cells / cells:.3f} s a cell, {further:.3f} s for each further one")


def run_seconds(cells: int) -> float:
    """The wall time of `asv run` over so many cells.

    Raises:
        subprocess.CalledProcessError: if git or asv fails.
    """
    with TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "benchmarks").mkdir()
        shutil.copytree(METER, project / "benchmarks" / "meter")
        (project / "benchmarks" / "__init__.py").write_text(REGISTER)
        (project / "benchmarks" / "suite.py").write_text(SUITE.format(cells=cells))
        (project / "asv.conf.json").write_text(json.dumps(CONF))
        _run(project, "git", "init", "--quiet")
        author = ("-c", "user.name=meter", "-c", "user.email=meter@localhost")
        _run(project, "git", *author, "commit", "--quiet", "--allow-empty", "--message", "Nothing")
        start = time.perf_counter()
        _run(project, sys.executable, "-m", "asv", "run", "--python=same", "--set-commit-hash", "HEAD")
        return time.perf_counter() - start


def _run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
