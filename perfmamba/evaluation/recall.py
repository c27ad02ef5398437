"""Multi-query associative recall: does a model still know what it was told?

A sequence begins with key-value pairs. After them, each key comes once more, among random fillers, and the
model has to name its value. What it knows can only lie in the state, so that this is what pruning the state
should hurt first; the data is made here, from a seed.

The layout is that of zoology (Arora et al., arXiv 2312.04927): pairs first, the gap before a query from a
power law, fillers from the whole vocabulary. In: a task and a seed, or a model. Out: batches, or how many
answers were right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from perfmamba.errors import InputError, ModelError
from perfmamba.evaluation import NOT_FINITE
from perfmamba.evaluation.intervals import Proportion

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from transformers import PreTrainedModel

UNSCORED = -100
"""The target at positions that ask nothing; torch's losses leave it out."""

_GAP_EXPONENT = 0.01
_BATCH = 256


@dataclass(frozen=True)
class RecallTask:
    """What the sequences are like.

    Attributes:
        pairs: key-value pairs in a sequence, each asked for once.
        length: tokens in a sequence.
        vocabulary: tokens there are. Keys are from its lower half (without 0), values from its upper half.

    Raises:
        InputError: if the pairs and their queries do not fit the length or the vocabulary.
    """

    pairs: int = 8
    length: int = 64
    vocabulary: int = 256

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise InputError(f"recall of {self.pairs} pairs: give at least 1")
        if self.length < 4 * self.pairs:
            raise InputError(
                f"recall of {self.pairs} pairs in {self.length} tokens: "
                f"pairs and queries take {4 * self.pairs} at the least"
            )
        if self.vocabulary // 2 - 1 < self.pairs:
            raise InputError(
                f"recall of {self.pairs} pairs with a vocabulary of {self.vocabulary}: "
                f"{2 * self.pairs + 2} tokens are needed"
            )


@dataclass(frozen=True)
class RecallBatch:
    """Sequences and what is to be answered.

    Attributes:
        tokens: (b, l) int64.
        targets: (b, l) int64: the value where the token is a query's key, else `UNSCORED`.
    """

    tokens: "Tensor"
    targets: "Tensor"


def recall_batch(task: RecallTask, size: int, generator: torch.Generator) -> RecallBatch:
    """The next sequences of a seeded generator, on the CPU."""
    half, context = task.vocabulary // 2, 2 * task.pairs
    keys = 1 + _distinct(torch.ones(size, half - 1), task.pairs, generator)  # (b, pairs)
    values = half + _distinct(torch.ones(size, task.vocabulary - half), task.pairs, generator)
    slots = torch.arange(1, (task.length - context) // 2 + 1).pow(_GAP_EXPONENT - 1)
    queries = context + 2 * _distinct(slots.expand(size, -1), task.pairs, generator)
    tokens = torch.randint(task.vocabulary, (size, task.length), generator=generator)
    tokens[:, 0:context:2], tokens[:, 1:context:2] = keys, values
    tokens.scatter_(1, queries, keys)
    targets = torch.full_like(tokens, UNSCORED).scatter_(1, queries, values)
    return RecallBatch(tokens, targets)


def recall_batches(
    task: RecallTask, samples: int, *, seed: int, batch: int = _BATCH
) -> Iterator[RecallBatch]:
    """`samples` sequences in batches; the same ones for a seed and a batch size.

    Raises:
        InputError: if there are no samples.
    """
    if samples < 1:
        raise InputError(f"{samples} samples: give at least 1")
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, samples, batch):
        yield recall_batch(task, min(batch, samples - start), generator)


def accuracy(
    model: "PreTrainedModel",
    task: RecallTask,
    *,
    samples: int = 1000,
    seed: int = 0,
    batch: int = _BATCH,
    on_batch: "Callable[[int], None]" = lambda _: None,
) -> Proportion:
    """How many queries a model answers with the right value, among all tokens of its vocabulary.

    The model runs where it is and with the backend it has. Every query counts as a trial of its own.

    Args:
        model: a causal language model.
        task: what is asked; its vocabulary has to be within the model's.
        samples: sequences, of `task.pairs` queries each.
        seed: seeds the sequences.
        batch: sequences at once.
        on_batch: is told the number of sequences done since the last call.

    Raises:
        InputError: if the model knows fewer tokens than the task has.
        ModelError: if it answers with NaN.
    """
    if task.vocabulary > (known := int(model.config.vocab_size)):
        raise InputError(f"a recall vocabulary of {task.vocabulary} for a model that knows {known} tokens")
    hits = 0
    for drawn in recall_batches(task, samples, seed=seed, batch=batch):
        with torch.inference_mode():
            logits = model(drawn.tokens.to(model.device), use_cache=False).logits  # (b, l, vocabulary)
        if logits.isnan().any():
            raise ModelError(NOT_FINITE)
        answers = logits.argmax(-1).cpu()
        hits += int((answers == drawn.targets).sum())
        on_batch(len(drawn.tokens))
    return Proportion(hits, samples * task.pairs)


def _distinct(weights: "Tensor", count: int, generator: torch.Generator) -> "Tensor":
    """(b, count) indices into each row of weights (b, n), drawn without replacement."""
    return torch.multinomial(weights, count, replacement=False, generator=generator)
