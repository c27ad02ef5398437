"""What the scans and steps of this backend share: how much to work on at a time, and decays."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

ELEMENTS = 2**18
"""A megabyte of float32: what several passes find in a core's cache."""


def in_cache(states: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Sequences of a batch of states that stay in the cache together, and the same ones of the others.

    On a GPU, and where they all fit, these are the tensors as they are: to slice them takes longer than to
    work on few states.
    """
    tensors = (states, *others)
    if states.device.type != "cpu" or states.numel() <= ELEMENTS:
        yield tensors
        return
    rows = max(1, ELEMENTS * len(states) // states.numel())
    yield from zip(*(torch.split(tensor, rows) for tensor in tensors), strict=True)


def decay(logarithm: Tensor, out: Tensor | None = None) -> Tensor:
    """The exponential, where what would be below the dtype's normal numbers is the least of these.

    Beside any state that is the same as zero; and on a CPU numbers below that take a hundred times as long.
    """
    lowest = math.log(2 * torch.finfo(logarithm.dtype).tiny)
    return torch.clamp(logarithm, min=lowest, out=out).exp_()
