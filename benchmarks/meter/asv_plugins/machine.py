"""What asv calls the machine it runs on; `asv.conf.json` loads this as a plugin.

In: the operating system, /proc and `nvidia-smi`. Out: the fields of results/asv/<machine>/machine.json.
asv keeps one history for each combination of these fields, so they hold only what stays the same while the
hardware does: no kernel release, no driver version. They hold no host name either, and nothing is read from
or written to the home directory.
"""

import math
import os
import platform
import re
from collections.abc import Mapping

from asv import util
from asv.console import log
from asv.machine import Machine

from benchmarks.meter.asv_plugins import patches
from benchmarks.meter.gpu.identity import NO_GPU, gpu_name
from benchmarks.meter.host import cpu_name

_GIB = 2**30
_CPU_NOISE = re.compile(r"\((R|TM)\)|@.*|\b(CPU|Processor|\d+-Core|with .*)\b", re.IGNORECASE)


def setup() -> None:
    """Make asv describe the machine as this module does; asv calls it when it loads the plugin."""
    patches.apply(
        {
            patches.MACHINE_NAME: staticmethod(lambda: machine_fields()["machine"]),
            patches.MACHINE_LOAD: staticmethod(_load),
        }
    )


def machine_fields(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The machine as asv stores it: `machine` (a name made of the others), os, arch, cpu, num_cpu, ram, gpu.

    `num_cpu` counts the CPUs that this process may use, `ram` is in GiB (see `nominal_gib`), and `gpu` is
    the model name of the device that CUDA would use, `NO_GPU` without one.
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
    """The installed memory, in GiB, of a machine that reports `size` bytes.

    The kernel reports a little less than is installed, and how much less changes with its version: the
    result is rounded up to a multiple of an eighth of the power of two below it (31.2 -> 32, 503 -> 512).
    """
    gib = max(1, size / _GIB)
    step = 2 ** math.floor(math.log2(gib)) / 8
    return math.ceil(math.ceil(gib / step) * step)


def _slug(*parts: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def _load(*, machine_name=None, interactive=False, **_ignored) -> Machine:
    """Stand-in for `Machine.load`: the described machine, called `machine_name` if the user named it.

    Only the commands that measure pass `interactive`; the other is `asv machine`, which gets told.
    """
    fields = machine_fields()
    machine = Machine()
    machine.__dict__.update(fields, machine=machine_name or fields["machine"])
    if not interactive:
        log.info("This project describes the machine by itself:")
        for name, value in machine.__dict__.items():
            log.info(f"  {name}: {value}")
    return machine
