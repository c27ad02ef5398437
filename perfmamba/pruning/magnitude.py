"""The size of the weights that make B and C, for each state.

In: a model. Out: one number a state; no data is looked at.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from perfmamba.models import Mixer, component_map
from perfmamba.pruning.layout import require_own_states

if TYPE_CHECKING:
    from torch import nn


def projection_magnitudes(model: "nn.Module") -> tuple[Tensor, ...]:
    """|row of B| |row of C| of each state, (g, n) for each Mamba block, float64 on the CPU.

    The rows are those of `in_proj` in Mamba-2 and of `x_proj` in Mamba-1.

    Raises:
        ModelError: if the model has no Mamba mixer, or is pruned with a bridge.
    """
    require_own_states(model)
    return tuple(_magnitude(mixer) for mixer in component_map(model).mixers)


def _magnitude(mixer: Mixer) -> Tensor:
    module: Any = mixer.module
    if mixer.generation == 2:  # rows of z, x, B, C and, at the end, one of dt for each head
        weight, groups, behind = module.in_proj.weight, module.n_groups, len(module.A_log)
    else:  # rows of dt, B, C
        weight, groups, behind = module.x_proj.weight, 1, 0
    count = groups * module.ssm_state_size
    rows = weight[len(weight) - behind - 2 * count : len(weight) - behind].detach()  # (2 g n, d)
    lengths: Tensor = torch.linalg.vector_norm(rows.cpu().double(), dim=1)
    by_use = lengths.view(2, groups, -1)
    return by_use[0] * by_use[1]
