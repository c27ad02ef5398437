"""A kernel that computes exponentials of numbers in registers, and next to nothing else."""

from collections.abc import Callable

import torch
import triton
import triton.language as tl

_PROGRAMS_A_MULTIPROCESSOR, _NUMBERS, _ROUNDS = 16, 1024, 1024


def exponentials() -> tuple[int, Callable[[], object]]:
    """How many exponentials a call computes, and the call."""
    programs = (
        _PROGRAMS_A_MULTIPROCESSOR
        * torch.cuda.get_device_properties(torch.cuda.current_device()).multi_processor_count
    )
    out = torch.empty(programs * _NUMBERS, device="cuda")
    return programs * _NUMBERS * _ROUNDS, lambda: repeated_exponentials[programs,](out, _ROUNDS, _NUMBERS)


@triton.jit
def repeated_exponentials(
    out: tl.tensor,
    rounds: tl.tensor,
    NUMBERS: tl.constexpr,  # noqa: N803 - a constant, as Triton's users write it
) -> None:
    """Write 2^-2^-...^-x, which stays between 0.5 and 1, for as many numbers a program."""
    offsets = tl.program_id(0) * NUMBERS + tl.arange(0, NUMBERS)
    x = 1.0 / (1 + offsets).to(tl.float32)
    for _ in range(rounds):
        x = tl.exp2(-x)
    tl.store(out + offsets, x)
