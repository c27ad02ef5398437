"""Scores against their formulas, worked out by hand."""

import pytest
import torch
from torch.testing import assert_close

from perfmamba.errors import InputError, ModelError
from perfmamba.pruning.activity import gather_activity
from perfmamba.pruning.scores import SCORES, scores, scores_without_data
from tests.pruning.activities import activity_of, layer_activity
from tests.small_models import VOCABULARY, small_mamba1, small_mamba2


def values(name, layer, **options):
    (score,) = scores(activity_of(layer), name, **options)
    return score.tolist()


@pytest.mark.parametrize(
    ("dt", "write", "expected"),
    [
        # 5 states, 2 heads: floor(s 2 / 5) is 0 0 0 1 1
        ([0.1, 0.2], [[1.0] * 5], [[0.1, 0.1, 0.1, 0.2, 0.2]]),
        # 2 groups of 3 states and of 2 heads: floor(s 4 / 6) is 0 0 1, 2 2 3
        ([0.1, 0.2, 0.3, 0.4], [[1.0] * 3] * 2, [[0.1, 0.1, 0.2], [0.3, 0.3, 0.4]]),
        # more heads than states: 2 states of 5 heads, floor(s 5 / 2) is 0 2
        ([0.1, 0.2, 0.3, 0.4, 0.5], [[1.0] * 2], [[0.1, 0.3]]),
    ],
    ids=["clusters", "groups", "more heads than states"],
)
def test_the_score_of_the_paper_is_the_dt_of_a_head(dt, write, expected):
    assert values("paper", layer_activity(dt, write=write)) == expected


def test_in_mamba2_130m_the_paper_ties_five_or_six_states_at_a_time():
    (score,) = scores(activity_of(layer_activity(range(1, 25), write=[[1.0] * 128])), "paper")
    _, counts = score.unique(return_counts=True)
    assert set(counts.tolist()) == {5, 6}
    assert len(counts) == 24


def test_the_other_scores_are_what_was_measured():
    layer = layer_activity(
        [0.1, 0.2],
        write=[[1.0, 2.0]],
        output=[[3.0, 4.0]],
        state_moment=[[[5.0, -1.0], [-1.0, 6.0]]],
        magnitude=[[7.0, 8.0]],
    )
    assert values("delta_b", layer) == [[1, 2]]
    assert values("output", layer) == [[3, 4]]
    assert values("energy", layer) == [[5, 6]]
    assert values("magnitude", layer) == [[7, 8]]


def test_random_is_seeded_and_differs_by_layer():
    activity = activity_of(layer_activity([0.1]), layer_activity([0.1]))
    first, second = scores(activity, "random", seed=3)
    assert not first.equal(second)
    assert first.equal(scores(activity, "random", seed=3)[0])
    assert not first.equal(scores(activity, "random", seed=4)[0])


@pytest.mark.parametrize("make", [small_mamba1, small_mamba2])
@pytest.mark.parametrize("name", [name for name, score in SCORES.items() if not score.needs_activity])
def test_scores_without_data_are_the_same(make, name):
    model = make()
    activity = gather_activity(model, [torch.zeros(1, 3, dtype=torch.int64)])
    assert_close(scores_without_data(model, name, seed=5), scores(activity, name, seed=5), rtol=0, atol=0)


def test_output_is_the_squared_error_of_removing_one_state():
    """Without state s, y of a head's channel changes by C_s h_s: transformers' own scan tells the same."""
    model = small_mamba2(layers=1).double()
    tokens = torch.randint(0, VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(0))
    (score,) = scores(gather_activity(model, [tokens]), "output")
    mixer, ys = model.backbone.layers[0].mixer, []
    mixer.norm.register_forward_pre_hook(lambda _, args: ys.append(args[0]))  # y (b, l, d), skip included
    dense = mixer.in_proj.weight.detach().clone()
    with torch.no_grad():
        model(tokens)
        for group, state in ((0, 2), (1, 5)):
            read_row = 2 * 64 + 2 * 6 + group * 6 + state
            mixer.in_proj.weight[read_row] = 0
            bias = mixer.conv1d.bias[64 + 12 + group * 6 + state].clone()
            mixer.conv1d.bias[64 + 12 + group * 6 + state] = 0
            model(tokens)
            mixer.in_proj.weight.copy_(dense)
            mixer.conv1d.bias[64 + 12 + group * 6 + state] = bias
            error = (ys[-1].double() - ys[0].double()).square().sum() / tokens.numel()
            assert error.item() == pytest.approx(score[group, state].item(), rel=1e-2)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="unknown score 'taylor'; use one of paper, delta_b, energy, output"):
        scores(activity_of(layer_activity([0.1])), "taylor")
    with pytest.raises(
        InputError, match="score 'output' needs calibration data; without them there are magn"
    ):
        scores_without_data(small_mamba1(), "output")
    with pytest.raises(ModelError, match="Linear has no Mamba mixer"):
        scores_without_data(torch.nn.Linear(2, 2), "random")
    assert len(SCORES) == 6
