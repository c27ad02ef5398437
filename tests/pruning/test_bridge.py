"""Bridges against least squares, eigenvalues and sums written out: what each reads, and what it loses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from perfmamba.errors import InputError
from perfmamba.pruning.activity import Activity, LayerActivity
from perfmamba.pruning.bridge import balanced, least_squares, lost_output, projections, zero_filling
from perfmamba.pruning.selection import Selection

EXACT = {"rtol": 1e-9, "atol": 1e-12}


def layer_of(h, c):
    """The activity of samples of h and of C, (g, samples, n) each."""
    groups, _, states = h.shape
    nothing = torch.zeros(groups, states).double()
    return LayerActivity(
        dt=torch.ones(1).double(),
        write=nothing,
        output=nothing,
        state_moment=h.mT @ h / h.shape[1],
        output_moment=c.mT @ c / c.shape[1],
        magnitude=nothing,
    )


def samples(*, groups=2, states=5, count=60, rank=None, seed=0):
    """States that depend on each other and are of very different sizes, of a given rank."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.logspace(-1, 1, states).double()
    drawn = torch.randn(2, groups, count, rank or states, generator=generator).double()
    mixing = torch.randn(2, groups, rank or states, states, generator=generator).double()
    h, c = drawn @ mixing
    return h * sizes, c


KEPT = torch.tensor([[0, 2, 3], [1, 2, 4]])


def test_zero_filling_reads_kept_states_and_nothing_else():
    made = zero_filling(KEPT, 5)
    h = torch.arange(1.0, 6.0).double()
    read = made.c @ (made.b.mT @ h)[..., None]
    assert read[..., 0].tolist() == [[1, 0, 3, 4, 0], [0, 2, 3, 0, 5]]


def test_least_squares_is_that_of_the_samples():
    h, c = samples()
    made = least_squares(layer_of(h, c), KEPT)
    for group, kept in enumerate(KEPT.tolist()):
        assert torch.equal(made.b[group], torch.eye(5).double()[:, kept])
        fitted = np.linalg.lstsq(h[group, :, kept].numpy(), h[group].numpy(), rcond=None)[0]
        assert_close(made.c[group], torch.from_numpy(fitted.T), rtol=1e-3, atol=1e-3)
        assert torch.equal(made.c[group, kept], torch.eye(3).double())


def test_least_squares_does_not_depend_on_the_sizes_of_states():
    h, c = samples()
    sizes = torch.tensor([1e-6, 1.0, 1e3, 1e-2, 1e5]).double()
    plain, scaled = least_squares(layer_of(h, c), KEPT), least_squares(layer_of(h * sizes, c), KEPT)
    assert_close(scaled.c, sizes[:, None] * plain.c / sizes[KEPT][:, None, :], rtol=1e-6, atol=1e-9)


def test_copies_of_kept_states_are_not_missed():
    h, c = samples()
    h[..., 1], h[..., 4] = 3 * h[..., 0] - h[..., 2], 0.1 * h[..., 3]
    kept = KEPT[:1].expand(2, -1)
    layer = layer_of(h, c)
    assert lost_output(layer, least_squares(layer, kept)) < 1e-9
    assert lost_output(layer, zero_filling(kept, 5)) > 0.01


def test_kept_copies_of_each_other_give_moderate_weights():
    h, c = samples()
    h[..., 2] = h[..., 0] * (1 + 1e-12)
    made = least_squares(layer_of(h, c), KEPT)
    sizes = layer_of(h, c).energy.sqrt()
    assert (made.c * sizes.gather(1, KEPT)[:, None] / sizes[..., None]).abs().max() < 10


@pytest.mark.parametrize("bridge", ["lstsq", "balanced"])
def test_states_at_rest_do_no_harm(bridge):
    h, c = samples()
    h[..., [1, 2]] = 0
    c[1] = 0
    layer = layer_of(h, c)
    made = least_squares(layer, KEPT) if bridge == "lstsq" else balanced(layer, 3)
    assert made.b.isfinite().all()
    assert made.c.isfinite().all()
    silent = layer_of(0 * h, 0 * c)
    made = least_squares(silent, KEPT) if bridge == "lstsq" else balanced(silent, 3)
    assert made.c.isfinite().all()
    assert lost_output(silent, made) == 0


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_balanced_is_a_projection_with_equal_moments_on_both_sides(count):
    layer = layer_of(*samples())
    made = balanced(layer, count)
    assert_close(made.b.mT @ made.c, torch.eye(count).double().expand(2, -1, -1), **EXACT)
    states, outputs = (
        made.b.mT @ layer.state_moment @ made.b,
        made.c.mT @ layer.output_moment @ made.c,
    )
    assert_close(states, outputs, rtol=1e-7, atol=1e-9)
    assert_close(states, torch.diag_embed(states.diagonal(dim1=1, dim2=2)), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_balanced_loses_the_smallest_eigenvalues_of_the_product_of_moments(count):
    layer = layer_of(*samples())
    values = [
        np.sort(np.linalg.eigvals((c @ h).numpy()).real)[::-1]
        for c, h in zip(layer.output_moment, layer.state_moment, strict=True)
    ]
    lost = sum(group[count:].sum() for group in values) / sum(group.sum() for group in values)
    assert lost_output(layer, balanced(layer, count)) == pytest.approx(lost, rel=1e-6, abs=1e-12)


def test_balanced_loses_nothing_where_states_span_fewer_directions():
    layer = layer_of(*samples(rank=3))
    assert lost_output(layer, balanced(layer, 3)) < 1e-12
    assert lost_output(layer, balanced(layer, 2)) > 1e-6
    whole = balanced(layer, 5)
    assert whole.b[..., 3:].count_nonzero() == whole.c[..., 3:].count_nonzero() == 0


def test_lost_output_is_the_mean_over_all_pairs_of_samples():
    h, c = samples(count=7)
    layer = layer_of(h, c)
    for made in (zero_filling(KEPT, 5), least_squares(layer, KEPT), balanced(layer, 2)):
        whole = lost = 0.0
        for group in range(2):
            for state in h[group]:
                for output in c[group]:
                    read = (made.c[group].mT @ output) @ (made.b[group].mT @ state)
                    whole += float(output @ state) ** 2
                    lost += float(output @ state - read) ** 2
        assert lost_output(layer, made) == pytest.approx(lost / whole, rel=1e-6, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), states=st.integers(2, 7), data=st.data())
def test_no_bridge_loses_less_than_balanced(seed, states, data):
    layer = layer_of(*samples(states=states, seed=seed))
    count = data.draw(st.integers(1, states))
    kept = torch.stack([torch.randperm(states, generator=torch.Generator().manual_seed(seed))[:count]] * 2)
    kept = kept.sort(dim=1).values
    least = lost_output(layer, balanced(layer, count))
    assert -1e-12 < least <= 1
    assert lost_output(layer, least_squares(layer, kept)) >= least - 1e-9
    assert lost_output(layer, zero_filling(kept, states)) >= least - 1e-9


def selection_of(*kept):
    return Selection(kept=kept, ratio=0.4, states=5, score="output", ties=0)


def test_projections_are_made_layer_by_layer():
    activity = Activity((layer_of(*samples(seed=1)), layer_of(*samples(seed=2))), tokens=1)
    selection = selection_of(KEPT, KEPT + torch.tensor([[0], [0]]))
    for bridge, expected in {
        "none": [zero_filling(KEPT, 5)] * 2,
        "lstsq": [least_squares(layer, KEPT) for layer in activity.layers],
        "balanced": [balanced(layer, 3) for layer in activity.layers],
    }.items():
        made = projections(selection, bridge, activity)
        assert all(torch.equal(ours.c, theirs.c) for ours, theirs in zip(made, expected, strict=True))
        assert all(torch.equal(ours.b, theirs.b) for ours, theirs in zip(made, expected, strict=True))


@pytest.mark.parametrize("bridge", ["lstsq", "balanced"])
def test_a_fitted_bridge_needs_an_activity_of_the_same_model(bridge):
    with pytest.raises(InputError, match="calibration"):
        projections(selection_of(KEPT), bridge)
    with pytest.raises(InputError, match="different models"):
        projections(selection_of(KEPT), bridge, Activity((layer_of(*samples(states=6)),), tokens=1))


def test_an_unknown_bridge_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="none, lstsq, balanced"):
        projections(selection_of(KEPT), "rotated")
