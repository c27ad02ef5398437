"""Which states to keep: Algorithm 1 of the paper, on any scores.

In: a score for each state of each layer, and a ratio. Out: a `Selection`, the kept states by index. The
number of kept states is exact for the ratio as it was written: a ratio of 0.8 leaves 2 of 10 states.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from perfmamba.errors import InputError
from perfmamba.pruning.activity import Activity
from perfmamba.pruning.scores import scores


@dataclass(frozen=True, eq=False)
class Selection:
    """The states that stay.

    Attributes:
        kept: for each layer (g, k), the indices of the kept states of each group, int64, ascending.
        ratio: the share that was to go.
        states: N, how many there were.
        score: the name of the score that ranked them.
        ties: how many states of all layers stay or go by their index alone, because a state that stays and
            one that goes have the same score as they.
        align: the number of kept states was rounded up to a multiple of this.
    """

    kept: tuple[Tensor, ...]
    ratio: float
    states: int
    score: str
    ties: int
    align: int = 1

    @property
    def count(self) -> int:
        """How many states stay in each group."""
        return self.kept[0].shape[1]

    @property
    def alignment(self) -> str | None:
        """What rounding up to a multiple changed, in words; None if nothing changed."""
        exact = kept_count(self.states, self.ratio)
        if self.count == exact:
            return None
        return f"{self.count} of {self.states} states are kept, not {exact}: a multiple of {self.align}"


def kept_count(states: int, ratio: float, *, align: int = 1) -> int:
    """The number of states to keep: floor(N (1 - r)), at least 1, up to a multiple of `align`, at most N.

    Source: Algorithm 1 of the paper.

    Raises:
        InputError: if the ratio is not at least 0 and below 1, or `align` is below 1.
    """
    if not 0 <= ratio < 1:
        raise InputError(f"ratio {ratio}: give the share of states to remove, at least 0 and below 1")
    if align < 1:
        raise InputError(f"align {align}: give a whole number of at least 1")
    exact = max(1, math.floor(states * (1 - Fraction(str(ratio)))))
    return min(states, -(-exact // align) * align)


def select(
    activity: Activity, *, ratio: float, score: str = "output", align: int = 1, seed: int = 0
) -> Selection:
    """Keep the states that score highest, in each layer and group.

    Args:
        activity: what the states do.
        ratio: the share of states to remove, at least 0 and below 1.
        score: a key of `perfmamba.pruning.scores.SCORES`.
        align: round the number of kept states up to a multiple of this, which some GPU kernels need.
        seed: of a score that is drawn at random.

    Raises:
        InputError: if an argument is out of its range, or a score is not finite.
    """
    ranking = scores(activity, score, seed=seed)
    return select_highest(ranking, ratio=ratio, score=score, align=align)


def select_highest(ranking: Sequence[Tensor], *, ratio: float, score: str, align: int = 1) -> Selection:
    """Keep the states that score highest, from the scores (g, n) of each layer.

    Args:
        ranking: the scores of each layer.
        ratio: the share of states to remove, at least 0 and below 1.
        score: the name of the score.
        align: round the number of kept states up to a multiple of this.

    Raises:
        InputError: as `select`.
    """
    states = ranking[0].shape[1]
    count = kept_count(states, ratio, align=align)
    for layer, values in enumerate(ranking):
        if not values.isfinite().all():
            raise InputError(f"score {score}: layer {layer} has values that are not finite (NaN or infinity)")
    return Selection(
        kept=tuple(_highest(values, count) for values in ranking),
        ratio=ratio,
        states=states,
        score=score,
        ties=sum(_ties(values, count) for values in ranking),
        align=align,
    )


def _highest(values: Tensor, count: int) -> Tensor:
    """Indices (g, k) of the `count` highest of each row, the lower index first among equals; ascending."""
    order = values.argsort(dim=1, descending=True, stable=True)
    return order[:, :count].sort(dim=1).values


def _ties(values: Tensor, count: int) -> int:
    """How many of (g, n) stay or go by index alone."""
    ranked = values.sort(dim=1, descending=True).values
    if count == ranked.shape[1]:
        return 0
    last, next_one = ranked[:, count - 1 : count], ranked[:, count : count + 1]
    return int(((ranked == last) & (last == next_one)).sum())
