"""What a run finds out about the machine before it measures.

In: the Python that runs, and the project's folder. Out: answers, and lines on the screen. Questions that need
torch go to a process of their own, because the process that starts benchmarks must not import it.
"""

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.meter.asv_plugins.versions import versions
from benchmarks.meter.run import checks

_ASK_DEVICE = "from benchmarks.meter.measure.clocks import device; print(device())"
_MOST_SECONDS = 180


def computes_on_cuda() -> bool:
    """Return whether torch would compute on CUDA; a process of its own finds out."""
    if versions()["cuda"] is None:
        return False
    done = subprocess.run(
        [sys.executable, "-c", _ASK_DEVICE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()[-1:] == ["cuda"]


def missing_packages(project: Path) -> list[str]:
    """Return the dependencies in a pyproject.toml that this Python lacks; an empty list without the file."""
    if not project.is_file():
        return []
    declared = tomllib.loads(project.read_text()).get("project", {}).get("dependencies", [])
    needed = [need for need in map(Requirement, declared) if need.marker is None or need.marker.evaluate()]
    return [need.name for need in needed if not _is_installed(need.name)]


def print_device_checks(command: str = checks.__name__) -> None:
    """Run the checks of the GPU, which print their lines; print one more line if they do not end well.

    Args:
        command: the module to run.
    """
    sys.stdout.flush()
    try:
        done = subprocess.run(
            [sys.executable, "-m", command],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=_MOST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        print(f"device check FAILED: no end within {_MOST_SECONDS} s")
        return
    if done.returncode not in checks.EXIT_CODES:
        *_, reason = [f"it ended with status {done.returncode}", *done.stderr.split("\n")[:-1]]
        print(f"device check FAILED: {reason}")


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
