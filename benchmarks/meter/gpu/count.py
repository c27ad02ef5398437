"""How many GPUs torch would use, found without initializing CUDA in this process.

In: torch and NVML, or else a process of its own that asks the CUDA driver. Out: a number.

The children of a process that has initialized CUDA cannot use it. torch counts by NVML where it can, but asks
the CUDA driver if NVML has no answer: for a MIG slice that CUDA_VISIBLE_DEVICES names, and in a container
without the driver's `libnvidia-ml`.
"""

import os
import subprocess
import sys
from pathlib import Path
from shutil import which

COUNT_VARIABLE = "METER_DEVICE_COUNT"
"""The environment variable in which the answer is kept for child processes. It is valid for one value of
CUDA_VISIBLE_DEVICES."""

_DRIVER_FILES = (Path("/proc/driver/nvidia"), Path("/dev/nvidiactl"), Path("/dev/nvmap"))
"""At least one of them exists where there is a driver; the last one is that of Tegra."""


def device_count() -> int:
    """Return how many GPUs torch can use; 0 without torch. Later calls, also in child processes, cost little.

    Raises:
        subprocess.SubprocessError: if the process that asks the driver fails.
    """
    try:
        import torch
    except ImportError:
        return 0
    initialized: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call] # torch 2.13 lacks its type
    if torch.version.cuda is None or initialized or _nvml_answers():
        return torch.cuda.device_count()
    if COUNT_VARIABLE not in os.environ:
        os.environ[COUNT_VARIABLE] = str(_counted_elsewhere() if _driver_is_there() else 0)
    return int(os.environ[COUNT_VARIABLE])


def _nvml_answers() -> bool:
    """Whether `torch.cuda.device_count` gets its answer from NVML."""
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
