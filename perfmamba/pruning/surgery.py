"""Taking states out of a model: exact, and without a change to the model itself.

In: a transformers model and which states stay. Out: a new model of the same weights with fewer states
(`pruned`), or with the same number of which some are always zero (`masked`). Both compute the same. What is
kept is by `select`; how the kept states are read by a bridge.
"""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from perfmamba.errors import InputError, ModelError
from perfmamba.models import component_map
from perfmamba.pruning.bridge import BridgeName, Projection, projections
from perfmamba.pruning.layout import (
    Slots,
    all_states,
    is_mamba1,
    require_finite_weights,
    require_own_states,
    state_slots,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from perfmamba.pruning.activity import Activity
    from perfmamba.pruning.selection import Selection

_STATE_SIZE_KEYS = {
    "mamba": "state_size",
    "mamba2": "state_size",
    "bamba": "mamba_d_state",
    "granitemoehybrid": "mamba_d_state",
    "nemotron_h": "ssm_state_size",
}
"""What each kind of model calls N in its configuration. Others either normalise B and C over the states, so
that none can be taken out exactly, or are not known to be safe."""

Weights = dict[str, Tensor]


def pruned(
    model: "PreTrainedModel",
    selection: "Selection",
    *,
    bridge: BridgeName = "none",
    activity: "Activity | None" = None,
) -> "PreTrainedModel":
    """The model with only the selected states.

    Without a bridge, and in Mamba-1 with any, it is of the same class as `model`, with a smaller state size.
    With a bridge, a Mamba-2 becomes a `perfmamba.models.bridged.BridgedMamba2ForCausalLM`. It runs on what
    transformers picks until `use_backend` chooses.

    Args:
        model: a causal language model of transformers; it stays as it is.
        selection: the states that stay.
        bridge: how the kept states are read; one of `BRIDGES`.
        activity: what the states of this model do, for bridges that are fitted to data.

    Raises:
        ModelError: if the model has no states that can be taken out, its weights are not finite, or it does
            not fit the bridge.
        InputError: if the selection or the activity does not fit the model, or the bridge needs an activity.
    """
    check_prunable(model)
    _require_fit(model, selection)
    mamba1 = is_mamba1(_mixers(model)[0][1])
    if mamba1 and bridge == "balanced":
        raise ModelError(
            "bridge balanced mixes states, which Mamba-1 does not allow: each of its states decays at a rate "
            "of its own; use lstsq"
        )
    made = projections(selection, bridge, activity)
    if bridge != "none" and not mamba1:
        return _with_bridge(model, selection, bridge, made)
    weights = _copied_weights(model)
    for (prefix, mixer), kept, projection in zip(_mixers(model), selection.kept, made, strict=True):
        if bridge == "lstsq":
            _mix_mamba1_outputs(weights, prefix, mixer, projection)
        _keep(weights, prefix, state_slots(mixer, kept, kept))
    config = copy.deepcopy(model.config)
    setattr(config, _STATE_SIZE_KEYS[config.model_type], selection.count)
    return _built(model, type(model), config, weights)


def masked(model: "PreTrainedModel", selection: "Selection") -> "PreTrainedModel":
    """The model with the states that are not selected held at zero: nothing writes them, nothing reads them.

    They are still computed, and cached: this is the paper's sparse model. The given model stays as it is.

    Raises:
        ModelError, InputError: as `pruned`.
    """
    check_prunable(model)
    _require_fit(model, selection)
    weights = _copied_weights(model)
    for (prefix, mixer), kept in zip(_mixers(model), selection.kept, strict=True):
        for name, slots in state_slots(mixer, kept, kept).items():
            if slots.maskable:
                weights[prefix + name] = _zero_but(weights[prefix + name], slots)
    return _built(model, type(model), copy.deepcopy(model.config), weights)


def check_prunable(model: "PreTrainedModel") -> None:
    """Make sure that states can be taken out of a model.

    Raises:
        ModelError: if it has no Mamba mixer, is pruned with a bridge, is of a kind whose states cannot be
            taken out, or has weights that are not finite.
    """
    require_own_states(model)
    kind = model.config.model_type
    if kind not in _STATE_SIZE_KEYS:
        raise ModelError(
            f"cannot take states out of a model of type {kind!r}; known are {', '.join(_STATE_SIZE_KEYS)}"
        )
    require_finite_weights(model)


def state_sizes(model: "PreTrainedModel") -> tuple[int, int]:
    """How many Mamba layers a model has, and the states N of each."""
    mixers = _mixers(model)
    return len(mixers), mixers[0][1].ssm_state_size


def _require_fit(model: "PreTrainedModel", selection: "Selection") -> None:
    mixers = _mixers(model)
    if len(mixers) != len(selection.kept):
        raise InputError(
            f"the selection is of {len(selection.kept)} layers; this model has {len(mixers)} Mamba layers"
        )
    for layer, ((_, mixer), kept) in enumerate(zip(mixers, selection.kept, strict=True)):
        groups, states = all_states(mixer).shape
        ascending = kept.ndim == 2 and kept.shape[1] > 0 and bool((kept.diff(dim=1) > 0).all())
        if not ascending or kept.shape != (groups, selection.count) or selection.states != states:
            raise InputError(
                f"layer {layer}: the selection keeps {tuple(kept.shape)} of {selection.states} states; this "
                f"model has {groups} groups of {states}, and needs the same number, ascending, of each"
            )
        if kept.min() < 0 or kept.max() >= states:
            raise InputError(f"layer {layer}: the selection names states outside 0 to {states - 1}")


def _mixers(model: "PreTrainedModel") -> list[tuple[str, Any]]:
    """The mixers in order, each with the prefix that its weights have in the model's."""
    names = {module: name for name, module in model.named_modules()}
    return [(f"{names[mixer.module]}.", mixer.module) for mixer in component_map(model).mixers]


def _copied_weights(model: "PreTrainedModel") -> Weights:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def _keep(weights: Weights, prefix: str, found: dict[str, Slots]) -> None:
    """Cut the weights of one mixer, in `weights`, to the entries that stay."""
    for name, slots in found.items():
        weight = weights[prefix + name]
        weights[prefix + name] = weight.index_select(slots.axis, slots.kept.to(weight.device))


def _zero_but(weight: Tensor, slots: Slots) -> Tensor:
    """The weight with zeros for all entries that do not stay."""
    kept = slots.kept.to(weight.device)
    return torch.zeros_like(weight).index_copy(slots.axis, kept, weight.index_select(slots.axis, kept))


def _mix_mamba1_outputs(weights: Weights, prefix: str, mixer: Any, projection: Projection) -> None:
    """Let x_proj give C' = Q^T C in the places of the kept states: nothing lies between it and the scan."""
    name = f"{prefix}x_proj.weight"
    first = mixer.time_step_rank + mixer.ssm_state_size
    rows = weights[name][first:].double()  # (n, d)
    kept = first + projection.b[0].argmax(dim=0)
    weights[name][kept] = (projection.c[0].mT.to(rows.device) @ rows).to(weights[name].dtype)


def _with_bridge(
    model: "PreTrainedModel", selection: "Selection", bridge: BridgeName, made: tuple[Projection, ...]
) -> "PreTrainedModel":
    """A Mamba-2 whose mixers multiply C (`lstsq`), or B and C (`balanced`), by matrices after the conv."""
    from perfmamba.models.bridged import BridgedMamba2Config, BridgedMamba2ForCausalLM

    dense_config: Any = model.config
    if dense_config.model_type != "mamba2":
        raise ModelError(f"bridge {bridge} is for Mamba-1 and Mamba-2; this is a {dense_config.model_type}")
    config = BridgedMamba2Config.of(dense_config, bridge=bridge, state_size=selection.count)
    weights = _copied_weights(model)
    for (prefix, mixer), kept, projection in zip(_mixers(model), selection.kept, made, strict=True):
        everything = all_states(mixer)
        b = kept if bridge == "lstsq" else everything
        _keep(weights, prefix, state_slots(mixer, b, everything))
        like = weights[f"{prefix}in_proj.weight"]
        weights[f"{prefix}bridge.c"] = projection.c.to(like)
        if bridge == "balanced":
            weights[f"{prefix}bridge.b"] = projection.b.to(like)
    return _built(model, BridgedMamba2ForCausalLM, config, weights)


def _built(
    source: "PreTrainedModel", model_class: Callable[[Any], Any], config: Any, weights: Weights
) -> "PreTrainedModel":
    """A model of these weights; what has no place among weights is as in `source`."""
    with torch.device("meta"):
        model: PreTrainedModel = model_class(config)
    model.load_state_dict(weights, strict=True, assign=True)
    model.tie_weights()
    for name, buffer in source.named_buffers():
        owner, _, key = name.rpartition(".")
        setattr(model.get_submodule(owner), key, buffer.clone())
    model.generation_config = copy.deepcopy(source.generation_config)
    model.train(source.training)
    return model
