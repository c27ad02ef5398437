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
_PATIENCE_S = 30


@dataclass(frozen=True)
class Environment:
    """The machine and the software of one run.

    Attributes:
        device: the GPU's name, or the CPU's when the run was on the CPU.
        cpu: the CPU's name.
        cpu_threads: threads that torch computes with.
        system: operating system and architecture, such as `Linux x86_64`.
        driver: the NVIDIA driver's version; None on a CPU, or where nothing tells.
        tf32: where torch may use TF32 for float32 on this device: `matmul`, `convolution`; empty on a CPU.
        cuda: the CUDA version torch was built for; None on a CPU.
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
    tf32: tuple[str, ...]
    versions: dict[str, str]
    commit: str | None

    def __str__(self) -> str:
        """One line for the foot of a table."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        threads = f"CPU threads: {self.cpu_threads}"
        driver = f", driver {self.driver}" if self.driver else ""
        cuda = f", CUDA {self.cuda}" if self.cuda else ""
        tf32 = f", TF32 in {' and '.join(self.tf32)}" if self.tf32 else ""
        return f"{self.device} ({threads}{driver}{cuda}{tf32}); {versions}; commit {self.commit or 'unknown'}"


_PACKAGES = ("torch", "triton", "transformers", "mamba-ssm", "causal-conv1d")


def capture_environment(device: torch.device) -> Environment:
    """Describe the machine that `device` belongs to and the software now loaded."""
    cpu = _cpu_name()
    on_gpu = device.type == "cuda"
    return Environment(
        device=torch.cuda.get_device_name(device) if on_gpu else cpu,
        cpu=cpu,
        cpu_threads=torch.get_num_threads(),
        system=f"{platform.system()} {platform.machine()}",
        driver=_driver_version() if on_gpu else None,
        cuda=torch.version.cuda if on_gpu else None,
        tf32=_tf32_uses() if on_gpu else (),
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
    """From the kernel module, or, where a container hides it, from nvidia-smi."""
    try:
        found = re.search(r"\d+\.\d+(\.\d+)?", _DRIVER_FILE.read_text(encoding="utf-8"))
    except OSError:
        answer = _output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        return answer.splitlines()[0].strip() if answer else None
    return found[0] if found else None


def _tf32_uses() -> tuple[str, ...]:
    allowed = {
        "matmul": torch.backends.cuda.matmul.allow_tf32,
        "convolution": torch.backends.cudnn.allow_tf32,
    }
    return tuple(use for use, is_allowed in allowed.items() if is_allowed)


def _commit() -> str | None:
    """The commit of the checkout that this package is imported from."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None
    described = ("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    return _output_of("git", "-C", str(checkout), *described)


def _output_of(program: str, *arguments: str) -> str | None:
    """What a program prints; None if it is absent, fails or prints nothing."""
    found = shutil.which(program)
    if found is None:
        return None
    try:
        finished = subprocess.run(  # noqa: S603  # fixed arguments, a program of the user's PATH
            [found, *arguments], capture_output=True, text=True, check=True, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip() or None
