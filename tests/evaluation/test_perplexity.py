"""Perplexity against a plain computation, token by token, without windows."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perfmamba.errors import InputError, ModelError
from perfmamba.evaluation.perplexity import TextScore, text_score, token_nats, windows
from perfmamba.models.tokenizing import TextEncoder
from tests.small_models import VOCABULARY, small_mamba1, small_mamba2

LETTERS = TextEncoder("letters", lambda text: [ord(letter) % VOCABULARY for letter in text])


@pytest.fixture(params=[small_mamba1, small_mamba2], ids=["mamba1", "mamba2"])
def model(request):
    return request.param()


def tokens_of(count):
    return torch.randint(0, VOCABULARY, (count,), generator=torch.Generator().manual_seed(0)).tolist()


@torch.inference_mode()
def plain_nats(model, tokens, seqlen, stride):
    """Each token by itself, from the tokens that the window is to hold."""
    nats = []
    for place in range(1, len(tokens)):
        begin = 0 if place < seqlen else ((place - seqlen) // stride + 1) * stride
        probabilities = model(torch.tensor([tokens[begin:place]])).logits[0, -1].double().softmax(-1)
        nats.append(-math.log(probabilities[tokens[place]].item()))
    return nats


@pytest.mark.parametrize(("seqlen", "stride"), [(8, 3), (8, 7), (5, 1), (100, 50)])
def test_nats_are_those_of_each_token_by_itself(model, seqlen, stride):
    tokens = tokens_of(29)
    expected = plain_nats(model, tokens, seqlen, stride)
    nats, count = token_nats(model, [tokens], seqlen=seqlen, stride=stride)
    assert count == len(tokens) - 1 == len(expected)
    assert nats == pytest.approx(sum(expected), rel=1e-5)


def test_a_text_is_predicted_from_a_line_break_on(model, tmp_path):
    text = "Was er sah, war gr\u00fcn.\nUnd sch\u00f6n.\n"
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    expected = plain_nats(model, LETTERS.encode("\n" + text), 12, 6)
    score = text_score(model, path, LETTERS, seqlen=12, stride=6)
    assert (score.tokens, score.bytes) == (len(text), len(text) + 2)
    assert score.nats == pytest.approx(sum(expected), rel=1e-5)


def test_how_the_blocks_are_cut_does_not_matter():
    model, tokens = small_mamba2(), tokens_of(50)
    whole = token_nats(model, [tokens], seqlen=16, stride=8)
    cut = token_nats(model, [tokens[:1], [], tokens[1:30], tokens[30:]], seqlen=16, stride=8)
    assert cut == whole


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=20), max_size=6),
    st.integers(2, 12).flatmap(lambda seqlen: st.tuples(st.just(seqlen), st.integers(1, seqlen - 1))),
)
def test_windows_predict_every_token_but_the_first_once(blocks, sizes):
    seqlen, stride = sizes
    stream = [token for block in blocks for token in block]
    found = list(windows(blocks, seqlen, stride))
    assert [token for window, new in found for token in window[-new:].tolist()] == stream[1:]
    assert all(0 < new < len(window) <= seqlen for window, new in found)
    assert all(len(window) - new >= seqlen - stride for window, new in found[1:])


def test_units():
    score = TextScore(nats=math.log(2) * 24, tokens=6, bytes=12)
    assert score.bits_per_byte == pytest.approx(2)
    assert score.bits_per_token == pytest.approx(4)
    assert score.nats_per_token == pytest.approx(4 * math.log(2))
    assert score.perplexity == pytest.approx(16)


def test_an_untrained_model_knows_next_to_nothing():
    nats, count = token_nats(small_mamba2(), [tokens_of(200)], seqlen=64, stride=32)
    assert nats / count == pytest.approx(math.log(VOCABULARY), rel=0.05)


def test_progress_adds_up_to_all_tokens():
    seen = []
    token_nats(small_mamba2(), [tokens_of(30)], seqlen=8, stride=4, on_tokens=seen.append)
    assert sum(seen) == 29
    assert len(seen) > 3


@pytest.mark.parametrize(("seqlen", "stride"), [(8, 8), (8, 0), (1, 1)])
def test_a_window_that_leaves_tokens_out(seqlen, stride):
    with pytest.raises(InputError, match=f"a window of {seqlen} tokens that moves on by {stride}"):
        token_nats(small_mamba2(), [tokens_of(9)], seqlen=seqlen, stride=stride)


def test_tokens_of_another_model():
    with pytest.raises(InputError, match=f"token 40, the model knows 0 to {VOCABULARY - 1}"):
        token_nats(small_mamba2(), [[1, 40]], seqlen=8, stride=4)


def test_a_model_with_a_broken_weight_is_not_measured():
    model = small_mamba2()
    model.backbone.norm_f.weight.data[0] = float("nan")
    with pytest.raises(ModelError, match="answers with numbers that are not finite"):
        token_nats(model, [tokens_of(9)], seqlen=8, stride=4)


def test_an_empty_text(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(InputError, match="no token to predict"):
        text_score(small_mamba2(), tmp_path / "empty", LETTERS)
