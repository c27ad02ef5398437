"""Whether the tensors given to an operation fit each other: one error that says which does not, and why.

In: an operation's tensors, and for each the letters of its axes. Out: nothing, or `KernelError`.
"""

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor


class KernelError(ValueError):
    """Input that no backend, or not the one asked for, can compute."""


def check(operation: str, axes: Mapping[str, str], tensors: Mapping[str, Tensor | None]) -> dict[str, int]:
    """Hold every tensor against the axes it must have; the same letter is the same size everywhere.

    Args:
        operation: for the message.
        axes: for each tensor the letters of its axes, such as "b l h p".
        tensors: by the same names, in the order in which they fix the sizes; None is not looked at.

    Returns:
        the size of each letter.

    Raises:
        KernelError: if a tensor has other axes, lies on another device, or holds no floating-point numbers.
    """
    sizes: dict[str, int] = {}
    device = None
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        letters, shape = _letters(axes[name]), tensor.shape
        fits = len(shape) == len(letters)
        if fits:
            for (letter, less), size in zip(letters, shape, strict=True):
                fits = fits and sizes.setdefault(letter, size + less) == size + less
        if not fits:
            raise KernelError(f"{operation}: {name} is {tuple(shape)} but must be {_text(axes[name], sizes)}")
        device = device or tensor.device
        if tensor.device != device:
            raise KernelError(f"{operation}: {name} is on {tensor.device}, other tensors on {device}")
        if not tensor.is_floating_point():
            raise KernelError(f"{operation}: {name} is {tensor.dtype} but must be floating-point")
    return sizes


@cache
def _letters(axes: str) -> tuple[tuple[str, int], ...]:
    """Each axis: its letter, and by how much it is shorter: "b k-1" is (("b", 0), ("k", 1))."""
    split = [axis.partition("-") for axis in axes.split()]
    return tuple((letter, int(less or 0)) for letter, _, less in split)


def _text(axes: str, sizes: Mapping[str, int]) -> str:
    """Axes for people, with the sizes that are known."""
    known = ", ".join(f"{letter} = {sizes[letter]}" for letter, _ in _letters(axes) if letter in sizes)
    return f"({', '.join(axes.split())})" + (f" with {known}" if known else "")


def check_cu_seqlens(operation: str, cu_seqlens: Tensor, x: Tensor) -> int:
    """The number of sequences that are packed into x (1, l, ...).

    Raises:
        KernelError: if `cu_seqlens` is not a row of integers beside x; on a CPU, too, if it does not ascend
            from 0 to l.
    """
    integers = cu_seqlens.dtype in {torch.int32, torch.int64}
    if cu_seqlens.ndim != 1 or not len(cu_seqlens) or not integers or cu_seqlens.device != x.device:
        raise KernelError(
            f"{operation}: cu_seqlens is {tuple(cu_seqlens.shape)} {cu_seqlens.dtype} on {cu_seqlens.device} "
            f"but must be (sequences + 1,) int32 or int64 on {x.device}"
        )
    if len(x) != 1:
        raise KernelError(f"{operation}: with cu_seqlens the batch must be 1, not {len(x)}")
    if cu_seqlens.device.type == "cpu":
        bounds = cu_seqlens.tolist()
        if bounds != sorted(bounds) or (bounds[0], bounds[-1]) != (0, x.shape[1]):
            raise KernelError(
                f"{operation}: cu_seqlens {bounds} must ascend from 0 to the length {x.shape[1]}"
            )
    return len(cu_seqlens) - 1


def check_activation(operation: str, activation: str | None) -> None:
    """Check that an activation is one that every backend computes.

    Raises:
        KernelError: if it is not None, "silu" or "swish", which is another name of SiLU.
    """
    if activation not in {None, "silu", "swish"}:
        raise KernelError(
            f"{operation}: activation {activation!r} is not supported; use 'silu', 'swish' or None"
        )


def check_groups(operation: str, heads: int, groups: int) -> None:
    """Each group must be shared by equally many heads.

    Raises:
        KernelError: if it cannot be.
    """
    if not groups or heads % groups:
        raise KernelError(f"{operation}: {heads} heads cannot share {groups} groups of B and C equally")


def check_no_gradient(operation: str, tensors: Mapping[str, Tensor | None]) -> None:
    """The backends write into buffers and states, and have no backward pass.

    Raises:
        KernelError: if autograd would record the operation.
    """
    if not torch.is_grad_enabled():
        return
    recorded = [name for name, tensor in tensors.items() if tensor is not None and tensor.requires_grad]
    if recorded:
        raise KernelError(
            f"{operation}: no backward pass, but {', '.join(recorded)} requires a gradient; "
            "call it under torch.no_grad() or torch.inference_mode()"
        )
