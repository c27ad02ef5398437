"""The asv plugin that describes the machine.

In: the operating system, /proc and `nvidia-smi`. Out: the fields of results/asv/<machine>/machine.json.

asv keeps one history for each combination of these fields. So they change only with the hardware: the
versions of kernel and driver are not among them. Neither is the host's name, and nothing is read from or
written to the home directory.
"""

import math
import os
import platform
import re
from collections.abc import Mapping
from typing import Any

from asv import util
from asv.console import log
from asv.machine import Machine

from benchmarks.meter.asv_plugins import patches
from benchmarks.meter.gpu.identity import NO_GPU, gpu_name
from benchmarks.meter.host import cpu_name

_GIB = 2**30
_CPU_NOISE = re.compile(r"\((R|TM)\)|@.*|\b(CPU|Processor|\d+-Core|with .*)\b", re.IGNORECASE)


def setup() -> None:
    """Make asv describe the machine as this module does; asv calls this when it loads the plugin."""
    patches.apply(
        {
            patches.MACHINE_NAME: staticmethod(lambda: machine_fields()["machine"]),
            patches.MACHINE_LOAD: staticmethod(_load),
        }
    )


def machine_fields(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the machine as asv stores it: machine, os, arch, cpu, num_cpu, ram and gpu.

    `machine` is a name made of the other fields. `num_cpu` counts the CPUs that this process may use, `ram`
    is in GiB (see `nominal_gib`), and `gpu` is the model of the device that CUDA would use, or `NO_GPU`.
    """
    cpu = cpu_name()
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = gpu_name(environ)
    ram = f"{nominal_gib(util.get_memsize() or 0)}GB"
    parts = [] if gpu == NO_GPU else [gpu]
    name = _slug(*parts, _CPU_NOISE.sub(" ", cpu), f"{count}cpu", ram)
    return {
        "machine": name,
        "os": platform.system(),
        "arch": platform.machine(),
        "cpu": cpu,
        "num_cpu": str(count),
        "ram": ram,
        "gpu": gpu,
    }


def nominal_gib(size: int) -> int:
    """Return the installed memory, in GiB, of a machine whose kernel reports `size` bytes.

    The kernel reports a little less than is installed, and how much less depends on its version. So the size
    is rounded up to a multiple of an eighth of the power of two below it (31.2 -> 32, 503 -> 512).
    """
    gib = max(1, size / _GIB)
    step = 2 ** math.floor(math.log2(gib)) / 8
    installed: int = math.ceil(math.ceil(gib / step) * step)
    return installed


def _slug(*parts: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def _load(*, machine_name: str | None = None, interactive: bool = False, **_ignored: Any) -> Machine:
    """Stand-in for `Machine.load`: return the machine, with the name that the user gave it, if any.

    Commands that measure pass `interactive`. The only other one is `asv machine`, for which the fields are
    printed.
    """
    fields = machine_fields()
    machine = Machine()
    machine.__dict__.update(fields, machine=machine_name or fields["machine"])
    if not interactive:
        log.info("The machine is described by the meter, from what the system reports:")
        for name, value in machine.__dict__.items():
            log.info(f"  {name}: {value}")
    return machine
