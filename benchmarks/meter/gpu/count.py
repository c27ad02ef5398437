"""How many GPUs torch would use, found without this process touching the CUDA driver.

In: torch, NVML, or a process that may touch the driver. Out: a number. A process that has initialised CUDA
forks children that cannot use it, and where NVML has no answer torch asks the driver: for a MIG slice that
CUDA_VISIBLE_DEVICES names, and in a container without the driver's `libnvidia-ml`.
"""

import os
import subprocess
import sys
from pathlib import Path
from shutil import which

COUNT_VARIABLE = "METER_DEVICE_COUNT"
"""Names the environment variable that holds the answer of the process that was asked. It holds for one value
of CUDA_VISIBLE_DEVICES."""

_DRIVER_FILES = (Path("/proc/driver/nvidia"), Path("/dev/nvidiactl"), Path("/dev/nvmap"))
"""One of them is there where the driver is; the last one on Tegra."""


def device_count() -> int:
    """The GPUs that torch can use, 0 without torch; a later call, also in a child process, costs little.

    Raises:
        subprocess.SubprocessError: if torch cannot be asked in a process of its own.
    """
    try:
        import torch
    except ImportError:
        return 0
    if torch.version.cuda is None or torch.cuda.is_initialized() or _nvml_answers():
        return torch.cuda.device_count()
    if COUNT_VARIABLE not in os.environ:
        os.environ[COUNT_VARIABLE] = str(_counted_elsewhere() if _driver_is_there() else 0)
    return int(os.environ[COUNT_VARIABLE])


def _nvml_answers() -> bool:
    """Whether `torch.cuda.device_count` has an answer that is not the driver's."""
    from torch import cuda

    return cuda._device_count_nvml() >= 0  # noqa: SLF001 - device_count, which is public, hides who answered


def _driver_is_there() -> bool:
    return any(file.exists() for file in _DRIVER_FILES) or which("nvidia-smi") is not None


def _counted_elsewhere() -> int:
    """The answer of the CUDA driver, in a process that ends with it."""
    done = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    return int(done.stdout)
