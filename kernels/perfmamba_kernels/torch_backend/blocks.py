"""How much of a batch to work on at a time."""

from collections.abc import Iterator

from torch import Tensor

ELEMENTS = 2**18
"""A megabyte of float32: what several passes find in a core's cache."""


def in_cache(states: Tensor) -> Iterator[slice]:
    """Slices of a batch of states whose elements stay in the cache together; all of it on a GPU."""
    rows = len(states)
    if rows and states.device.type == "cpu":
        rows = max(1, ELEMENTS * rows // states.numel())
    for start in range(0, len(states), max(1, rows)):
        yield slice(start, start + rows)
