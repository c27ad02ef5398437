"""How much each state matters, by several formulas, one short function each.

In: an `Activity`. Out: for each layer a score (g, n); higher stays longer. A score ranks the states of one
group of one layer; its size means nothing across layers.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from perfmamba.errors import InputError
from perfmamba.pruning.activity import Activity, LayerActivity
from perfmamba.pruning.magnitude import projection_magnitudes

if TYPE_CHECKING:
    from torch import nn


def paper(layer: LayerActivity) -> Tensor:
    """The mean dt of head floor(s h / (g n)), for state s of all g n; of that channel in Mamba-1.

    The paper's equation 9 asks for the dt of a state, which does not exist: dt has one value a head. With the
    paper's clusters of n / h states, a state takes the value of its cluster's head.
    """
    groups, states = layer.write.shape
    head_of_state = torch.arange(groups * states) * len(layer.dt) // (groups * states)
    return layer.dt[head_of_state].view(groups, states)


def delta_b(layer: LayerActivity) -> Tensor:
    """E[dt |B_s|], the mean over heads: what is written to a state."""
    return layer.write


def energy(layer: LayerActivity) -> Tensor:
    """E[h_s^2]: what a state holds."""
    return layer.energy


def output(layer: LayerActivity) -> Tensor:
    """E[C_s^2 h_s^2]: the squared error of the layer's y if this state alone were removed."""
    return layer.output


def magnitude(layer: LayerActivity) -> Tensor:
    """|row of B| |row of C| of the weights, without a look at data."""
    return layer.magnitude


_FORMULAS: dict[str, Callable[[LayerActivity], Tensor]] = {
    "paper": paper,
    "delta_b": delta_b,
    "energy": energy,
    "output": output,
    "magnitude": magnitude,
}
SCORES = (*_FORMULAS, "random")
"""The names that `scores` knows; `random` is the control that every table carries."""

SCORES_WITHOUT_DATA = ("magnitude", "random")
"""Those that `scores_without_data` knows too."""


def scores(activity: Activity, name: str, *, seed: int = 0) -> tuple[Tensor, ...]:
    """The score of each state, (g, n) for each layer, float64.

    Args:
        activity: what the states do.
        name: one of `SCORES`.
        seed: of `random`; the others do not use it.

    Raises:
        InputError: if there is no such score.
    """
    if name not in SCORES:
        raise InputError(f"unknown score {name!r}; use one of {', '.join(SCORES)}")
    if name == "random":
        return _random([layer.magnitude for layer in activity.layers], seed)
    return tuple(_FORMULAS[name](layer) for layer in activity.layers)


def scores_without_data(model: "nn.Module", name: str, *, seed: int = 0) -> tuple[Tensor, ...]:
    """`scores` for those that need no calibration data: the same numbers.

    Raises:
        InputError: if there is no such score, or it needs data.
        ModelError: if the model has no Mamba mixer, or is pruned with a bridge.
    """
    if name not in SCORES_WITHOUT_DATA:
        known = ", ".join(SCORES_WITHOUT_DATA)
        raise InputError(f"score {name!r} needs calibration data; without them there are {known}")
    magnitudes = projection_magnitudes(model)
    return _random(magnitudes, seed) if name == "random" else magnitudes


def _random(shaped: Sequence[Tensor], seed: int) -> tuple[Tensor, ...]:
    """Uniform numbers in the shapes of other scores, by torch's generator for the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(other.shape, generator=generator, dtype=torch.float64) for other in shaped)
