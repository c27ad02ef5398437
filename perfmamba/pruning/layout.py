"""Where the states are in the weights of a Mamba mixer.

In: a transformers mixer and, for each group, which entries of B and of C stay. Out: the weights that have a
state axis, with the indices along it that stay. Nothing is changed here.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from perfmamba.errors import ModelError
from perfmamba.models import component_map

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Slots:
    """Which entries of one weight stay.

    Attributes:
        axis: the axis that runs over states, and over whatever else the weight is of.
        kept: indices along it, ascending.
        maskable: whether zeros in place of the others silence the states that they belong to. In A they
            would not: a state is silent when nothing is written to it.
    """

    axis: int
    kept: Tensor
    maskable: bool = True


def state_slots(mixer: Any, b: Tensor, c: Tensor) -> dict[str, Slots]:
    """The weights of a mixer that have a state axis, by name.

    Args:
        mixer: a transformers Mamba-1 or Mamba-2 mixer.
        b: entries of B that stay in each group (g, k).
        c: entries of C that stay in each group (g, m).
    """
    found = _mamba1_slots(mixer, b, c) if is_mamba1(mixer) else _mamba2_slots(mixer, b, c)
    present = dict(mixer.named_parameters())
    return {name: slots for name, slots in found.items() if name in present}


def is_mamba1(mixer: Any) -> bool:
    """Whether a mixer makes dt, B and C from a projection of its own."""
    return hasattr(mixer, "x_proj")


def all_states(mixer: Any) -> Tensor:
    """Every state of every group (g, n); Mamba-1 has one group."""
    return torch.arange(mixer.ssm_state_size).expand(getattr(mixer, "n_groups", 1), -1)


def require_own_states(model: "nn.Module") -> None:
    """Make sure that each state of a model has rows of its own in the weights that make B and C.

    Raises:
        ModelError: if the model has no Mamba mixer, or a bridge mixes B and C behind those weights.
    """
    if any(hasattr(mixer.module, "bridge") for mixer in component_map(model).mixers):
        raise ModelError(
            f"{type(model).__name__} is pruned already, with a bridge: no weight of it belongs to one state; "
            "give the model that it was made of"
        )


def require_finite_weights(model: "nn.Module") -> None:
    """Make sure that a model can compute anything.

    Raises:
        ModelError: if a weight has NaN or infinity.
    """
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise ModelError(f"the weight {name} has values that are not finite (NaN or infinity)")


def _mamba1_slots(mixer: Any, b: Tensor, c: Tensor) -> dict[str, Slots]:
    """x_proj gives dt, B, C; A has a column a state."""
    rank, states = mixer.time_step_rank, mixer.ssm_state_size
    rows = torch.cat([torch.arange(rank), rank + b[0], rank + states + c[0]])
    return {"x_proj.weight": Slots(0, rows), "A_log": Slots(1, b[0], maskable=False)}


def _mamba2_slots(mixer: Any, b: Tensor, c: Tensor) -> dict[str, Slots]:
    """in_proj gives z, x, B, C, dt, of which x, B, C go through the conv; A is one number a head."""
    inner, groups, states = mixer.intermediate_size, mixer.n_groups, mixer.ssm_state_size
    group_starts = inner + states * torch.arange(groups)[:, None]  # (g, 1)
    b_channels = (group_starts + b).flatten()
    c_channels = (group_starts + groups * states + c).flatten()
    channels = torch.cat([torch.arange(inner), b_channels, c_channels])
    dt_rows = 2 * inner + 2 * groups * states + torch.arange(mixer.num_heads)
    rows = torch.cat([torch.arange(inner), inner + channels, dt_rows])
    return {
        "in_proj.weight": Slots(0, rows),
        "in_proj.bias": Slots(0, rows),
        "conv1d.weight": Slots(0, channels),
        "conv1d.bias": Slots(0, channels),
    }
