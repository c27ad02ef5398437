"""Scores: how much each state matters, one entry each.

In: an `Activity`, or a model for the scores that need no data. Out: for each layer a score (g, n); the states
that score highest stay. A score ranks the states of one group of one layer. Its size means nothing across
layers.

Adding a score: one function and one entry in `SCORES`. The command line, figures, studies, cards and tests
list what is there. Importing this module needs no torch, so that the command line knows the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfmamba.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Generator, Tensor, nn

    from perfmamba.pruning.activity import Activity, LayerActivity
    from perfmamba.pruning.checked import CheckedModel
    from perfmamba.pruning.magnitude import LayerWeights


@dataclass(frozen=True)
class Score:
    """A way to rank the states of a group.

    Attributes:
        name: what `--score` takes.
        label: what it is, as a formula or in a few words.
        color: of its line in charts; the colors here are told apart by color-blind readers too (Okabe and
            Ito, 2008).
        rank: returns the scores (g, n) of a layer, float64. It gets the layer's `LayerActivity`, or its
            `LayerWeights` where no activity is needed, and a generator to draw random numbers from.
        needs_activity: whether it is measured on calibration data.
        seeded: whether it changes with the seed.
    """

    name: str
    label: str
    color: str
    rank: Callable[[Any, Generator], Tensor]
    needs_activity: bool = True
    seeded: bool = False

    @property
    def title(self) -> str:
        """The name and what it stands for, as a heading."""
        return f"{self.name}: {self.label}"


def paper(layer: LayerActivity, _generator: Generator) -> Tensor:
    """The mean dt of head floor(s h / (g n)), for state s of all g n; of that channel in Mamba-1.

    The paper's equation 9 asks for the dt of a state, which does not exist: dt has one value a head. With the
    paper's clusters of n / h states, a state takes the value of its cluster's head.
    """
    import torch

    groups, states = layer.write.shape
    head_of_state = torch.arange(groups * states) * len(layer.dt) // (groups * states)
    return layer.dt[head_of_state].view(groups, states)


def delta_b(layer: LayerActivity, _generator: Generator) -> Tensor:
    """E[dt |B_s|], the mean over heads: what is written to a state."""
    return layer.write


def energy(layer: LayerActivity, _generator: Generator) -> Tensor:
    """E[h_s^2]: what a state holds."""
    return layer.energy


def output(layer: LayerActivity, _generator: Generator) -> Tensor:
    """E[C_s^2 h_s^2]: the squared error of the layer's y if this state alone were removed."""
    return layer.output


def magnitude(layer: LayerWeights, _generator: Generator) -> Tensor:
    """|row of B| |row of C| of the weights; no data is looked at."""
    return layer.magnitude


def random(layer: LayerWeights, generator: Generator) -> Tensor:
    """Uniform numbers."""
    import torch

    return torch.rand(layer.magnitude.shape, generator=generator, dtype=torch.float64)


SCORES = {
    score.name: score
    for score in (
        Score("paper", "mean dt of the state's head cluster", "#d55e00", paper),
        Score("delta_b", "E[dt |B|]", "#e69f00", delta_b),
        Score("energy", "E[h²]", "#56b4e9", energy),
        Score("output", "E[C² h²]", "#0072b2", output),
        Score("magnitude", "|row of B| |row of C|", "#009e73", magnitude, needs_activity=False),
        Score("random", "drawn at random, the control", "#7f7f7f", random, needs_activity=False, seeded=True),
    )
}
"""Every score by its name."""

CONTROL = "random"
"""The score that every other one is compared with."""


def score_named(name: str) -> Score:
    """The score of a name.

    Raises:
        InputError: if there is no such score.
    """
    if name not in SCORES:
        raise InputError(f"unknown score {name!r}; use one of {', '.join(SCORES)}")
    return SCORES[name]


def scores(activity: Activity, name: str, *, seed: int = 0) -> tuple[Tensor, ...]:
    """The score of each state, (g, n) for each layer, float64.

    Args:
        activity: what the states do.
        name: a key of `SCORES`.
        seed: of a score that is drawn at random; the others do not use it.

    Raises:
        InputError: if there is no such score.
    """
    return _ranked(score_named(name), activity.layers, seed)


def scores_without_data(model: nn.Module | CheckedModel, name: str, *, seed: int = 0) -> tuple[Tensor, ...]:
    """The same numbers as `scores`, for the scores that need no calibration data.

    Raises:
        InputError: if there is no such score, or it needs data.
        ModelError: if the model has no Mamba mixer, or is pruned with a bridge.
    """
    from perfmamba.pruning.magnitude import layer_weights

    score = score_named(name)
    if score.needs_activity:
        known = ", ".join(other.name for other in SCORES.values() if not other.needs_activity)
        raise InputError(f"score {name!r} needs calibration data; without them there are {known}")
    return _ranked(score, layer_weights(model), seed)


def _ranked(score: Score, layers: Iterable[LayerActivity | LayerWeights], seed: int) -> tuple[Tensor, ...]:
    """The score of each layer; random numbers come from torch's generator for the CPU, layer after layer."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return tuple(score.rank(layer, generator) for layer in layers)
