"""What a study measures of each model: recall, or how well it predicts a text.

A measure says what to calibrate on and gives one number for a model. It never calibrates on what it measures
with.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from perfmamba.evaluation.perplexity import text_score
from perfmamba.evaluation.recall import RecallTask, accuracy, recall_batches
from perfmamba.models.tokenizing import TextEncoder, text_encoder
from perfmamba.pruning.calibration import open_calibration, token_batches

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

MeasureName = Literal["accuracy", "bits_per_byte"]

_CALIBRATION_BATCH = 32
_CALIBRATION_SEED = 1_000_033  # recall is measured with the seeds that people choose: small ones


@dataclass(frozen=True)
class Score:
    """What a measure gave.

    Attributes:
        value: the number.
        count: what it is the mean over: queries, or bytes.
    """

    value: float
    count: int


@dataclass(frozen=True, eq=False)
class Measure:
    """One number for a model.

    Attributes:
        name: what the number is.
        about: how it is calibrated and measured, for people to read.
        calibration: gives batches of tokens (b, l), from the first one on, at each call.
        evaluate: measures a model, where it is and with the backend it has.
    """

    name: MeasureName
    about: dict[str, str]
    calibration: Callable[[], Iterator["Tensor"]]
    evaluate: Callable[["PreTrainedModel"], Score]


def recall_measure(
    task: RecallTask, *, samples: int, seed: int = 0, calibration_samples: int = 256
) -> Measure:
    """The accuracy of associative recall, calibrated on other sequences of the same task.

    Args:
        task: what is asked.
        samples: sequences to measure with.
        seed: of those.
        calibration_samples: sequences to calibrate on.
    """

    def calibration() -> Iterator["Tensor"]:
        drawn = recall_batches(task, calibration_samples, seed=_CALIBRATION_SEED, batch=_CALIBRATION_BATCH)
        return (batch.tokens for batch in drawn)

    def evaluate(model: "PreTrainedModel") -> Score:
        answered = accuracy(model, task, samples=samples, seed=seed)
        return Score(answered.value, answered.count)

    about = {
        "task": f"recall of {task.pairs} pairs in {task.length} tokens, vocabulary {task.vocabulary}",
        "samples": f"{samples} sequences of seed {seed}",
        "calibration": f"{calibration_samples} other sequences",
    }
    return Measure("accuracy", about, calibration, evaluate)


def text_measure(
    text: Path,
    calibration: str,
    *,
    source: str,
    vocabulary: int,
    seqlen: int = 1024,
    stride: int = 512,
    calibration_tokens: int = 65536,
) -> Measure:
    """Bits per byte of a text, calibrated on another.

    Args:
        text: the file to predict.
        calibration: what to calibrate on, as `open_calibration` takes it.
        source: the model, whose tokenizer makes tokens of both.
        vocabulary: how many tokens it knows.
        seqlen: tokens that the model sees at once, in calibration too.
        stride: tokens that the window moves on by.
        calibration_tokens: how much to calibrate on.

    Raises:
        InputError: if there are no calibration data of that name, or the tokenizer cannot be loaded.
    """
    encoder: TextEncoder = text_encoder(source, vocabulary=vocabulary)
    opened = partial(
        open_calibration, calibration, vocabulary=vocabulary, seqlen=seqlen, seed=0, encoder=lambda: encoder
    )
    name = opened().name  # a name that leads nowhere is an error now, not after the first measurement

    def batches() -> Iterator["Tensor"]:
        return token_batches(opened().sequences, tokens=calibration_tokens, batch=1)

    def evaluate(model: "PreTrainedModel") -> Score:
        scored = text_score(model, text, encoder, seqlen=seqlen, stride=stride)
        return Score(scored.bits_per_byte, scored.bytes)

    about = {
        "text": f"{text.name}, windows of {seqlen} tokens that move on by {stride}",
        "calibration": f"up to {calibration_tokens} tokens of {name}",
        "tokens": encoder.name,
    }
    return Measure("bits_per_byte", about, batches, evaluate)
