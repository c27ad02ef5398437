"""The versions of everything that a result depends on, except the commit."""

import functools
import platform
import runpy
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.meter.gpu.identity import NO_GPU, driver_version, gpu_name

PACKAGES = ("torch", "triton", "transformers", "numpy", "mamba-ssm", "causal-conv1d", "nvidia-ml-py")


@functools.cache
def versions() -> dict[str, str | None]:
    """Return the versions of Python, the driver, torch's CUDA and the `PACKAGES`, and the GPU's name.

    The value is None for whatever is missing. Nothing heavy is imported.
    """
    gpu = gpu_name()
    return {
        "python": platform.python_version(),
        **{package: _installed(package) for package in PACKAGES},
        "cuda": _cuda_of_torch(),
        "driver": driver_version(),
        "gpu": None if gpu == NO_GPU else gpu,
    }


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cuda_of_torch() -> str | None:
    """The CUDA version that torch was built for, read from its version.py: importing torch takes seconds."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    cuda: str | None = runpy.run_path(str(Path(spec.origin).with_name("version.py")))["cuda"]
    return cuda
