"""Whether the tensors given to an operation fit each other: one error that says which does not, and why.

In: an operation's tensors, and for each the letters of its axes. Out: nothing, or `KernelError`.
"""

from collections.abc import Mapping

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
    x, *_ = (tensor for tensor in tensors.values() if tensor is not None)
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        letters = axes[name].split()
        expected = [_size(letter, sizes) for letter in letters]
        if tensor.ndim != len(letters) or any(
            known not in {None, size} for known, size in zip(expected, tensor.shape, strict=True)
        ):
            where = ", ".join(
                f"{letter} = {size}"
                for letter, size in zip(letters, expected, strict=True)
                if size is not None
            )
            axis_names = f"({', '.join(letters)})" + (f" with {where}" if where else "")
            raise KernelError(f"{operation}: {name} is {tuple(tensor.shape)} but must be {axis_names}")
        sizes |= zip(letters, tensor.shape, strict=True)
        if tensor.device != x.device:
            raise KernelError(f"{operation}: {name} is on {tensor.device}, other tensors on {x.device}")
        if not tensor.is_floating_point():
            raise KernelError(f"{operation}: {name} is {tensor.dtype} but must be floating-point")
    return sizes


def _size(letter: str, sizes: Mapping[str, int]) -> int | None:
    """The size of an axis; None if it is not fixed yet. "k-1" is one less than k."""
    whole, minus, less = letter.partition("-")
    size = sizes.get(whole)
    return size - int(less) if minus and size is not None else size


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


def check_groups(operation: str, heads: int, groups: int) -> None:
    """Each group must be shared by equally many heads.

    Raises:
        KernelError: if it cannot be.
    """
    if not groups or heads % groups:
        raise KernelError(f"{operation}: {heads} heads cannot share {groups} groups of B and C equally")


def check_no_gradient(operation: str, tensors: Mapping[str, Tensor | None]) -> None:
    """The fast backends write into buffers, and have no backward pass.

    Raises:
        KernelError: if autograd would record the operation.
    """
    recorded = [name for name, tensor in tensors.items() if tensor is not None and tensor.requires_grad]
    if torch.is_grad_enabled() and recorded:
        raise KernelError(
            f"{operation}: no backward pass, but {', '.join(recorded)} requires a gradient; "
            "call it under torch.no_grad() or torch.inference_mode()"
        )
