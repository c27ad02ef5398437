"""What a run ran on: the machine, the versions of all that computes, the commit.

Out: plain values for the record. Nothing of asv is needed, nor git.
"""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.kernel_table.contenders import missing_packages
from benchmarks.meter.asv_plugins.versions import versions
from benchmarks.meter.measure.clocks import device
from benchmarks.meter.measure.conditions import CONDITIONS

_CPU_FILE = Path("/proc/cpuinfo")
_ROOT = Path(__file__).parents[2]


def machine(threads: int, commit: str | None) -> dict[str, Any]:
    """What a result must name, the conditions of the measuring processes included.

    Args:
        threads: that torch uses on the processor.
        commit: of the checkout, if git cannot tell.
    """
    return {
        "device": device(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        **{name.lower(): os.environ.get(name) for name in CONDITIONS},
        **versions(),
        "not_installed": missing_packages(),
        "commit": commit or _commit(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpu_model() -> str:
    if not _CPU_FILE.exists():
        return platform.processor()
    fields = (line.partition(":") for line in _CPU_FILE.read_text().splitlines())
    return next(
        (value.strip() for name, _, value in fields if name.strip() == "model name"), platform.machine()
    )


def _commit() -> str | None:
    """The commit that is checked out, with a mark if files differ from it; None where git does not tell."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
