"""The inputs of a case, and what it must cost.

In: a `Case`. Out: seeded arguments, and its `Work`.
"""

import math
from dataclasses import dataclass

import torch
from perfmamba_kernels import costs
from perfmamba_kernels.costs import Work
from torch import Tensor

from benchmarks.kernel_table.operation import Arguments, Case
from benchmarks.kernel_table.registry import OPERATIONS


@dataclass(frozen=True)
class Draw:
    """Where numbers come from: normal ones of the case's dtype, and constants in float32."""

    generator: torch.Generator
    dtype: torch.dtype

    def __call__(self, *shape: int) -> Tensor:
        return self._normal(*shape).to(self.dtype)

    def constants(self, size: int) -> Tensor:
        """So many constants, such as D."""
        return self._normal(size)

    def decay_rates(self, size: int) -> Tensor:
        """A of so many heads, or of so many states of a channel: -1, -2, ..., -size."""
        return -torch.arange(1.0, size + 1, device=self.generator.device)

    def step_bias(self, size: int) -> Tensor:
        """What makes steps, after softplus, scatter around 0.05."""
        return self._normal(size) / 3 + math.log(math.expm1(0.05))

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.generator.device)


def arguments(case: Case, device: str, seed: int = 0) -> Arguments:
    """Seeded random arguments: A as the models initialize it, dt around 0.05."""
    generator = torch.Generator(device).manual_seed(seed)
    return OPERATIONS[case.operation].arguments(case, Draw(generator, getattr(torch, case.dtype)))


def work(case: Case) -> Work:
    """The least that the case needs."""
    needed: Work = getattr(costs, case.operation)(**OPERATIONS[case.operation].cost(case))
    return needed
