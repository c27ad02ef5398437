"""How well a model predicts a text.

In: a model and a text file, or any stream of tokens. Out: the nats of all its tokens, summed up. The model
sees the text through a window that moves on by `stride`; each token is predicted once, from at least
`seqlen - stride` tokens before it where there are that many. What is needed does not grow with the text.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from perfmamba.errors import InputError, ModelError
from perfmamba.evaluation import NOT_FINITE
from perfmamba.models.tokenizing import TextEncoder, encoded_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class TextScore:
    """How surprising a text is to a model.

    Attributes:
        nats: the sum of -ln p over the tokens.
        tokens: how many were predicted.
        bytes: how long the text is in UTF-8.
    """

    nats: float
    tokens: int
    bytes: int

    @property
    def nats_per_token(self) -> float:
        """The cross-entropy, as training reports it."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """The exponential of the nats per token: comparable between models of one tokenizer."""
        return math.exp(self.nats_per_token)

    @property
    def bits_per_token(self) -> float:
        """The cross-entropy in bits."""
        return self.nats_per_token / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        """Comparable between all models."""
        return self.nats / math.log(2) / self.bytes


def text_score(
    model: "PreTrainedModel",
    path: Path,
    encoder: TextEncoder,
    *,
    seqlen: int = 1024,
    stride: int = 512,
    on_tokens: Callable[[int], None] = lambda _: None,
) -> TextScore:
    """Let a model predict every token of a text file, as if a line break stood before it.

    Args:
        model: a causal language model; it runs where it is and with the backend it has.
        path: a UTF-8 text.
        encoder: makes tokens of it.
        seqlen: tokens that the model sees at once, at least 2.
        stride: tokens that the window moves on by, at least 1 and below `seqlen`.
        on_tokens: is told how many tokens more have been predicted.

    Raises:
        InputError: if the window is out of range, the file cannot be read or is empty, or a token is beyond
            the model's vocabulary.
        ModelError: if the model answers with NaN.
    """
    line_break = encoder.encode("\n")[-1:]
    blocks = chain([line_break], encoded_blocks(path, encoder))
    nats, tokens = token_nats(model, blocks, seqlen=seqlen, stride=stride, on_tokens=on_tokens)
    return TextScore(nats, tokens, path.stat().st_size)


def token_nats(
    model: "PreTrainedModel",
    blocks: Iterable[Sequence[int]],
    *,
    seqlen: int,
    stride: int,
    on_tokens: Callable[[int], None] = lambda _: None,
) -> tuple[float, int]:
    """The nats of all tokens of a stream but the very first, and how many these are.

    Raises:
        InputError: as `text_score`.
        ModelError: likewise.
    """
    if not 1 <= stride < seqlen:
        raise InputError(
            f"a window of {seqlen} tokens that moves on by {stride}: "
            "the stride is at least 1 and below the window"
        )
    vocabulary = int(model.config.vocab_size)
    nats, predicted = 0.0, 0
    for window, new in windows(blocks, seqlen, stride):
        if (highest := int(window.max())) >= vocabulary:
            raise InputError(
                f"the text has token {highest}, the model knows 0 to {vocabulary - 1}: "
                "its tokenizer is of another model"
            )
        nats += _surprise(model, window, new)
        predicted += new
        on_tokens(new)
        if not math.isfinite(nats):
            raise ModelError(NOT_FINITE)
    if not predicted:
        raise InputError("there is no token to predict in this text")
    return nats, predicted


def windows(blocks: Iterable[Sequence[int]], seqlen: int, stride: int) -> Iterator[tuple[Tensor, int]]:
    """The windows (at most `seqlen`,) over a stream of tokens, and how many of the last ones are new.

    Every token but the very first is new in exactly one window.
    """
    held, old = torch.empty(0, dtype=torch.long), 1
    for block in blocks:
        held = torch.cat([held, torch.tensor(block, dtype=torch.long)])
        while len(held) >= seqlen:
            yield held[:seqlen], seqlen - old
            held, old = held[stride:], seqlen - stride
    if len(held) > old:
        yield held, len(held) - old


@torch.inference_mode()
def _surprise(model: "PreTrainedModel", window: Tensor, new: int) -> float:
    """The nats of the last `new` tokens of a window."""
    tokens = window.to(model.device)
    logits = model(tokens[None], use_cache=False, logits_to_keep=new + 1).logits[0, :-1]  # (new, vocabulary)
    nats = functional.cross_entropy(logits.float(), tokens[-new:], reduction="none")
    return nats.double().sum().item()
