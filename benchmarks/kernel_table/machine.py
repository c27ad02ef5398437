"""What a run ran on: the machine, the versions of all that computes, the commit.

Out: plain values for the record. Nothing of asv is needed, nor git.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.kernel_table.contenders import missing_packages
from benchmarks.meter.asv_plugins.versions import versions
from benchmarks.meter.host import commit_of, cpu_name
from benchmarks.meter.measure.clocks import device
from benchmarks.meter.measure.conditions import CONDITIONS

_ROOT = Path(__file__).parents[2]


def machine(threads: int, commit: str | None) -> dict[str, Any]:
    """What a result must name, the conditions of the measuring processes included.

    Args:
        threads: that torch uses on a CPU.
        commit: of the checkout, if git cannot tell.
    """
    return {
        "device": device(),
        "cpu": cpu_name(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        **{name.lower(): os.environ.get(name) for name in CONDITIONS},
        **versions(),
        "not_installed": missing_packages(),
        "commit": commit or commit_of(_ROOT),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }
