"""The inputs of a case, and what it must cost.

In: a `Case`. Out: seeded arguments, and its `Work`.
"""

import torch
from perfmamba_kernels import costs
from perfmamba_kernels.costs import Work

from benchmarks.kernel_table.draw import Draw
from benchmarks.kernel_table.operation import Arguments, Case
from benchmarks.kernel_table.registry import OPERATIONS


def arguments(case: Case, device: str, seed: int = 0) -> Arguments:
    """Seeded random arguments: A as the models initialize it, dt around 0.05."""
    generator = torch.Generator(device).manual_seed(seed)
    return OPERATIONS[case.operation].arguments(case, Draw(generator, getattr(torch, case.dtype)))


def work(case: Case) -> Work:
    """The least that the case needs."""
    needed: Work = getattr(costs, case.operation)(**OPERATIONS[case.operation].cost(case))
    return needed
