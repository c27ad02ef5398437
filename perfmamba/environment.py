"""What a result was measured on: machine, versions and commit, and nothing about who or where.

No host name, user name or path is ever read into an `Environment`.
"""

import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

import perfmamba

_DRIVER_FILE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Environment:
    """The machine and the software of one run.

    Attributes:
        device: the GPU's name, or the CPU's when the run was on the CPU.
        cpu: the CPU's name.
        cpu_threads: threads that torch computes with.
        system: operating system and architecture, such as `Linux x86_64`.
        driver: the NVIDIA driver's version; None without one.
        cuda: the CUDA version torch was built for; None for a CPU build.
        versions: version of each package that matters to the numbers; absent ones are left out.
        commit: the commit of the perfmamba checkout, with `-dirty` if it has changes; None when
            perfmamba runs from an installed wheel.
    """

    device: str
    cpu: str
    cpu_threads: int
    system: str
    driver: str | None
    cuda: str | None
    versions: dict[str, str]
    commit: str | None

    def __str__(self) -> str:
        """One line for the foot of a table."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        threads = f"CPU threads: {self.cpu_threads}"
        cuda = f"; driver {self.driver}, CUDA {self.cuda}" if self.driver else ""
        return f"{self.device} ({threads}{cuda}); {versions}; commit {self.commit or 'unknown'}"


_PACKAGES = ("torch", "triton", "transformers", "mamba-ssm", "causal-conv1d")


def capture_environment(device: torch.device) -> Environment:
    """Describe the machine that `device` belongs to and the software now loaded."""
    cpu = _cpu_name()
    return Environment(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        cpu=cpu,
        cpu_threads=torch.get_num_threads(),
        system=f"{platform.system()} {platform.machine()}",
        driver=_driver_version(),
        cuda=torch.version.cuda,
        versions={
            "perfmamba": perfmamba.__version__,
            "python": platform.python_version(),
            **{name: version for name in _PACKAGES if (version := _installed_version(name))},
        },
        commit=_commit(),
    )


def _installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    """The CPU's model name; `platform.processor()` is empty on most Linux systems."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.machine()


def _driver_version() -> str | None:
    try:
        text = _DRIVER_FILE.read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"(\d+\.\d+(\.\d+)?)", text)
    return found[1] if found else None


def _commit() -> str | None:
    """The commit of the checkout that this package is imported from."""
    checkout = Path(__file__).resolve().parent.parent
    git = shutil.which("git")
    if git is None or not (checkout / ".git").exists():
        return None
    try:
        described = subprocess.run(  # noqa: S603  # fixed arguments, the git of the user's PATH
            [git, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
