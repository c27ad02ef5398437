"""How much of a batch to work on at a time."""

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
