"""Taking states out of a model: exact, and without a change to the model itself.

In: a transformers model and which states stay. Out: a new model of the same weights with fewer states
(`pruned`), or with as many states as before, some of which are always zero (`masked`). Both compute the same.
`select` chooses the states that stay; a bridge decides how they are read.
"""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from perfmamba.errors import InputError, ModelError
from perfmamba.models import Mixer, component_map
from perfmamba.pruning.bridge import BRIDGES, Bridge, Projection, bridge_named, projections
from perfmamba.pruning.checked import CheckedModel, checked_model
from perfmamba.pruning.layout import Slots, all_states, projection_axis, projection_name, state_slots

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
"""What each kind of model calls N in its configuration. Other kinds either normalize B and C over the states,
so that no state can be taken out exactly, or were never tried."""

_BRIDGED_KINDS = ("mamba", "mamba2")
"""The kinds of models that can have a bridge that mixes."""

Weights = dict[str, Tensor]


def pruned(
    model: "PreTrainedModel | CheckedModel",
    selection: "Selection",
    *,
    bridge: str = "none",
    activity: "Activity | None" = None,
    made: tuple[Projection, ...] | None = None,
) -> "PreTrainedModel":
    """Build the model that has only the selected states.

    A Mamba-2 with a bridge that mixes becomes a `perfmamba.models.bridged.BridgedMamba2ForCausalLM`. Any
    other model keeps its class and has a smaller state size. The new model runs on what transformers picks
    until `use_backend` chooses.

    Args:
        model: a causal language model of transformers; it stays as it is.
        selection: the states that stay.
        bridge: how the kept states are read; a key of `BRIDGES`.
        activity: what the states of this model do, for bridges that are fitted to data.
        made: the `projections` of the selection and the bridge, if they are there already.

    Raises:
        ModelError: if the model has no states that can be taken out, its weights are not finite, or it does
            not fit the bridge.
        InputError: if the selection or the activity does not fit the model, or the bridge needs an activity.
    """
    found = bridge_named(bridge)
    checked = check_prunable(model, bridge=bridge)
    _require_fit(checked, selection)
    made = made or projections(selection, bridge, activity)
    if found.mixes and checked.generation == 2:
        return _with_bridge(checked, found, selection.count, made)
    weights = _copied_weights(checked)
    for (prefix, mixer), kept, projection in zip(_named_mixers(checked), selection.kept, made, strict=True):
        if found.mixes_c:
            _mix_mamba1_outputs(weights, prefix, mixer, kept, projection)
        _keep(weights, prefix, state_slots(mixer, kept, kept))
    config = copy.deepcopy(checked.model.config)
    setattr(config, _STATE_SIZE_KEYS[config.model_type], selection.count)
    return _built(checked, type(checked.model), config, weights)


def masked(model: "PreTrainedModel | CheckedModel", selection: "Selection") -> "PreTrainedModel":
    """Build the model whose other states stay at zero, because nothing writes to them.

    They are still computed, and cached: this is the paper's sparse model. The given model stays as it is.

    Raises:
        ModelError, InputError: as `pruned`.
    """
    checked = check_prunable(model)
    _require_fit(checked, selection)
    weights = _copied_weights(checked)
    for (prefix, mixer), kept in zip(_named_mixers(checked), selection.kept, strict=True):
        for name, slots in state_slots(mixer, kept, kept).items():
            if slots.maskable:
                weights[prefix + name] = _zero_but(weights[prefix + name], slots)
    return _built(checked, type(checked.model), copy.deepcopy(checked.model.config), weights)


def check_prunable(model: "PreTrainedModel | CheckedModel", *, bridge: str = "none") -> CheckedModel:
    """Check that states can be taken out of a model.

    Args:
        model: the model. A checked one is not looked through again.
        bridge: how the kept states are to be read; a key of `BRIDGES`.

    Returns:
        The checked model, to be used in place of the model.

    Raises:
        ModelError: if it has no Mamba mixer, is pruned with a bridge, is of a kind whose states cannot be
            taken out or that cannot have the bridge, or has weights that are not finite.
        InputError: if there is no such bridge.
    """
    checked = checked_model(model)
    kind, found = checked.model.config.model_type, bridge_named(bridge)
    if kind not in _STATE_SIZE_KEYS:
        raise ModelError(
            f"cannot take states out of a model of type {kind!r}; known are {', '.join(_STATE_SIZE_KEYS)}"
        )
    if not found.fits_generation(checked.generation):
        fitting = [name for name, other in BRIDGES.items() if other.fits_generation(checked.generation)]
        raise ModelError(
            f"bridge {bridge} mixes states, which Mamba-1 does not allow: each of its states decays at a "
            f"rate of its own; use {' or '.join(reversed(fitting))}"
        )
    if found.mixes and kind not in _BRIDGED_KINDS:
        raise ModelError(f"bridge {bridge} is for Mamba-1 and Mamba-2; this is a {kind}")
    return checked


def state_sizes(model: "PreTrainedModel") -> tuple[int, int]:
    """The number of Mamba layers of a model, and the number of states N of each."""
    mixers = component_map(model).mixers
    return len(mixers), all_states(mixers[0]).shape[1]


def _require_fit(checked: CheckedModel, selection: "Selection") -> None:
    mixers = checked.mixers
    if len(mixers) != len(selection.kept):
        raise InputError(
            f"the selection is of {len(selection.kept)} layers; this model has {len(mixers)} Mamba layers"
        )
    for layer, (mixer, kept) in enumerate(zip(mixers, selection.kept, strict=True)):
        groups, states = all_states(mixer).shape
        ascending = kept.ndim == 2 and kept.shape[1] > 0 and bool((kept.diff(dim=1) > 0).all())
        if not ascending or kept.shape != (groups, selection.count) or selection.states != states:
            raise InputError(
                f"layer {layer}: the selection keeps {tuple(kept.shape)} of {selection.states} states; this "
                f"model has {groups} groups of {states}, and needs the same number, ascending, of each"
            )
        if kept.min() < 0 or kept.max() >= states:
            raise InputError(f"layer {layer}: the selection names states outside 0 to {states - 1}")


def _named_mixers(checked: CheckedModel) -> list[tuple[str, Mixer]]:
    """The mixers in order, each with the prefix that the names of its weights have in the whole model."""
    names = {module: name for name, module in checked.model.named_modules()}
    return [(f"{names[mixer.module]}.", mixer) for mixer in checked.mixers]


def _copied_weights(checked: CheckedModel) -> Weights:
    return {name: weight.detach().clone() for name, weight in checked.model.state_dict().items()}


def _keep(weights: Weights, prefix: str, found: dict[str, Slots]) -> None:
    """Cut the weights of one mixer, in `weights`, to the entries that stay."""
    for name, slots in found.items():
        weight = weights[prefix + name]
        weights[prefix + name] = weight.index_select(slots.axis, slots.kept.to(weight.device))


def _zero_but(weight: Tensor, slots: Slots) -> Tensor:
    """The weight with zeros for all entries that do not stay."""
    kept = slots.kept.to(weight.device)
    return torch.zeros_like(weight).index_copy(slots.axis, kept, weight.index_select(slots.axis, kept))


def _mix_mamba1_outputs(
    weights: Weights, prefix: str, mixer: Mixer, kept: Tensor, projection: Projection
) -> None:
    """Let x_proj give C' = Q^T C in the places of the kept states (1, k).

    In Mamba-1 nothing lies between that projection and the scan.
    """
    name = prefix + projection_name(mixer)
    c_rows = projection_axis(mixer).c.to(weights[name].device)  # (1, n)
    rows = weights[name][c_rows[0]].double()  # (n, d)
    mixed = projection.c[0].mT.to(rows.device) @ rows  # (k, d)
    weights[name][c_rows[0, kept[0].to(rows.device)]] = mixed.to(weights[name].dtype)


def _with_bridge(
    checked: CheckedModel, bridge: Bridge, count: int, made: tuple[Projection, ...]
) -> "PreTrainedModel":
    """Build a Mamba-2 whose mixers multiply C, or B and C, by matrices behind the convolution."""
    from perfmamba.models.bridged import BridgedMamba2Config, BridgedMamba2ForCausalLM

    config = BridgedMamba2Config.of(checked.model.config, bridge=bridge.layout, state_size=count)
    weights = _copied_weights(checked)
    for (prefix, mixer), projection in zip(_named_mixers(checked), made, strict=True):
        everything = all_states(mixer)
        b = everything if projection.kept is None else projection.kept
        _keep(weights, prefix, state_slots(mixer, b, everything))
        like = weights[f"{prefix}in_proj.weight"]
        weights[f"{prefix}bridge.c"] = projection.c.to(like)
        if bridge.mixes_b:
            weights[f"{prefix}bridge.b"] = projection.b.to(like)
    return _built(checked, BridgedMamba2ForCausalLM, config, weights)


def _built(
    checked: CheckedModel, model_class: Callable[[Any], Any], config: Any, weights: Weights
) -> "PreTrainedModel":
    """Build a model of these weights; buffers and generation settings are those of the checked model."""
    source = checked.model
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
