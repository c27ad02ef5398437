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
    """The exponential, or 1e-19 (in float64 1e-154) where it would be less.

    Beside what a state gains later that is the same as zero. But a processor takes a hundred times as long
    for numbers below the normal ones, which smaller decays are or make of what they are multiplied with, and
    models do forget that fast.
    """
    return torch.clamp(logarithm, min=math.log(torch.finfo(logarithm.dtype).tiny) / 2, out=out).exp_()
