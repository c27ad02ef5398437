"""Calibration data: from a name to batches of tokens.

In: a text file, token arrays, a data set of the hub, or the word `random`. Out: batches of token ids. All
sequences are whole and without padding. Data are read only when they are needed, and are not kept.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perfmamba.errors import InputError, reason
from perfmamba.models.tokenizing import BYTES, TextEncoder, encoded_blocks
from perfmamba.pruning.data_sets import HUB, HUB_FORM, open_data_set

RANDOM = "random"

_RANDOM_WARNING = (
    "random tokens move the states as no text does: good for trying things out and for timing, "
    "not for choosing the states of a trained model"
)
_BYTES_WARNING = (
    "the model has no tokenizer here, so that every byte is a token: right for a model of bytes only; "
    "otherwise name its tokenizer"
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Sequences of tokens, and where they come from.

    Attributes:
        name: name of the data, without the folder.
        sequences: token ids (l,), int64. They can be read once.
        encoder: how text was turned into tokens; None if the data are tokens.
        warning: what the data are not suitable for; None if there is no such limit.
    """

    name: str
    sequences: Iterator[Tensor]
    encoder: str | None = None
    warning: str | None = None


def open_calibration(
    source: str, *, vocabulary: int, seqlen: int, seed: int, encoder: Callable[[], TextEncoder]
) -> Calibration:
    """Find calibration data by name.

    Args:
        source: a text file (UTF-8); a .npy file of integers, or a folder of such files; a data set with a
            column `input_ids` or `text`, as `hub:NAME[:CONFIG[:SPLIT]]`, where NAME is OWNER/NAME on the hub
            or a folder; or `random`. Text, arrays of one dimension and the rows of a data set (texts with a
            line break after each) are joined and cut into sequences. In an array of two dimensions each row
            is one sequence.
        vocabulary: the number of token ids that the model knows.
        seqlen: the length of the sequences that are cut.
        seed: the seed of random tokens.
        encoder: makes the encoder of the model; called only if the data are text.

    Raises:
        InputError: if the source does not exist. The data themselves are checked when they are read: an
            InputError is raised then if they are not tokens of this model or too short.
    """
    if seqlen < 1:
        raise InputError(f"seqlen {seqlen}: give a number of at least 1")
    path = Path(source)
    if source == RANDOM:
        found = _random(vocabulary, seqlen, seed)
    elif source.startswith(HUB):
        found = _data_set(source, seqlen, encoder)
    elif path.is_dir() or path.suffix == ".npy":
        found = _arrays(path, seqlen)
    elif path.is_file():
        found = _text(path, seqlen, encoder())
    else:
        raise InputError(
            f"no calibration data {source!r}: give a text file, a .npy file or a folder of them, "
            f"{HUB_FORM}, or {RANDOM}"
        )
    if found.encoder == "bytes" and vocabulary > 2 * BYTES:
        found = replace(found, warning=_BYTES_WARNING)
    return replace(found, sequences=_checked(found, vocabulary, seqlen))


def token_batches(sequences: Iterable[Tensor], *, tokens: int, batch: int) -> Iterator[Tensor]:
    """Batches (b, l) of up to `batch` sequences of equal length, with at most `tokens` tokens altogether.

    Raises:
        InputError: if `tokens` is below the length of the first sequence, or `batch` is below 1.
    """
    if batch < 1:
        raise InputError(f"batch {batch}: give a number of at least 1")
    taken, waiting = 0, list[Tensor]()
    for sequence in sequences:
        if taken + len(sequence) > tokens:
            break
        if len(waiting) == batch or (waiting and len(waiting[0]) != len(sequence)):
            yield torch.stack(waiting)
            waiting = []
        waiting.append(sequence)
        taken += len(sequence)
    if waiting:
        yield torch.stack(waiting)
    elif not taken:
        raise InputError(f"tokens {tokens}: less than one sequence of the calibration data has")


def _random(vocabulary: int, seqlen: int, seed: int) -> Calibration:
    def sequences() -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield torch.randint(vocabulary, (seqlen,), generator=generator)

    return Calibration(f"random tokens (seed {seed})", sequences(), warning=_RANDOM_WARNING)


def _text(path: Path, seqlen: int, encoder: TextEncoder) -> Calibration:
    return Calibration(path.name, _cut(encoded_blocks(path, encoder), seqlen), encoder.name)


def _arrays(path: Path, seqlen: int) -> Calibration:
    name = path.resolve().name
    files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"the folder {name} holds no token arrays (.npy)")
    return Calibration(name, chain.from_iterable(_array(file, seqlen) for file in files))


def _array(file: Path, seqlen: int) -> Iterator[Tensor]:
    """The sequences of one array, of which only the parts that are used are read."""
    try:
        tokens = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file.name} is not readable as a .npy array: {reason(error)}") from error
    if tokens.ndim not in {1, 2} or not np.issubdtype(tokens.dtype, np.integer):
        raise InputError(
            f"{file.name} holds {tokens.dtype} in {tokens.ndim} dimensions; "
            "token ids are integers in 1 or 2 dimensions"
        )
    if tokens.ndim == 2:
        yield from map(_sequence, tokens)
    else:
        blocks = (tokens[start : start + seqlen] for start in range(0, len(tokens), seqlen))
        yield from _cut(blocks, seqlen)


def _data_set(source: str, seqlen: int, encoder: Callable[[], TextEncoder]) -> Calibration:
    found = open_data_set(source)
    if found.column == "input_ids":
        return Calibration(found.name, _cut(found.values, seqlen))
    encode = encoder()
    # Without a line break the last word of a row and the first word of the next would become one word.
    blocks = (encode.encode(f"{text}\n") for text in found.values)
    return Calibration(found.name, _cut(blocks, seqlen), encode.name)


def _cut(blocks: Iterable[Any], seqlen: int) -> Iterator[Tensor]:
    """The tokens of all blocks, joined and cut into sequences of `seqlen`; the rest is dropped."""
    rest = torch.empty(0, dtype=torch.int64)
    for block in blocks:
        rest = torch.cat([rest, _sequence(block)])
        whole = len(rest) // seqlen
        yield from rest[: whole * seqlen].view(whole, seqlen)
        rest = rest[whole * seqlen :]


def _sequence(tokens: Any) -> Tensor:
    return torch.from_numpy(np.array(tokens, dtype=np.int64))


def _checked(calibration: Calibration, vocabulary: int, seqlen: int) -> Iterator[Tensor]:
    """The sequences, each checked for tokens that the model does not know.

    Raises:
        InputError: if a sequence has such a token, or if there are no sequences.
    """
    empty = True
    for sequence in filter(len, calibration.sequences):
        low, high = (int(end) for end in sequence.aminmax())
        if low < 0 or high >= vocabulary:
            raise InputError(
                f"{calibration.name} holds the token {low if low < 0 else high}; "
                f"this model knows 0 to {vocabulary - 1}"
            )
        empty = False
        yield sequence
    if empty:
        raise InputError(f"{calibration.name} holds less than one sequence of {seqlen} tokens")
