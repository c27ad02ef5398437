"""Activities with given numbers, for tests of what is made of them."""

import torch

from perfmamba.pruning.activity import Activity, LayerActivity


def layer_activity(dt, **given):
    """One layer with a group of states for each row of `write`; what is not given is random."""
    generator = torch.Generator().manual_seed(len(dt))
    write = torch.as_tensor(given.get("write", [[1.0, 2.0, 3.0, 4.0]]), dtype=torch.float64)
    groups, states = write.shape
    factor = torch.randn(groups, states, states, generator=generator, dtype=torch.float64)
    made = {
        "write": write,
        "output": torch.rand(groups, states, generator=generator, dtype=torch.float64),
        "state_moment": factor @ factor.mT,
        "output_moment": factor.mT @ factor,
        "magnitude": torch.rand(groups, states, generator=generator, dtype=torch.float64),
    }
    made |= {name: torch.as_tensor(value, dtype=torch.float64) for name, value in given.items()}
    return LayerActivity(dt=torch.as_tensor(dt, dtype=torch.float64), **made)


def activity_of(*layers, tokens=100, **provenance):
    return Activity(layers, tokens, provenance)
