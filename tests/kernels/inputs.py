"""Arguments for the kernels, fixed by seeds; and arguments cut to some positions.

In: sizes and a dtype. Out: the arguments by name, in the order of `perfmamba_kernels.reference`. Letters: as
there.
"""

from functools import partial

import torch

F64 = torch.float64


def normal(*shape: int, seed: int, dtype: torch.dtype = F64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def conv_inputs(channels: int, taps: int, length: int, dtype: torch.dtype = F64) -> dict[str, torch.Tensor]:
    return {
        "x": normal(2, channels, length, seed=0, dtype=dtype),
        "weight": normal(channels, taps, seed=1, dtype=dtype),
        "bias": normal(channels, seed=2, dtype=dtype),
    }


def scan_inputs(
    states: int, length: int, dtype: torch.dtype = F64, *, batch: int = 2, channels: int = 6
) -> dict[str, torch.Tensor]:
    """Arguments of `selective_scan`."""
    make = partial(normal, dtype=dtype)
    return {
        "u": make(batch, channels, length, seed=0),
        "delta": make(batch, channels, length, seed=1),
        "A": -make(channels, states, seed=2).exp(),
        "B": make(batch, states, length, seed=3),
        "C": make(batch, states, length, seed=4),
        "D": make(channels, seed=5),
        "z": make(batch, channels, length, seed=6),
        "delta_bias": make(channels, seed=7),
    }


def ssd_inputs(
    states: int,
    length: int,
    groups: int = 1,
    dtype: torch.dtype = F64,
    *,
    batch: int = 2,
    heads: int = 6,
    head_dim: int = 4,
) -> dict[str, torch.Tensor]:
    """Arguments of `ssd`."""
    make = partial(normal, dtype=dtype)
    return {
        "x": make(batch, length, heads, head_dim, seed=0),
        "dt": make(batch, length, heads, seed=1),
        "A": -make(heads, seed=2).exp(),
        "B": make(batch, length, groups, states, seed=3),
        "C": make(batch, length, groups, states, seed=4),
        "D": make(heads, seed=5),
        "z": make(batch, length, heads, head_dim, seed=6),
        "dt_bias": make(heads, seed=7),
    }


def at(
    inputs: dict[str, torch.Tensor], names: set[str], dim: int, positions: slice
) -> dict[str, torch.Tensor]:
    """The inputs with the named ones cut to some positions."""
    cut = (slice(None),) * dim + (positions,)
    return {name: value[cut] if name in names else value for name, value in inputs.items()}


cut_conv = partial(at, names={"x"}, dim=2)
cut_scan = partial(at, names={"u", "delta", "B", "C", "z"}, dim=2)
cut_ssd = partial(at, names={"x", "dt", "B", "C", "z"}, dim=1)
