"""What the meter has to know of its host, in one module of its own.

The meter measures packages, so it may not import one that it measures: asv puts another commit's version in
its place for every run, and a change there must not change how it is measured. `perfmamba` has functions
that resemble some of these. This module is the one place where that repetition is meant. It imports neither
torch nor asv, so that every process of the meter can use it.

The GPU's name and the version of its driver are in `gpu.identity`, which can ask NVML.
"""

import gc
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CPU_FILE = Path("/proc/cpuinfo")
_CPU_FIELD = re.compile(r"^model name\s*:\s*(.+?)\s*$", re.MULTILINE)

_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|_ALLOC(ATION)?_FAILED", re.IGNORECASE)
"""What CUDA and Triton say, torch on a CPU, and cuBLAS, cuDNN and cuFFT."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a tensor did not fit, on the GPU or on the host."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


def out_of_memory_reason(error: BaseException) -> str:
    """Return one line that says what did not fit, such as "out of memory: Tried to allocate 2 GiB"."""
    return f"out of memory: {first_line(error)}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; the name of its class if the message is empty."""
    message, _, _ = str(error).strip().partition("\n")
    return message.rstrip() or type(error).__name__


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` when the block succeeds.

    If the block fails, `path` stays as it was. Folders that are missing are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def without_gc() -> Iterator[None]:
    """Keep Python's cyclic garbage collector from running in the block.

    A collection takes longer than many calls that are timed. Objects without references are freed as ever.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def cpu_name() -> str:
    """Return the model name of the CPU; the architecture, such as "aarch64", where the system has no name."""
    if sys.platform == "darwin":
        return _output_of("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    try:
        found = _CPU_FIELD.search(_CPU_FILE.read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def commit_of(folder: str | os.PathLike[str]) -> str | None:
    """Return the hash of the commit that is checked out in a folder; None where git does not tell.

    The hash ends in "-dirty" if tracked files differ from the commit.
    """
    # without --exclude, a tag would stand in front of the hash
    describe = ("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    return _output_of("git", "-C", os.fspath(folder), *describe)


def _output_of(*command: str) -> str | None:
    """What a command prints; None if it fails, is missing or prints nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
