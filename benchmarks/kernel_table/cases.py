"""What is measured: operations at the shapes of the 130m models, their inputs, and what they must cost.

In: sizes. Out: for each `Case` its arguments, by the names of `perfmamba_kernels.reference` and in its
order, and its `Work`. The arguments lie in memory as a model's mixer hands them over: the channels of a
position next to each other, and x, B and C of Mamba-2 as slices of one tensor.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from perfmamba_kernels import costs
from perfmamba_kernels.costs import Work
from torch import Tensor

CHANNELS, TAPS = 1536, 4
"""Of both models."""
HEADS, HEAD_DIM = 24, 64
MAMBA1, MAMBA2 = "mamba-130m", "mamba2-130m"
SHORT = 300
"""Positions of a case that is small enough for the sequential reference in float64, and no multiple of any
chunk."""

STATES = {
    "ssd_update": "state",
    "selective_state_update": "state",
    "causal_conv1d_update": "conv_state",
}
"""The argument that a step updates in place."""

OPTIONS: dict[str, dict[str, Any]] = {
    "ssd": {"dt_softplus": True},
    "ssd_update": {"dt_softplus": True},
    "selective_scan": {"delta_softplus": True},
    "selective_state_update": {"dt_softplus": True},
    "causal_conv1d": {"activation": "silu"},
    "causal_conv1d_update": {"activation": "silu"},
}
"""How the models call each operation."""

Arguments = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """An operation of a layer.

    Attributes:
        operation: a function of `perfmamba_kernels`.
        model: whose layer.
        batch: sequences.
        seqlen: positions of each; 1 for a step.
        states: N.
        dtype: of inputs, outputs and of a step's state; constants (A, D, the bias of dt) are float32.
    """

    operation: str
    model: str
    batch: int
    seqlen: int
    states: int
    dtype: str = "float32"

    def __str__(self) -> str:
        sizes = f"b={self.batch} L={self.seqlen} N={self.states}"
        return f"{self.operation} {self.model} {sizes} {self.dtype}"

    @property
    def channels(self) -> int:
        """What the convolution convolves: x, and in Mamba-2 B and C."""
        return CHANNELS + (2 * self.states if self.model == MAMBA2 else 0)

    @property
    def itemsize(self) -> int:
        """Bytes a number of the dtype."""
        return getattr(torch, self.dtype).itemsize

    @property
    def shortened(self) -> "Case":
        """The same, small enough for the reference."""
        return replace(self, batch=min(self.batch, 2), seqlen=min(self.seqlen, SHORT))


def arguments(case: Case, device: str, seed: int = 0) -> Arguments:
    """Seeded random arguments: A as the models initialise it, dt around 0.05."""
    generator = torch.Generator(device).manual_seed(seed)
    return _MAKERS[case.operation](case, _Source(generator, getattr(torch, case.dtype)))


def work(case: Case) -> Work:
    """The least that the case needs."""
    return _WORKS[case.operation](case)


@dataclass(frozen=True)
class _Source:
    """Where numbers come from: normal ones of the case's dtype, and constants in float32."""

    generator: torch.Generator
    dtype: torch.dtype

    def __call__(self, *shape: int) -> Tensor:
        return self._normal(*shape).to(self.dtype)

    def constants(self, size: int) -> Tensor:
        return self._normal(size)

    def decay_rates(self, size: int) -> Tensor:
        """A of so many heads, or of so many states of a channel: -1, -2, ..., -size."""
        return -torch.arange(1.0, size + 1, device=self.generator.device)

    def step_bias(self, size: int) -> Tensor:
        """What makes steps, after softplus, scatter around 0.05."""
        return self._normal(size) / 3 + math.log(math.expm1(0.05))

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.generator.device)


def _ssd(case: Case, draw: _Source) -> Arguments:
    x, b, c = draw(case.batch, case.seqlen, case.channels).split([CHANNELS, case.states, case.states], dim=2)
    return {
        "x": x.unflatten(2, (HEADS, HEAD_DIM)),
        "dt": draw(case.batch, case.seqlen, HEADS),
        "A": draw.decay_rates(HEADS),
        "B": b[:, :, None],
        "C": c[:, :, None],
        "D": draw.constants(HEADS),
        "dt_bias": draw.step_bias(HEADS),
    }


def _ssd_update(case: Case, draw: _Source) -> Arguments:
    state = draw(case.batch, HEADS, HEAD_DIM, case.states)
    return {"state": state, **_first_position(_ssd(case, draw), {"x", "dt", "B", "C"}, dim=1)}


def _selective_scan(case: Case, draw: _Source) -> Arguments:
    def across(features: int) -> Tensor:
        return draw(case.batch, case.seqlen, features).transpose(1, 2)

    return {
        "u": across(CHANNELS),
        "delta": across(CHANNELS),
        "A": draw.decay_rates(case.states).repeat(CHANNELS, 1),
        "B": across(case.states),
        "C": across(case.states),
        "D": draw.constants(CHANNELS),
        "z": across(CHANNELS),
        "delta_bias": draw.step_bias(CHANNELS),
    }


def _selective_state_update(case: Case, draw: _Source) -> Arguments:
    state = draw(case.batch, CHANNELS, case.states)
    scan = _first_position(_selective_scan(case, draw), {"u", "delta", "B", "C", "z"}, dim=2)
    names = {"u": "x", "delta": "dt", "delta_bias": "dt_bias"}
    return {"state": state, **{names.get(name, name): value for name, value in scan.items()}}


def _causal_conv1d(case: Case, draw: _Source) -> Arguments:
    x = draw(case.batch, case.seqlen, case.channels).transpose(1, 2)
    return {"x": x, "weight": draw(case.channels, TAPS), "bias": draw(case.channels)}


def _causal_conv1d_update(case: Case, draw: _Source) -> Arguments:
    return {
        "x": draw(case.batch, case.channels),
        "conv_state": draw(case.batch, case.channels, TAPS),
        "weight": draw(case.channels, TAPS),
        "bias": draw(case.channels),
    }


def _first_position(scan: Arguments, names: set[str], dim: int) -> Arguments:
    return {name: value.select(dim, 0) if name in names else value for name, value in scan.items()}


_MAKERS: dict[str, Callable[[Case, _Source], Arguments]] = {
    "ssd": _ssd,
    "ssd_update": _ssd_update,
    "selective_scan": _selective_scan,
    "selective_state_update": _selective_state_update,
    "causal_conv1d": _causal_conv1d,
    "causal_conv1d_update": _causal_conv1d_update,
}

_WORKS: dict[str, Callable[[Case], Work]] = {
    "ssd": lambda case: costs.ssd(
        batch=case.batch,
        seqlen=case.seqlen,
        heads=HEADS,
        head_dim=HEAD_DIM,
        states=case.states,
        itemsize=case.itemsize,
    ),
    "ssd_update": lambda case: costs.ssd_update(
        batch=case.batch,
        heads=HEADS,
        head_dim=HEAD_DIM,
        states=case.states,
        itemsize=case.itemsize,
        state_itemsize=case.itemsize,
    ),
    "selective_scan": lambda case: costs.selective_scan(
        batch=case.batch,
        seqlen=case.seqlen,
        channels=CHANNELS,
        states=case.states,
        itemsize=case.itemsize,
    ),
    "selective_state_update": lambda case: costs.selective_state_update(
        batch=case.batch,
        channels=CHANNELS,
        states=case.states,
        itemsize=case.itemsize,
        state_itemsize=case.itemsize,
    ),
    "causal_conv1d": lambda case: costs.causal_conv1d(
        batch=case.batch,
        seqlen=case.seqlen,
        channels=case.channels,
        taps=TAPS,
        itemsize=case.itemsize,
    ),
    "causal_conv1d_update": lambda case: costs.causal_conv1d_update(
        batch=case.batch, channels=case.channels, taps=TAPS, itemsize=case.itemsize
    ),
}
