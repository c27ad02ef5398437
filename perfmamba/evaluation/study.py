"""What pruning costs: every score, bridge and ratio, on one trained model after the other.

In: models, a measure and a grid. Out: `Result`s as they come. What they say together is in
`perfmamba.report.study`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from perfmamba.evaluation.measures import Measure, Score
from perfmamba.models import use_backend
from perfmamba.pruning.activity import Activity, gather_activity
from perfmamba.pruning.bridge import BridgeName
from perfmamba.pruning.selection import Selection, select
from perfmamba.pruning.surgery import pruned, state_sizes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from perfmamba.models import LoadedModel

CONTROL = "random"
"""The score that every other is held against."""


@dataclass(frozen=True)
class Variant:
    """One way to prune a model.

    Attributes:
        score: what ranks the states; None where nothing does: in the dense model, and with the bridge
            `balanced`, which takes no selection.
        bridge: how the kept states are read; None in the dense model.
        ratio: the share of states removed; 0 in the dense model.
        seed: of the control; None for all else.
    """

    score: str | None
    bridge: BridgeName | None
    ratio: float
    seed: int | None = None


DENSE = Variant(score=None, bridge=None, ratio=0.0)


@dataclass(frozen=True)
class Result:
    """The measurement of one variant of one model.

    Attributes:
        model: the model's name.
        weights: digest of its weights before pruning.
        variant: how it was pruned.
        kept: states left in each group.
        score: what was measured.
    """

    model: str
    weights: str
    variant: Variant
    kept: int
    score: Score


def variants(
    *, ratios: Sequence[float], scores: Sequence[str], bridges: Sequence[BridgeName], seeds: int
) -> tuple[Variant, ...]:
    """The dense model and every combination: the control once a seed, `balanced` once a ratio."""
    grid = [DENSE]
    for ratio in ratios:
        for bridge in bridges:
            if bridge == "balanced":
                grid.append(Variant(None, bridge, ratio))
                continue
            for score in scores:
                draws = range(seeds) if score == CONTROL else (None,)
                grid += [Variant(score, bridge, ratio, seed) for seed in draws]
    return tuple(grid)


def measure_variants(
    loaded: "LoadedModel", grid: Iterable[Variant], measure: Measure, *, weights: str, backend: str
) -> Iterator[Result]:
    """Prune a model in each way of a grid, and measure what is left.

    The calibration data are run through the model once, before the first variant that is not the dense one.

    Args:
        loaded: the dense model; it stays as it is.
        grid: how to prune it.
        measure: what to calibrate on and what to measure.
        weights: `weights_digest` of the dense model.
        backend: what runs the pruned models.

    Raises:
        ModelError: if the model cannot be pruned so.
    """
    activity: Activity | None = None
    for variant in grid:
        if variant.bridge is None:
            kept, score = state_sizes(loaded.model)[1], measure.evaluate(loaded.model)
        else:
            activity = activity or gather_activity(loaded.model, measure.calibration())
            selection = _selection(activity, variant)
            smaller = pruned(loaded.model, selection, bridge=variant.bridge, activity=activity)
            use_backend(smaller, backend)
            kept, score = selection.count, measure.evaluate(smaller)
        yield Result(loaded.name, weights, variant, kept, score)


def weights_digest(model: "PreTrainedModel") -> str:
    """16 digits that tell one set of weights from another."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _selection(activity: Activity, variant: Variant) -> Selection:
    """The kept states; of `balanced`, which takes only their number, any."""
    score = variant.score or CONTROL
    return select(activity, ratio=variant.ratio, score=score, seed=variant.seed or 0)
