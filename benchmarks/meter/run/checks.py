"""Checks that the instruments are right on this machine's GPU; they take seconds.

In: the GPU that torch would use. Out: a line for each check, with its numbers. The checks initialize CUDA, so
they have a process of their own: `python -m benchmarks.meter.run.checks`. Exit code 2 means that one failed.
"""

import sys
import time
from collections.abc import Callable, Iterable

from benchmarks.meter.gpu.errors import NvmlError
from benchmarks.meter.gpu.identity import first_device
from benchmarks.meter.gpu.nvml import open_cuda_device
from benchmarks.meter.host import first_line
from benchmarks.meter.measure.clocks import clock, device
from benchmarks.meter.measure.memory import allocated_peak

EXIT_CODES = (0, 2)

MATRIX_SIDE = 4096
"""The size of the matrix products that are timed. They take milliseconds, much longer than a launch."""

_MIB = 2**20
_TENSOR_BYTES = 64 * _MIB
_PRODUCTS = 20


class CheckError(Exception):
    """An instrument is wrong."""


def identity() -> str:
    """Check that torch, NVML and the name of the results mean the same device."""
    with open_cuda_device() as opened:
        named = first_device()
        if named is None or named.uuid != opened.uuid:
            filed_under = f"{named.name}, {named.uuid}" if named else "a machine without a GPU"
            raise CheckError(
                f"torch computes on {opened.name}, {opened.uuid}, but results are filed under {filed_under}: "
                "select the device by UUID in CUDA_VISIBLE_DEVICES"
            )
        return f"torch, NVML and the name of the results mean one device: {opened.name}, {opened.uuid}"


def allocator() -> str:
    """Check that the allocator's peak for a tensor is the size of the tensor."""
    import torch

    peak = allocated_peak(lambda: torch.empty(_TENSOR_BYTES, dtype=torch.int8, device=device()))
    if peak.growth != _TENSOR_BYTES:
        raise CheckError(f"the allocator counts {peak.growth} bytes for a tensor of {_TENSOR_BYTES}")
    return f"the allocator counts {peak.growth // _MIB} MiB for a tensor of that size"


def events() -> str:
    """Check that CUDA's events agree with the wall clock for long kernels, within a factor of two."""
    hot = clock("hot")
    product = _product()
    hot.seconds([product] * 3)
    start = time.perf_counter()
    by_events = sum(hot.seconds([product] * _PRODUCTS))
    wall = time.perf_counter() - start
    told = f"{_PRODUCTS} matrix products took {by_events:.4f} s by {hot.name}, {wall:.4f} s on the wall"
    if not 0.5 < by_events / wall < 1.05:
        raise CheckError(told)
    return told


def profiler() -> str:
    """Check that a profile of a matrix product holds its kernels."""
    from torch.autograd import DeviceType  # type: ignore[attr-defined] # torch does not export it by name
    from torch.profiler import ProfilerActivity, profile

    product = _product()
    product()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        product()
    kernels = [event.name for event in trace.events() if event.device_type == DeviceType.CUDA]
    if not kernels:
        raise CheckError("a profile of a matrix product holds no kernel: another profiler may hold CUPTI")
    return f"a profile of a matrix product holds kernels: {', '.join(sorted(set(kernels)))}"


CHECKS = (identity, allocator, events, profiler)


def main(checks: Iterable[Callable[[], str]] = CHECKS) -> int:
    """Print a line for each check; returns the exit code."""
    if device() == "cpu":
        print("device check FAILED: torch computes on the CPU")
        return 2
    code = 0
    for check in checks:
        try:
            print(f"device check ok: {check()}", flush=True)
        except (CheckError, NvmlError, RuntimeError, OSError) as error:
            code = 2
            print(f"device check FAILED: {check.__name__}: {first_line(error)}", flush=True)
    return code


def _product() -> Callable[[], object]:
    import torch

    matrix = torch.ones(MATRIX_SIDE, MATRIX_SIDE, device=device())
    return lambda: matrix @ matrix


if __name__ == "__main__":
    sys.exit(main())
