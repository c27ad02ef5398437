"""The size of the weights that make B and C, for each state.

In: a model. Out: one number a state; no data is looked at.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from perfmamba.models import Mixer
from perfmamba.pruning.checked import CheckedModel, own_state_mixers
from perfmamba.pruning.layout import projection_axis, projection_name

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """What the weights of a layer alone say of its states, float64 on the CPU.

    Attributes:
        magnitude: (g, n) |row of B| |row of C| in the projection that makes them.
    """

    magnitude: Tensor


def layer_weights(model: "nn.Module | CheckedModel") -> tuple[LayerWeights, ...]:
    """What the weights say of the states of each Mamba block.

    Raises:
        ModelError: if the model has no Mamba mixer, or is pruned with a bridge.
    """
    return tuple(LayerWeights(_magnitude(mixer)) for mixer in own_state_mixers(model))


def _magnitude(mixer: Mixer) -> Tensor:
    weight = mixer.module.get_parameter(projection_name(mixer)).detach()
    axis = projection_axis(mixer)
    lengths = torch.linalg.vector_norm(weight.cpu().double(), dim=1)  # of each row
    product: Tensor = lengths[axis.b] * lengths[axis.c]  # (g, n)
    return product
