"""Sequences of different lengths in one batch row, behind each other: a scan of each by itself.

In: a scan of equally long sequences and the arguments of `reference.ssd`. Out: what it returns.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from torch import Tensor

from perfmamba_kernels.elementwise import first_state


def each_sequence(
    scan: Callable[..., tuple[Tensor, Tensor]],
    arguments: tuple[Tensor | None, ...],
    cu_seqlens: Tensor,
    initial_states: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Scan packed sequences one after the other.

    Args:
        scan: as `reference.ssd`, without `cu_seqlens`.
        arguments: x, dt, A, B, C, D, z, dt_bias, as there; the batch is 1.
        cu_seqlens: (s + 1,), where each sequence begins and the last one ends.
        initial_states: (s, h, p, n); zeros by default.
        options: passed on.

    Returns:
        y (1, l, h, p) and final states (s, h, p, n).
    """
    x, dt, A, B, C, D, z, dt_bias = arguments
    assert x is not None
    assert dt is not None
    assert B is not None
    assert C is not None
    shape = (len(cu_seqlens) - 1, *x.shape[2:], B.shape[3])
    states, y = first_state(x, shape, initial_states), x.new_empty(x.shape)
    for number, (start, end) in enumerate(pairwise(cu_seqlens.tolist())):
        one, part = slice(number, number + 1), slice(start, end)
        gate = None if z is None else z[:, part]
        y[:, part], states[one] = scan(
            x[:, part],
            dt[:, part],
            A,
            B[:, part],
            C[:, part],
            D,
            gate,
            dt_bias,
            initial_states=states[one],
            **options,
        )
    return y, states
