"""A kernel launch as a value: planned from shapes, strides and dtypes, then run or only compiled."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from triton import knobs


@dataclass(frozen=True)
class Launch:
    """One launch of a Triton kernel."""

    kernel: Any  # a triton.JITFunction; in Triton's interpreter, its stand-in
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]  # a tensor first; by position, since names would cost a decode step its time
    constants: dict[str, Any]  # the kernel's constexpr parameters, which come after the others
    num_warps: int
    num_stages: int

    def run(self) -> None:
        """Start the kernel on the device of its first tensor; an empty grid starts nothing."""
        planned = _planned.get()
        if planned is not None:
            planned.append(self)
            return
        if 0 in self.grid:
            return
        with torch.cuda.device(self.arguments[0].get_device()):  # -1, which changes nothing, for a CPU
            options = compile_options(self.num_warps, self.num_stages)
            self.kernel[self.grid](*self.arguments, **self.constants, **options)


# The launches of an operation that is only planned; None where they are run.
_planned: ContextVar[list[Launch] | None] = ContextVar("planned", default=None)


def launches(operation: Callable[..., object], *arguments: object, **options: object) -> list[Launch]:
    """The launches that an operation makes of its arguments, none of them run.

    Planning reads no data: "meta" tensors give the launches of real ones of their shapes and strides.
    """
    token = _planned.set([])
    try:
        operation(*arguments, **options)
        return _planned.get() or []
    finally:
        _planned.reset(token)


def strides(tensor: Tensor | None, dims: int) -> tuple[int, ...]:
    """A tensor's strides; zeros for one that is not there."""
    return (0,) * dims if tensor is None else tensor.stride()


def compile_options(num_warps: int, num_stages: int) -> dict[str, Any]:
    """Triton's options; it fuses multiply-adds by default only up to version 3.9, and warns of the change."""
    return {"num_warps": num_warps, "num_stages": num_stages, "enable_fp_fusion": True}


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, which computes wrongly in bfloat16."""
    return bool(knobs.runtime.interpret)
