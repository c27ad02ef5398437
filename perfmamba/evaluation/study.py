"""What pruning takes from a model's quality: every score, bridge and ratio, on one trained model at a time.

In: models, a measure and a grid. Out: one `VariantResult` after the other. `perfmamba.report.study` puts them
together.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import torch

from perfmamba.evaluation.measures import Measure, MeasuredValue
from perfmamba.models import use_backend
from perfmamba.pruning.activity import Activity, gather_activity
from perfmamba.pruning.bridge import bridge_named
from perfmamba.pruning.scores import CONTROL, score_named
from perfmamba.pruning.selection import Selection, select
from perfmamba.pruning.surgery import check_prunable, pruned, state_sizes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from perfmamba.components import Generation
    from perfmamba.models import LoadedModel
    from perfmamba.pruning.checked import CheckedModel


@dataclass(frozen=True)
class Variant:
    """One way to prune a model.

    Attributes:
        score: what ranks the states; None in the dense model, and with a bridge that mixes all states.
        bridge: how the kept states are read; None in the dense model.
        ratio: the share of states removed; 0 in the dense model.
        seed: of a score that is drawn at random; None for all others.
    """

    score: str | None
    bridge: str | None
    ratio: float
    seed: int | None = None


DENSE = Variant(score=None, bridge=None, ratio=0.0)


class VariantResult(msgspec.Struct, frozen=True):
    """The measurement of one variant of one model.

    Attributes:
        model: the model's name.
        weights: digest of its weights before pruning.
        variant: how it was pruned.
        kept: states left in each group.
        measured: what was measured; `score` in a study's files.
    """

    model: str
    weights: str
    variant: Variant
    kept: int
    measured: MeasuredValue = msgspec.field(name="score")


def variants(
    *, ratios: Sequence[float], scores: Sequence[str], bridges: Sequence[str], seeds: int
) -> tuple[Variant, ...]:
    """List the dense model and every combination.

    A score that is drawn at random comes once for each seed, a bridge that ranks no states once for each
    ratio.

    Raises:
        InputError: if there is no such score or bridge.
    """
    grid = [DENSE]
    for ratio in ratios:
        for bridge in bridges:
            if not bridge_named(bridge).keeps_selection:
                grid.append(Variant(None, bridge, ratio))
                continue
            for score in scores:
                draws = range(seeds) if score_named(score).seeded else (None,)
                grid += [Variant(score, bridge, ratio, seed) for seed in draws]
    return tuple(grid)


def fitting(grid: Iterable[Variant], generation: "Generation") -> tuple[Variant, ...]:
    """The variants that models of Mamba-1 or of Mamba-2 can have."""
    return tuple(
        variant
        for variant in grid
        if variant.bridge is None or bridge_named(variant.bridge).fits_generation(generation)
    )


def measure_variants(
    loaded: "LoadedModel",
    grid: Iterable[Variant],
    measure: Measure,
    *,
    weights: str,
    backend: str,
    checked: "CheckedModel | None" = None,
) -> Iterator[VariantResult]:
    """Prune a model in each way of a grid, and measure what is left.

    The model runs over the calibration data once, before the first variant that is not the dense one.

    Args:
        loaded: the dense model; it stays as it is.
        grid: how to prune it.
        measure: what to calibrate on and what to measure.
        weights: `weights_digest` of the dense model.
        backend: what runs the pruned models.
        checked: the model of `loaded`, if it is checked already.

    Raises:
        ModelError: if the model cannot be pruned in this way.
    """
    activity: Activity | None = None
    for variant in grid:
        if variant.bridge is None:
            kept, measured = state_sizes(loaded.model)[1], measure.evaluate(loaded.model)
        else:
            checked = checked or check_prunable(loaded.model)
            activity = activity or gather_activity(checked, measure.calibration())
            selection = _selection(activity, variant)
            smaller = pruned(checked, selection, bridge=variant.bridge, activity=activity)
            use_backend(smaller, backend)
            kept, measured = selection.count, measure.evaluate(smaller)
        yield VariantResult(loaded.name, weights, variant, kept, measured)


def weights_digest(model: "PreTrainedModel") -> str:
    """A digest of 16 digits that tells one set of weights from another."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _selection(activity: Activity, variant: Variant) -> Selection:
    """The kept states; any will do for a bridge that takes only their number."""
    score = variant.score or CONTROL
    return select(activity, ratio=variant.ratio, score=score, seed=variant.seed or 0)
