"""What states do: against the definitions, over any cut of the data, through a file and back."""

import dataclasses
import json
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close
from transformers import Mamba2Config, Mamba2ForCausalLM

from perfmamba.errors import InputError, ModelError
from perfmamba.models import component_map, use_backend
from perfmamba.pruning.activity import Activity, LayerActivity, gather_activity
from tests.models.test_backends import HYBRIDS, model_of
from tests.pruning.sequential import sequential_activity
from tests.small_models import VOCABULARY, small_mamba1, small_mamba2

MEASURED = ("dt", "write", "energy", "output", "state_moment", "output_moment")
TOKENS = torch.randint(0, VOCABULARY, (3, 75), generator=torch.Generator().manual_seed(0))


def one_group():
    config = Mamba2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        state_size=7,
        num_hidden_layers=1,
        head_dim=16,
        num_heads=4,
        n_groups=1,
        time_step_limit=(0.0, 0.02),
    )
    torch.manual_seed(2)
    return Mamba2ForCausalLM(config).eval()


def lively(model):
    """In float64, with large and differing step sizes: fresh models hardly remember or forget anything."""
    model = model.double()
    for block in model.backbone.layers:
        dt_bias = block.mixer.dt_bias if hasattr(block.mixer, "dt_bias") else block.mixer.dt_proj.bias
        with torch.no_grad():
            dt_bias.copy_(torch.linspace(-6, 4, len(dt_bias)))
            block.mixer.conv1d.weight.mul_(3)
    use_backend(model, "torch")
    return model


@pytest.fixture(params=[small_mamba1, small_mamba2, one_group], ids=lambda make: make.__name__)
def model(request):
    return lively(request.param())


def test_every_statistic_is_the_sequential_one(model):
    expected = sequential_activity(model, TOKENS)
    activity = gather_activity(model, [TOKENS[:2], TOKENS[2:]])
    assert activity.tokens == TOKENS.numel()
    for layer, sums in zip(activity.layers, expected, strict=True):
        for name in MEASURED:
            assert_close(getattr(layer, name), sums[name], rtol=1e-10, atol=0)


def test_a_sequence_may_be_shorter_than_a_chunk_or_one_position_long(model):
    for length in (1, 5, 32):
        expected = sequential_activity(model, TOKENS[:1, :length])
        (got, *_) = gather_activity(model, [TOKENS[:1, :length]]).layers
        assert_close(got.output, expected[0]["output"], rtol=1e-10, atol=0)


@pytest.mark.parametrize("backend", [None, "hf", "reference"])
def test_no_backend_changes_the_states(model, backend):
    expected = gather_activity(model, [TOKENS])
    use_backend(model, backend)
    got = gather_activity(model, [TOKENS])
    for one, other in zip(got.layers, expected.layers, strict=True):
        assert_close(
            one.state_moment, other.state_moment, rtol=1e-5, atol=1e-9
        )  # transformers scans in float32


@pytest.mark.parametrize("name", HYBRIDS)
def test_the_mamba_layers_of_other_families(name):
    hybrid = model_of(name)
    expected = gather_activity(hybrid, [TOKENS])
    use_backend(hybrid, "torch")
    got = gather_activity(hybrid, [TOKENS])
    use_backend(hybrid, None)
    assert len(got.layers) == len(component_map(hybrid).mixers)
    for one, other in zip(got.layers, expected.layers, strict=True):
        assert one.output.gt(0).all()
        assert one.magnitude.gt(0).all()
        assert_close(one.output, other.output, rtol=1e-3, atol=0)


def test_float32_is_close_to_float64(model):
    expected = gather_activity(model, [TOKENS])
    got = gather_activity(model.float(), [TOKENS])
    for one, other in zip(got.layers, expected.layers, strict=True):
        assert one.output.dtype == torch.float64
        assert_close(one.output, other.output, rtol=1e-4, atol=0)


def test_magnitudes_are_of_the_rows_that_make_b_and_c():
    model = small_mamba2()
    (first, _) = gather_activity(model, [TOKENS]).layers
    weight, groups, states, inner = model.backbone.layers[0].mixer.in_proj.weight.detach(), 2, 6, 64
    for group in range(groups):
        for state in range(states):
            row = 2 * inner + group * states + state
            expected = weight[row].norm() * weight[row + groups * states].norm()
            assert first.magnitude[group, state].item() == pytest.approx(expected.item())
    model = small_mamba1()
    (first, _) = gather_activity(model, [TOKENS]).layers
    weight, rank = model.backbone.layers[0].mixer.x_proj.weight.detach(), 2
    expected = [(weight[rank + s].norm() * weight[rank + 5 + s].norm()).item() for s in range(5)]
    assert first.magnitude[0].tolist() == pytest.approx(expected)


def test_progress_is_told_and_provenance_kept(model):
    seen = []
    about = {"data": "x"}
    batches = iter([TOKENS[:2], TOKENS[2:]])
    activity = gather_activity(model, batches, provenance=about, on_batch=seen.append)
    assert seen == [150, 75]
    assert activity.provenance["data"] == "x"
    assert {"perfmamba", "torch", "transformers"} <= activity.provenance.keys()
    digest = activity.provenance["tokens_sha256"]
    assert digest == gather_activity(model, [TOKENS]).provenance["tokens_sha256"]
    assert digest != gather_activity(model, [TOKENS[:1]]).provenance["tokens_sha256"]


def test_the_model_is_left_as_it_was(model):
    def hooks():
        return [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()]

    with torch.inference_mode():
        before, expected = hooks(), model(TOKENS).logits
        gather_activity(model, [TOKENS])
        assert hooks() == before
        assert model(TOKENS).logits.equal(expected)


def test_memory_does_not_grow_with_the_number_of_batches(model):
    fed = []

    def batches():
        for number in range(3):
            fed.append(number)
            yield TOKENS

    taken = []
    gather_activity(model, batches(), on_batch=lambda _: taken.append(len(fed)))
    assert taken == [1, 2, 3]  # each batch is asked for when the one before it is done with


def test_it_survives_a_file(model, tmp_path):
    activity = gather_activity(model, [TOKENS], provenance={"data": "six words\nand ü"})
    path = tmp_path / "activity.safetensors"
    activity.save(path)
    loaded = Activity.load(path)
    assert (loaded.tokens, loaded.provenance) == (activity.tokens, activity.provenance)
    for one, other in zip(loaded.layers, activity.layers, strict=True):
        for part in dataclasses.fields(LayerActivity):
            assert getattr(one, part.name).equal(getattr(other, part.name))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def write_nothing(path):
    del path


def write_text(path):
    path.write_text("not tensors")


def write_tensors(path, metadata=None):
    save_file({"x": torch.zeros(2)}, path, metadata=metadata)


CUT = {"perfmamba_activity": "1", "tokens": "3", "layers": "1", "provenance": json.dumps({})}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_nothing, "not readable as an activity file"),
        (write_text, "not readable as an activity file"),
        (write_tensors, "no activity of this version; make it with perfmamba activity"),
        (partial(write_tensors, metadata=CUT), "not readable as an activity file"),
    ],
    ids=["absent", "foreign", "other tensors", "cut"],
)
def test_another_file_is_refused(tmp_path, write, message):
    path = tmp_path / "some.safetensors"
    write(path)
    with pytest.raises(InputError, match=rf"some\.safetensors: .*{message}|{message}"):
        Activity.load(path)


def test_no_tokens_are_refused(model):
    with pytest.raises(InputError, match="hold no tokens"):
        gather_activity(model, [])


def test_weights_that_are_not_finite_are_refused_by_name(model):
    with torch.no_grad():
        model.backbone.layers[-1].mixer.out_proj.weight[0, 0] = float("nan")
    with pytest.raises(
        ModelError, match=r"the weight .*mixer\.out_proj\.weight has values that are not finite"
    ):
        gather_activity(model, [TOKENS])


def test_the_layer_whose_states_are_not_finite_is_named(model):
    last = model.backbone.layers[-1].mixer
    with torch.no_grad():
        last.conv1d.weight[-1] = 1e200  # its square is more than a float64 holds
    with pytest.raises(
        ModelError, match=f"the states of layer {len(model.backbone.layers) - 1} are not finite"
    ):
        gather_activity(model, [TOKENS])


def test_a_model_without_mamba_is_refused():
    with pytest.raises(ModelError, match="Linear has no Mamba mixer"):
        gather_activity(torch.nn.Linear(2, 2), [TOKENS])
