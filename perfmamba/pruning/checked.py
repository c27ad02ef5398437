"""Models whose states can be measured and taken out, checked once.

In: a transformers model. Out: a `CheckedModel`. The functions of this package take it in place of the model,
and then do not look through all weights again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfmamba.components import Generation
from perfmamba.errors import ModelError
from perfmamba.models import Mixer, component_map

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False)
class CheckedModel:
    """A model whose states have rows of their own in its weights, all of which are finite.

    Attributes:
        model: a transformers model.
        mixers: its Mamba blocks in order.
    """

    model: Any
    mixers: tuple[Mixer, ...]

    @property
    def generation(self) -> Generation:
        """1 for Mamba-1, 2 for Mamba-2."""
        return self.mixers[0].generation


def checked_model(model: "nn.Module | CheckedModel") -> CheckedModel:
    """Check a model, unless it is checked already.

    Raises:
        ModelError: if the model has no Mamba mixer, is pruned with a bridge, or has a weight that is not
            finite.
    """
    if isinstance(model, CheckedModel):
        return model
    mixers = own_state_mixers(model)
    require_finite_weights(model)
    return CheckedModel(model, mixers)


def own_state_mixers(model: "nn.Module | CheckedModel") -> tuple[Mixer, ...]:
    """The mixers of a model in which each state has rows of its own in the weights that make B and C.

    Raises:
        ModelError: if the model has no Mamba mixer, or a bridge mixes B and C behind those weights.
    """
    if isinstance(model, CheckedModel):
        return model.mixers
    mixers = component_map(model).mixers
    if any(hasattr(mixer.module, "bridge") for mixer in mixers):
        raise ModelError(
            f"{type(model).__name__} is pruned already, with a bridge: no weight of it belongs to one state; "
            "give the model that it was made of"
        )
    return mixers


def require_finite_weights(model: "nn.Module") -> None:
    """Check that no weight of a model is NaN or infinite.

    Raises:
        ModelError: if one is.
    """
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise ModelError(f"the weight {name} has values that are not finite (NaN or infinity)")
