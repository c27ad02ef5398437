"""The task by its definition, and accuracy of models whose answers are known."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perfmamba.errors import InputError, ModelError
from perfmamba.evaluation.intervals import Proportion
from perfmamba.evaluation.recall import UNSCORED, RecallTask, accuracy, recall_batch, recall_batches
from tests.small_models import small_mamba2


@st.composite
def tasks(draw):
    pairs = draw(st.integers(1, 12))
    length = draw(st.integers(4 * pairs, 4 * pairs + 30))
    vocabulary = draw(st.integers(2 * pairs + 2, 2 * pairs + 40))
    return RecallTask(pairs, length, vocabulary)


@given(tasks(), st.integers(0, 2**32))
def test_every_pair_is_told_and_asked_for_once(task, seed):
    batch = recall_batch(task, 3, torch.Generator().manual_seed(seed))
    assert batch.tokens.shape == batch.targets.shape == (3, task.length)
    assert batch.tokens.dtype == batch.targets.dtype == torch.int64
    assert 0 <= batch.tokens.min() <= batch.tokens.max() < task.vocabulary
    half, context = task.vocabulary // 2, 2 * task.pairs
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        told = dict(zip(tokens[0:context:2], tokens[1:context:2], strict=True))
        assert len(told) == len(set(told.values())) == task.pairs
        assert all(0 < key < half <= value for key, value in told.items())
        asked = [place for place, target in enumerate(targets) if target != UNSCORED]
        assert sorted(tokens[place] for place in asked) == sorted(told)
        assert all(targets[place] == told[tokens[place]] for place in asked)
        assert all(place >= context and place % 2 == 0 for place in asked)


def test_the_value_does_not_follow_the_query():
    task = RecallTask(pairs=4, length=32, vocabulary=512)
    batch = recall_batch(task, 200, torch.Generator().manual_seed(0))
    asked = (batch.targets[:, :-1] != UNSCORED) & (batch.targets[:, :-1] == batch.tokens[:, 1:])
    assert asked.sum() < 20  # by chance one of 512 times


def test_queries_are_near_the_pairs_as_the_power_law_has_it():
    task = RecallTask(pairs=1, length=22)
    batch = recall_batch(task, 20_000, torch.Generator().manual_seed(0))
    place = (batch.targets != UNSCORED).int().argmax(1)
    slots = torch.arange(1, 11, dtype=torch.float64) ** -0.99
    expected = slots / slots.sum()
    seen = torch.bincount((place - 2) // 2, minlength=10) / len(place)
    assert torch.allclose(seen.double(), expected, atol=0.01)


def test_sequences_depend_on_the_seed_alone():
    task = RecallTask(pairs=2, length=12)
    first, again = (list(recall_batches(task, 10, seed=3, batch=4)) for _ in range(2))
    other = next(recall_batches(task, 10, seed=4, batch=4))
    assert [len(batch.tokens) for batch in first] == [4, 4, 2]
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].tokens, other.tokens)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairs": 0}, "give at least 1"),
        ({"pairs": 8, "length": 31}, "take 32 at the least"),
        ({"pairs": 8, "length": 64, "vocabulary": 17}, "18 tokens are needed"),
    ],
)
def test_a_task_that_cannot_be_asked(arguments, message):
    with pytest.raises(InputError, match=message):
        RecallTask(**arguments)


class Oracle:
    """Names the value of each key it has read, but only of keys below `ignorance`."""

    config = SimpleNamespace(vocab_size=64)
    device = torch.device("cpu")

    def __init__(self, task, ignorance):
        self.context, self.ignorance = 2 * task.pairs, ignorance

    def __call__(self, tokens, **_):
        logits = torch.zeros(*tokens.shape, 64)
        for row, sequence in enumerate(tokens.tolist()):
            told = dict(zip(sequence[0 : self.context : 2], sequence[1 : self.context : 2], strict=True))
            for place, token in enumerate(sequence):
                if token in told and token < self.ignorance:
                    logits[row, place, told[token]] = 1
        return SimpleNamespace(logits=logits)


def test_accuracy_counts_what_is_right():
    task = RecallTask(pairs=3, length=20, vocabulary=64)
    assert accuracy(Oracle(task, 64), task, samples=50, batch=16) == Proportion(150, 150)
    assert accuracy(Oracle(task, 0), task, samples=50, batch=16) == Proportion(0, 150)
    keys = torch.cat(
        [batch.tokens[:, 0:6:2].flatten() for batch in recall_batches(task, 50, seed=7, batch=16)]
    )
    known = int((keys < 20).sum())
    assert accuracy(Oracle(task, 20), task, samples=50, seed=7, batch=16) == Proportion(known, 150)


def test_accuracy_tells_how_far_it_is():
    task, seen = RecallTask(pairs=1, length=4, vocabulary=8), []
    accuracy(Oracle(task, 8), task, samples=10, batch=4, on_batch=seen.append)
    assert seen == [4, 4, 2]


def test_a_vocabulary_beyond_the_models():
    task = RecallTask(pairs=1, length=4, vocabulary=65)
    with pytest.raises(InputError, match="vocabulary of 65 for a model that knows 64"):
        accuracy(Oracle(task, 8), task)


def test_a_model_with_a_broken_weight_is_not_measured():
    model = small_mamba2()
    model.backbone.norm_f.weight.data[0] = float("nan")
    with pytest.raises(ModelError, match="answers with numbers that are not finite"):
        accuracy(model, RecallTask(pairs=1, length=4, vocabulary=8), samples=2)


def test_no_samples():
    with pytest.raises(InputError, match="0 samples"):
        list(recall_batches(RecallTask(), 0, seed=0))
