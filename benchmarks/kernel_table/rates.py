"""What this machine can do in a second: its largest matrix product, copying memory, exponentials.

In: dtypes. Out: `MachineRates`, each the best of what was seen, so that a floor computed from them is one.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from perfmamba_kernels.costs import Rates, Work

from benchmarks.meter.measure.clocks import clock, device, device_name

_MIB = 2**20
_SIDES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
_COPIED_BYTES = {
    "cpu": (_MIB // 8, _MIB // 2, 2 * _MIB, 8 * _MIB, 32 * _MIB, 256 * _MIB),
    "cuda": (256 * _MIB, 1024 * _MIB),
}
"""On a GPU only what no cache holds: its caches are cold when a contender is called."""
_CACHED_NUMBERS = (2**14, 2**16, 2**18)
"""float32 numbers that fit into the caches of a CPU."""
_CALLS = 6

Measured = tuple[float, Callable[[], object]]
"""How much of something a call does, and the call."""


@dataclass(frozen=True)
class MachineRates:
    """What the device that torch computes on does in a second.

    Attributes:
        name: of the device.
        matmul_flops: FLOPs of the fastest matrix product, by dtype.
        moved_bytes: bytes read or written by a copy, by how many it moves in all: a CPU finds a few in
            its caches.
        exponentials: of float32 numbers.
    """

    name: str
    matmul_flops: dict[str, float]
    moved_bytes: dict[int, float]
    exponentials: float

    def of(self, dtype: str, work: Work) -> Rates:
        """The rates for some work: of copies, the fastest that moves as much or more."""
        as_large = [rate for size, rate in self.moved_bytes.items() if size >= work.moved_bytes]
        largest = self.moved_bytes[max(self.moved_bytes)]
        return Rates(self.name, self.matmul_flops[dtype], max(as_large, default=largest), self.exponentials)


def machine_rates(dtypes: Iterable[str]) -> MachineRates:
    """Measure them, products in these dtypes."""
    return MachineRates(
        name=device_name(),
        matmul_flops={dtype: max(map(_rate, _products(dtype))) for dtype in dtypes},
        moved_bytes={2 * size: _rate(_copy(size)) for size in _COPIED_BYTES[device()]},
        exponentials=max(map(_rate, _exponentials())),
    )


def _rate(measured: Measured) -> float:
    amount, call = measured
    used = clock("hot", queue="full")
    with torch.inference_mode(), _fastest_products():
        used.seconds([call] * 2)
        return amount / min(used.seconds([call] * _CALLS))


def _products(dtype: str) -> Iterator[Measured]:
    for side in _SIDES[device()]:
        a = torch.randn(side, side, device=device()).to(getattr(torch, dtype))
        b, out = a.t().contiguous(), torch.empty_like(a)
        yield 2 * side**3, partial(torch.mm, a, b, out=out)


def _copy(size: int) -> Measured:
    """Bytes read and bytes written both count."""
    source = torch.zeros(size, dtype=torch.uint8, device=device())
    target = torch.ones_like(source)
    return 2 * size, lambda: target.copy_(source)


def _exponentials() -> Iterable[Measured]:
    """On a GPU of numbers in registers: an operator of torch's would be bound by memory."""
    if device() == "cuda":
        from benchmarks.kernel_table.exponentials import exponentials

        return [exponentials()]
    return [_cached_exponentials(count) for count in _CACHED_NUMBERS]


def _cached_exponentials(count: int) -> Measured:
    numbers, out = torch.linspace(-1, 0, count), torch.empty(count)
    return count, lambda: torch.exp(numbers, out=out)


@contextmanager
def _fastest_products() -> Iterator[None]:
    """float32 on tensor cores, which all contenders may use in one way or another."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
