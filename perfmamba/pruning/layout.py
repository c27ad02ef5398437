"""Where the states are in the weights of a Mamba mixer: the only place that knows the order of their rows.

In: a transformers mixer and, for each group, which entries of B and of C stay. Out: the weights that have a
state axis, with the indices along it that stay. Nothing is changed here.

Letters: g groups, n states of a group, k entries that stay.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from perfmamba.models import Mixer


@dataclass(frozen=True)
class StateAxis:
    """An axis of a weight that runs over all entries of B, then over all of C, group after group.

    Attributes:
        before: how many other entries come first.
        groups: g.
        states: n.
        behind: how many other entries come last.
    """

    before: int
    groups: int
    states: int
    behind: int = 0

    @property
    def b(self) -> Tensor:
        """The indices (g, n) of B."""
        return self.before + torch.arange(self.groups * self.states).view(self.groups, self.states)

    @property
    def c(self) -> Tensor:
        """The indices (g, n) of C."""
        return self.b + self.groups * self.states

    def kept(self, b: Tensor, c: Tensor) -> Tensor:
        """The indices that stay, ascending: the entries b (g, k) of B and c (g, m) of C, and all others."""
        first_behind = self.before + 2 * self.groups * self.states
        return torch.cat(
            [
                torch.arange(self.before),
                self.b.gather(1, b).flatten(),
                self.c.gather(1, c).flatten(),
                torch.arange(first_behind, first_behind + self.behind),
            ]
        )


@dataclass(frozen=True)
class Slots:
    """Which entries of one weight stay.

    Attributes:
        axis: the axis that runs over states, and over whatever else the weight has on it.
        kept: indices along it, ascending.
        maskable: whether zeros in place of the others silence the states that they belong to. This does not
            hold for A: a state is silent when nothing is written to it.
    """

    axis: int
    kept: Tensor
    maskable: bool = True


def projection_name(mixer: Mixer) -> str:
    """The name of the weight whose rows make B and C."""
    return "x_proj.weight" if mixer.generation == 1 else "in_proj.weight"


def projection_axis(mixer: Mixer) -> StateAxis:
    """The rows of that weight: dt, B, C in Mamba-1; z, x, B, C, dt in Mamba-2."""
    module: Any = mixer.module
    if mixer.generation == 1:
        return StateAxis(module.time_step_rank, 1, module.ssm_state_size)
    return StateAxis(
        2 * module.intermediate_size, module.n_groups, module.ssm_state_size, behind=module.num_heads
    )


def state_slots(mixer: Mixer, b: Tensor, c: Tensor) -> dict[str, Slots]:
    """The weights of a mixer that have a state axis, by name.

    Args:
        mixer: a Mamba-1 or Mamba-2 mixer.
        b: entries of B that stay in each group (g, k).
        c: entries of C that stay in each group (g, m).
    """
    rows = Slots(0, projection_axis(mixer).kept(b, c))
    found = {projection_name(mixer): rows}
    if mixer.generation == 1:  # A has a column a state
        return found | {"A_log": Slots(1, b[0], maskable=False)}
    channels = Slots(0, _conv_axis(mixer).kept(b, c))
    found |= {"in_proj.bias": rows, "conv1d.weight": channels, "conv1d.bias": channels}
    present = dict(mixer.module.named_parameters())
    return {name: slots for name, slots in found.items() if name in present}


def all_states(mixer: Mixer) -> Tensor:
    """Every state of every group (g, n); Mamba-1 has one group."""
    axis = projection_axis(mixer)
    return torch.arange(axis.states).expand(axis.groups, -1)


def _conv_axis(mixer: Mixer) -> StateAxis:
    """The channels of Mamba-2's convolution: x, B, C."""
    module: Any = mixer.module
    return StateAxis(module.intermediate_size, module.n_groups, module.ssm_state_size)
