"""Bridges: how a layer that keeps k of its n states reads what the n would have held.

In: the activity of a layer. Out: a `Projection`, two matrices for each group. A layer computes
y = C^T h, with h written through B. A smaller one writes B' = P^T B and reads C' = Q^T C, both k wide, so
that y' = C^T Q h' for a state h' of k entries:

- `none`: P and Q pick the kept states; the others count as zero (the paper's bridge).
- `lstsq`: P picks the kept states; Q estimates all n from them by least squares on the calibration data.
- `balanced`: both mix. Of all k-dimensional states, it has the one that loses least of y, if C_t and h_t vary
  independently of each other (balanced truncation).

A mixed state obeys the recurrence only if all the states in it decay alike: h' = P^T h of
h_t = a h_(t-1) + B x is a recurrence again because `a` is one number. That holds in Mamba-2, where A is one
number a head. It does not in Mamba-1, where each state has its own A: there, states can be left out and C can
be mixed (`lstsq`), and B cannot.

Adding a bridge: one function and one entry in `BRIDGES`. The command line, cards, studies and tests list what
is there. Importing this module needs no torch, so that the command line knows the names.

Letters: g groups, n states before, k after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from perfmamba.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from perfmamba.components import Generation
    from perfmamba.pruning.activity import Activity, LayerActivity
    from perfmamba.pruning.selection import Selection

RIDGE = 1e-6
"""What `lstsq` adds to the diagonal of the kept states' correlations."""

_NOTHING = 1e-10
"""Directions of `balanced` that carry less than this share of the strongest are left zero."""


@dataclass(frozen=True, eq=False)
class Projection:
    """What makes one layer's B and C of k states from those of n; float64 on the CPU.

    Attributes:
        b: P (g, n, k).
        c: Q (g, n, k).
        kept: (g, k) the states that P picks; None where P mixes states.
    """

    b: Tensor
    c: Tensor
    kept: Tensor | None = None


@dataclass(frozen=True)
class Bridge:
    """A way to read the states that stay.

    Attributes:
        name: what `--bridge` takes.
        label: what it does, in words.
        project: returns the `Projection` of a layer from its `LayerActivity` (None if there is none and none
            is needed), the kept states (g, k), and n.
        mixes_b: whether P mixes states. If not, it picks the kept ones.
        mixes_c: whether Q mixes states.
        needs_activity: whether it is fitted to calibration data.
        compared_with: for a bridge that ranks no states, the bridge whose control a study compares it with,
            and whose panel it is drawn in; None for a panel of its own and no comparison.
        color: of its line in charts. Only a bridge that ranks no states has one line; others have a line for
            each score.
    """

    name: str
    label: str
    project: Callable[[Any, Tensor, int], Projection]
    mixes_b: bool = False
    mixes_c: bool = False
    needs_activity: bool = True
    compared_with: str | None = None
    color: str = "#000000"

    @property
    def keeps_selection(self) -> bool:
        """Whether the selected states stay as they are, so that a score decides which ones."""
        return not self.mixes_b

    @property
    def mixes(self) -> bool:
        """Whether it takes more than leaving rows out."""
        return self.mixes_b or self.mixes_c

    @property
    def layout(self) -> Literal["lstsq", "balanced"]:
        """What `BridgedMamba2Config.bridge` says: whether the mixers have a matrix for C, or for B and C.

        Checkpoints use the names of the first bridges that needed each.
        """
        return "balanced" if self.mixes_b else "lstsq"

    @property
    def panel(self) -> str:
        """The bridge in whose panel a study draws this one, and with whose control it compares it."""
        return self.name if self.keeps_selection else self.compared_with or self.name

    def fits_generation(self, generation: Generation) -> bool:
        """Whether models of Mamba-1 or of Mamba-2 can have it: B can be mixed in Mamba-2 only."""
        return generation == 2 or not self.mixes_b


def bridge_named(name: str) -> Bridge:
    """The bridge of a name.

    Raises:
        InputError: if there is no such bridge.
    """
    if name not in BRIDGES:
        raise InputError(f"unknown bridge {name!r}; use one of {', '.join(BRIDGES)}")
    return BRIDGES[name]


def projections(
    selection: Selection, bridge: str, activity: Activity | None = None
) -> tuple[Projection, ...]:
    """The projection of each layer.

    Args:
        selection: the states that stay; a bridge that mixes B takes only their number.
        bridge: a key of `BRIDGES`.
        activity: what the states do; only bridges that are fitted to data need it.

    Raises:
        InputError: if there is no such bridge, or it needs an activity and there is none, or one of another
            model.
    """
    found = bridge_named(bridge)
    if not found.needs_activity:
        return tuple(found.project(None, kept, selection.states) for kept in selection.kept)
    if activity is None:
        raise InputError(f"bridge {bridge} is fitted to data: give calibration data or an activity")
    _require_same_states(selection, activity)
    return tuple(
        found.project(layer, kept, selection.states)
        for layer, kept in zip(activity.layers, selection.kept, strict=True)
    )


def zero_filling(kept: Tensor, states: int) -> Projection:
    """Read the kept states (g, k) as they are, and the others as zero."""
    picked = _picking(kept, states)
    return Projection(picked, picked, kept)


def least_squares(layer: LayerActivity, kept: Tensor) -> Projection:
    """Read the kept states (g, k) as they are, and the others as W times the kept ones.

    W = S[:, K] S[K, K]^-1 with S = E[h h^T] is the matrix that makes E|h - W h_K|^2 least. It is computed on
    correlations, so that no state counts for more because it is large, with `RIDGE` on their diagonal, so
    that W stays moderate where kept states are copies of each other.
    """
    import torch

    correlations, scale = _correlations(layer.state_moment)  # (g, n, n), (g, n)
    groups, states = scale.shape
    group = torch.arange(groups)[:, None]
    among_kept = correlations[group[..., None], kept[:, :, None], kept[:, None, :]]  # (g, k, k)
    with_all = correlations[group, kept]  # (g, k, n)
    ridge = RIDGE * torch.eye(kept.shape[1], dtype=torch.float64)
    estimate = torch.linalg.solve(among_kept + ridge, with_all).mT  # (g, n, k)
    kept_scale = scale.gather(1, kept)
    weights = scale[:, :, None] * estimate / torch.where(kept_scale > 0, kept_scale, 1.0)[:, None, :]
    picked = _picking(kept, states)
    weights[group, kept] = picked[group, kept]
    return Projection(picked, weights, kept)


def balanced(layer: LayerActivity, count: int) -> Projection:
    """Mix the states into the `count` directions that matter most for C^T h.

    With S_h = E[h h^T] = R_h R_h^T, S_c = E[C C^T] = R_c R_c^T and R_h^T R_c = U s V^T, P = R_c V s^-1/2 and
    Q = R_h U s^-1/2, cut to the largest `count` of s. Then P^T Q = 1, and C^T Q P^T h is, for independent C
    and h, the closest to C^T h that any `count` states can give; what is lost is the rest of s.

    Source: balanced truncation by square roots (Tombs and Postlethwaite, 1987), with measured second moments
    in place of Gramians.
    """
    import torch

    state_root, output_root = _square_root(layer.state_moment), _square_root(layer.output_moment)
    left, strength, right = torch.linalg.svd(state_root.mT @ output_root)
    strength = strength[:, None, :count]  # (g, 1, k)
    carries = strength > _NOTHING * strength[..., :1]
    scale = torch.where(carries, strength, torch.inf).rsqrt()
    return Projection(
        b=output_root @ right.mT[..., :count] * scale,
        c=state_root @ left[..., :count] * scale,
    )


def lost_output(layer: LayerActivity, projection: Projection) -> float:
    """The share of E|C^T h|^2 that a projection loses on the calibration data, C and h taken as independent.

    Returns:
        tr(S_c E S_h E^T) / tr(S_c S_h) summed over groups, with E = 1 - Q P^T; 0 where nothing is read.
    """
    import torch

    states = layer.state_moment.shape[-1]
    error = torch.eye(states, dtype=torch.float64) - projection.c @ projection.b.mT
    whole = (layer.output_moment * layer.state_moment).sum()
    lost = (layer.output_moment * (error @ layer.state_moment @ error.mT)).sum()
    return float(lost / whole) if whole > 0 else 0.0


def _require_same_states(selection: Selection, activity: Activity) -> None:
    seen = [tuple(layer.write.shape) for layer in activity.layers]
    asked = [(len(kept), selection.states) for kept in selection.kept]
    if seen != asked:
        raise InputError(
            f"the activity is of {len(seen)} layers with (groups, states) {sorted(set(seen))}, the selection "
            f"of {len(asked)} with {sorted(set(asked))}: they are of different models"
        )


def _picking(kept: Tensor, states: int) -> Tensor:
    """The columns of the identity that `kept` (g, k) names, (g, n, k)."""
    import torch

    return torch.eye(states, dtype=torch.float64)[kept].mT.contiguous()


def _correlations(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Second moments (g, n, n) as correlations (g, n, n) and root mean squares (g, n).

    A state that stays at zero has no correlation with any other.
    """
    import torch

    scale = moment.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    inverse = torch.where(scale > 0, scale, torch.inf).reciprocal()
    return inverse[:, :, None] * moment * inverse[:, None, :], scale


def _square_root(moment: Tensor) -> Tensor:
    """R with R R^T = S for symmetric S (g, n, n), whatever its rank."""
    import torch

    values, vectors = torch.linalg.eigh((moment + moment.mT) / 2)
    root: Tensor = vectors * values.clamp(min=0).sqrt()[:, None, :]
    return root


BRIDGES = {
    bridge.name: bridge
    for bridge in (
        Bridge(
            "none",
            "what was removed counts as zero",
            lambda _layer, kept, states: zero_filling(kept, states),
            needs_activity=False,
        ),
        Bridge(
            "lstsq",
            "all states are estimated from the kept ones by least squares, on correlations with "
            f"{RIDGE:g} added to their diagonal",
            lambda layer, kept, _states: least_squares(layer, kept),
            mixes_c=True,
        ),
        Bridge(
            "balanced",
            "B and C are projected to the directions that matter most for the output",
            lambda layer, kept, _states: balanced(layer, kept.shape[1]),
            mixes_b=True,
            mixes_c=True,
            compared_with="lstsq",
            color="#cc79a7",
        ),
    )
}
"""Every bridge by its name."""
