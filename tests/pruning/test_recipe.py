"""From a recipe to a model and its card, and the sizes that the card expects."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from perfmamba.components import Generation
from perfmamba.errors import InputError, ModelError
from perfmamba.models import LoadedModel, use_backend
from perfmamba.pruning.activity import gather_activity
from perfmamba.pruning.bridge import BRIDGES, lost_output, projections
from perfmamba.pruning.card import is_pruned_checkpoint, write_card
from perfmamba.pruning.expected_sizes import MANY_SEQUENCES, expected_sizes, sizes_table
from perfmamba.pruning.recipe import Recipe, prune_by
from perfmamba.pruning.selection import select
from perfmamba.pruning.surgery import pruned
from perfmamba.table import render
from tests.pruning.prunable import TOKENS, logits, mamba1, mamba2, random_selection
from tests.small_models import cache_of


def loaded(model, generation: Generation = 2):
    return LoadedModel("small", model, generation, "random (seed 1)", {}, 2, 2)


@pytest.fixture(scope="module")
def dense():
    return mamba2(dtype=torch.float32)


@pytest.fixture(scope="module")
def activity(dense):
    return gather_activity(dense, [TOKENS], provenance={"data": "small.txt"})


def test_a_recipe_gives_the_model_of_its_selection(dense, activity):
    model, card = prune_by(Recipe(0.5, "energy", "lstsq"), loaded(dense), activity)
    selection = select(activity, ratio=0.5, score="energy")
    expected = pruned(dense, selection, bridge="lstsq", activity=activity)
    assert torch.equal(logits(model), logits(expected))
    assert card.kept == tuple(kept.tolist() for kept in selection.kept)
    made = projections(selection, "lstsq", activity)
    assert card.lost_output == tuple(map(lost_output, activity.layers, made))
    assert (card.states, card.kept_states, card.calibration_tokens) == (6, 3, 42)


@pytest.mark.parametrize("score", ["magnitude", "random"])
def test_scores_without_data_are_the_same_with_and_without(score, dense, activity):
    recipe = Recipe(0.5, score, seed=3)
    assert recipe.needs_data is None
    with_data, card_with = prune_by(recipe, loaded(dense), activity)
    without, card_without = prune_by(recipe, loaded(dense))
    assert card_with.kept == card_without.kept
    assert torch.equal(logits(with_data), logits(without))
    assert card_without.lost_output is card_without.calibration_tokens is None
    _, other = prune_by(replace(recipe, seed=4), loaded(dense))
    assert (other.kept == card_with.kept) == (score == "magnitude")


@pytest.mark.parametrize("recipe", [Recipe(0.5), Recipe(0.5, "random", "lstsq")])
def test_what_is_measured_needs_an_activity(recipe, dense):
    with pytest.raises(InputError, match=r"(score output|bridge lstsq) is measured"):
        prune_by(recipe, loaded(dense))


def test_the_activity_of_another_model_is_refused(activity):
    with pytest.raises(InputError, match="6 states"):
        prune_by(Recipe(0.5), loaded(mamba2(states=8)), activity)
    with pytest.raises(InputError, match="layers"):
        prune_by(Recipe(0.5), loaded(mamba2(layers=3)), activity)


@pytest.mark.parametrize(
    "values",
    [{"ratio": 1.0}, {"ratio": -0.1}, {"align": 0}, {"score": "best"}, {"bridge": "golden"}],
)
def test_a_recipe_out_of_range_is_refused(values):
    with pytest.raises(InputError, match=str(next(iter(values)))):
        Recipe(**({"ratio": 0.5} | values))


def test_mamba1_states_are_not_mixed():
    model = mamba1(dtype=torch.float32)
    with pytest.raises(ModelError, match="use lstsq"):
        prune_by(
            Recipe(0.5, bridge="balanced"), loaded(model, generation=1), gather_activity(model, [TOKENS])
        )


def test_the_card_says_what_was_done(dense, activity, tmp_path):
    _, card = prune_by(Recipe(0.5, align=4), loaded(dense), activity)
    write_card(card, tmp_path)
    assert is_pruned_checkpoint(tmp_path)
    facts = json.loads((tmp_path / "card.json").read_text())
    assert facts["kept_states"] == 4
    assert facts["calibration"]["data"] == "small.txt"
    assert facts["after"] == asdict(card.after)
    readme = (tmp_path / "README.md").read_text()
    for told in (
        "# small, 4 of 6 states",
        "random (seed 1)",
        "ratio: 0.5",
        "4 of 6 states are kept, not 3: a multiple of 4",
        "score: output",
        "bridge: none",
        "42 tokens",
        "small.txt",
        "perfmamba",
        f"{card.after.parameters:,}",
    ):
        assert told in readme


def test_a_projection_of_all_states_names_no_score(dense, activity):
    _, card = prune_by(Recipe(0.5, bridge="balanced"), loaded(dense), activity)
    assert card.score is None
    assert card.kept is None
    assert not any(line.startswith("score") for line in card.lines())


def test_ties_and_seeds_are_told(dense, activity):
    _, card = prune_by(Recipe(0.3, "paper"), loaded(dense), activity)
    assert card.ties > 0
    assert f"score: paper; {card.ties} states tied and went by their index" in card.lines()
    _, card = prune_by(Recipe(0.5, "random", seed=7), loaded(dense), activity)
    assert "score: random (seed 7)" in card.lines()


def test_the_dtype_of_the_weights_can_be_another(dense, activity):
    model, card = prune_by(Recipe(0.5), loaded(dense), activity, dtype=torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert next(dense.parameters()).dtype is torch.float32
    whole = prune_by(Recipe(0.5), loaded(dense), activity)[1]
    assert card.before.decode_bytes < whole.before.decode_bytes
    assert card.after.decode_bytes < whole.after.decode_bytes


def models(dense, activity):
    selection = random_selection(dense, 2)
    return {bridge: pruned(dense, selection, bridge=bridge, activity=activity) for bridge in BRIDGES}


@pytest.mark.parametrize("bridge", BRIDGES)
def test_the_expected_state_is_what_is_cached(bridge, dense, activity):
    model = models(dense, activity)[bridge]
    with torch.inference_mode():
        cache = cache_of(model(TOKENS[:1], use_cache=True))
    cached = [
        state
        for layer in range(2)
        for state in (cache.layers[layer].recurrent_states[0], cache.layers[layer].conv_states[0])
    ]
    expected = expected_sizes(model, element_bytes=4)
    assert expected.state_bytes == sum(state.numel() * state.element_size() for state in cached)
    assert expected.parameters == sum(weight.numel() for weight in set(model.parameters()))


@pytest.mark.parametrize("bridge", [name for name, bridge in BRIDGES.items() if bridge.mixes])
def test_the_expected_work_of_a_bridge_is_what_it_computes(bridge, dense, activity):
    """Products by torch's own counter; what else it adds by hand, per channel of B and C."""
    made = models(dense, activity)
    matrices, groups, entries, states, taps, layers, width = (
        BRIDGES[bridge].mixes_b + BRIDGES[bridge].mixes_c,
        2,
        6,
        2,
        4,
        2,
        32,
    )
    channels = groups * matrices * (entries - states)
    products = []
    for model in (made[bridge], made["none"]):
        use_backend(model, "hf")
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            model(TOKENS[:1], use_cache=False)
        counts = counter.get_flop_counts()["Global"]
        products.append(sum(flops for operator, flops in counts.items() if "conv" not in str(operator)))
    length = TOKENS.shape[1]
    seen = (products[0] - products[1]) // (length * layers)
    each = seen + channels * (2 * taps + 4 + 1)  # taps, bias and SiLU of the convolution; bias of in_proj
    sizes = [expected_sizes(model, element_bytes=4) for model in (made[bridge], made["none"])]
    assert sizes[0].decode_flops - sizes[1].decode_flops == layers * each
    assert sizes[0].prefill_flops - sizes[1].prefill_flops == layers * each * 2048

    weights = sizes[0].parameters - sizes[1].parameters
    assert weights == layers * (channels * (width + 1 + taps + 1) + matrices * groups * entries * states)
    activations = channels * (1 + 2 + 2 * taps + 1)  # in_proj, convolution and its window, bridge
    moved = weights + layers * activations
    assert sizes[0].decode_bytes - sizes[1].decode_bytes == 4 * moved
    moved = weights + layers * activations * MANY_SEQUENCES
    assert sizes[0].decode_many_bytes - sizes[1].decode_many_bytes == 4 * moved


def test_sizes_are_shown_side_by_side(dense, activity):
    _, card = prune_by(Recipe(0.5), loaded(dense), activity)
    table = sizes_table(card.before, card.after, title="t", notes=card.lines())
    rows = {row["what"]: row for row in table.records()}
    assert rows["parameters"]["before"] == sum(weight.numel() for weight in dense.parameters())
    assert rows["bytes cached for a sequence"]["ratio"] == pytest.approx(
        card.after.state_bytes / card.before.state_bytes
    )
    assert len(rows) == 6
    assert "bridge: none" in render(table, "text")
