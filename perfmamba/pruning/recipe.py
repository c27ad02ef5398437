"""The whole way from a model to a smaller one, with the card that says what was done.

In: a loaded model, a `Recipe` and, where the recipe needs it, what the model's states do. Out: the pruned
model and its `Card`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from perfmamba.environment import capture_environment
from perfmamba.errors import InputError
from perfmamba.models.saving import CheckpointFormat
from perfmamba.pruning.bridge import bridge_named, lost_output, projections
from perfmamba.pruning.card import Card
from perfmamba.pruning.checked import CheckedModel
from perfmamba.pruning.expected_sizes import expected_sizes
from perfmamba.pruning.scores import score_named, scores_without_data
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
        score: what ranks them; a key of `SCORES`. Bridges that mix all states ignore it.
        bridge: how the kept ones are read; a key of `BRIDGES`.
        align: round their number up to a multiple of this.
        seed: of a score that is drawn at random.

    Raises:
        InputError: if a value is out of its range.
    """

    ratio: float
    score: str = "output"
    bridge: str = "none"
    align: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        kept_count(1, self.ratio, align=self.align)  # raises
        score_named(self.score)  # raises
        bridge_named(self.bridge)  # raises

    @property
    def needs_data(self) -> str | None:
        """The part of it that is measured on data, in words; None if nothing is."""
        if bridge_named(self.bridge).needs_activity:
            return f"bridge {self.bridge}"
        return f"score {self.score}" if score_named(self.score).needs_activity else None


def prune_by(
    recipe: Recipe,
    loaded: "LoadedModel",
    activity: "Activity | None" = None,
    *,
    checked: CheckedModel | None = None,
    checkpoint_format: CheckpointFormat = "transformers",
    dtype: torch.dtype | None = None,
) -> tuple["PreTrainedModel", Card]:
    """Prune a model as a recipe says.

    Args:
        recipe: how to prune.
        loaded: the model; it stays as it is.
        activity: what its states do; needed if the recipe needs data.
        checked: the model of `loaded`, if it is checked already.
        checkpoint_format: the layout that the card is for.
        dtype: of the pruned model's weights; None for the dtype of `loaded`.

    Raises:
        InputError: if the recipe needs an activity and there is none, or one of another model.
        ModelError: if the model cannot be pruned in this way.
    """
    checked = check_prunable(checked or loaded.model, bridge=recipe.bridge)
    if activity is None and recipe.needs_data:
        raise InputError(f"{recipe.needs_data} is measured on data: an activity is needed")
    selection = _selection(recipe, checked, activity)
    made = projections(selection, recipe.bridge, activity)
    model = pruned(checked, selection, bridge=recipe.bridge, made=made)
    if dtype is not None:
        torch.nn.Module.to(model, dtype)
    element_bytes = next(model.parameters()).element_size()
    ranked = bridge_named(recipe.bridge).keeps_selection
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
        score=recipe.score if ranked else None,
        ties=selection.ties if ranked else 0,
        bridge=recipe.bridge,
        seed=recipe.seed,
        kept=tuple(kept.tolist() for kept in selection.kept) if ranked else None,
        lost_output=tuple(map(lost_output, activity.layers, made)) if activity else None,
        calibration_tokens=activity.tokens if activity else None,
        calibration=activity.provenance if activity else {},
        before=expected_sizes(loaded.model, element_bytes=element_bytes),
        after=expected_sizes(model, element_bytes=element_bytes),
        versions=versions | ({"commit": environment.commit} if environment.commit else {}),
    )
    return model, card


def _selection(recipe: Recipe, model: CheckedModel, activity: "Activity | None") -> Selection:
    if activity is not None:
        return select(activity, ratio=recipe.ratio, score=recipe.score, align=recipe.align, seed=recipe.seed)
    ranking = scores_without_data(model, recipe.score, seed=recipe.seed)
    return select_highest(ranking, ratio=recipe.ratio, score=recipe.score, align=recipe.align)
