"""The whole way from a model to a smaller one, with the card that tells it.

In: a loaded model, a `Recipe` and, where the recipe needs it, what the model's states do. Out: the pruned
model and its `Card`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from perfmamba.environment import capture_environment
from perfmamba.errors import InputError
from perfmamba.models.saving import CheckpointFormat
from perfmamba.pruning.bridge import BRIDGES, BridgeName, lost_output, projections
from perfmamba.pruning.card import Card
from perfmamba.pruning.cost import expected_cost
from perfmamba.pruning.scores import SCORES, SCORES_WITHOUT_DATA, scores_without_data
from perfmamba.pruning.selection import Selection, kept_count, select, select_highest
from perfmamba.pruning.surgery import check_prunable, pruned

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from perfmamba.models import LoadedModel
    from perfmamba.pruning.activity import Activity

_PACKAGES = ("perfmamba", "torch", "transformers")


@dataclass(frozen=True)
class Recipe:
    """How to prune.

    Attributes:
        ratio: the share of states to remove, at least 0 and below 1.
        score: what ranks them; one of `SCORES`. `balanced` mixes all states and ranks none.
        bridge: how the kept ones are read; one of `BRIDGES`.
        align: round their number up to a multiple of this.
        seed: of random scores.

    Raises:
        InputError: if a value is out of its range.
    """

    ratio: float
    score: str = "output"
    bridge: BridgeName = "none"
    align: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        kept_count(1, self.ratio, align=self.align)  # raises
        if self.score not in SCORES:
            raise InputError(f"unknown score {self.score!r}; use one of {', '.join(SCORES)}")
        if self.bridge not in BRIDGES:
            raise InputError(f"unknown bridge {self.bridge!r}; use one of {', '.join(BRIDGES)}")

    @property
    def needs_data(self) -> str | None:
        """What of it is measured on data, in words; None if nothing."""
        if self.bridge != "none":
            return f"bridge {self.bridge}"
        return None if self.score in SCORES_WITHOUT_DATA else f"score {self.score}"


def prune_by(
    recipe: Recipe,
    loaded: "LoadedModel",
    activity: "Activity | None" = None,
    *,
    checkpoint_format: CheckpointFormat = "transformers",
    dtype: torch.dtype | None = None,
) -> tuple["PreTrainedModel", Card]:
    """Prune a model as a recipe says.

    Args:
        recipe: how.
        loaded: the model; it stays as it is.
        activity: what its states do; needed if the recipe needs data.
        checkpoint_format: the layout that the card is for.
        dtype: of the pruned model's weights; None for those of `loaded`.

    Raises:
        InputError: if the recipe needs an activity and there is none, or one of another model.
        ModelError: if the model cannot be pruned so.
    """
    check_prunable(loaded.model)
    if activity is None and recipe.needs_data:
        raise InputError(f"{recipe.needs_data} is measured on data: an activity is needed")
    selection = _selection(recipe, loaded.model, activity)
    model = pruned(loaded.model, selection, bridge=recipe.bridge, activity=activity)
    if dtype is not None:
        torch.nn.Module.to(model, dtype)
    element_bytes = next(model.parameters()).element_size()
    mixes = recipe.bridge == "balanced"
    environment = capture_environment(torch.device("cpu"))
    versions = {name: environment.versions[name] for name in _PACKAGES}
    card = Card(
        source=loaded.name,
        weights=loaded.weights,
        model_type=model.config.model_type,
        format=checkpoint_format,
        ratio=recipe.ratio,
        states=selection.states,
        kept_states=selection.count,
        alignment=selection.alignment,
        score=None if mixes else recipe.score,
        ties=0 if mixes else selection.ties,
        bridge=recipe.bridge,
        seed=recipe.seed,
        kept=None if mixes else tuple(kept.tolist() for kept in selection.kept),
        lost_output=_lost(recipe, selection, activity),
        calibration_tokens=activity.tokens if activity else None,
        calibration=activity.provenance if activity else {},
        before=expected_cost(loaded.model, element_bytes=element_bytes),
        after=expected_cost(model, element_bytes=element_bytes),
        versions=versions | ({"commit": environment.commit} if environment.commit else {}),
    )
    return model, card


def _selection(recipe: Recipe, model: "PreTrainedModel", activity: "Activity | None") -> Selection:
    if activity is not None:
        return select(activity, ratio=recipe.ratio, score=recipe.score, align=recipe.align, seed=recipe.seed)
    ranking = scores_without_data(model, recipe.score, seed=recipe.seed)
    return select_highest(ranking, ratio=recipe.ratio, score=recipe.score, align=recipe.align)


def _lost(recipe: Recipe, selection: Selection, activity: "Activity | None") -> tuple[float, ...] | None:
    if activity is None:
        return None
    made = projections(selection, recipe.bridge, activity)
    return tuple(map(lost_output, activity.layers, made))
