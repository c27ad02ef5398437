"""Seeded random numbers to make the inputs of a case of."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


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
