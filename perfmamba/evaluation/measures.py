"""What a study measures of each model: recall, or how well it predicts a text.

A measure says what to calibrate on and returns one number for a model. The calibration data are never the
data that the model is measured on.
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
class MeasuredValue:
    """What a measure returns for a model.

    Attributes:
        value: the number.
        count: how many queries, or bytes, it is the mean of.
    """

    value: float
    count: int


@dataclass(frozen=True, eq=False)
class Measure:
    """A way to describe a model by one number.

    Attributes:
        name: what the number is.
        about: how it is calibrated and measured, for people to read.
        calibration: returns the batches of tokens (b, l) to calibrate on; each call starts with the first.
        evaluate: measures a model on its device and with its backend.
    """

    name: MeasureName
    about: dict[str, str]
    calibration: Callable[[], Iterator["Tensor"]]
    evaluate: Callable[["PreTrainedModel"], MeasuredValue]


def recall_measure(
    task: RecallTask, *, samples: int, seed: int = 0, calibration_samples: int = 256
) -> Measure:
    """Measure the accuracy of associative recall, calibrated on other sequences of the same task.

    Args:
        task: what is asked.
        samples: sequences to measure with.
        seed: of those sequences.
        calibration_samples: sequences to calibrate on.
    """

    def calibration() -> Iterator["Tensor"]:
        drawn = recall_batches(task, calibration_samples, seed=_CALIBRATION_SEED, batch=_CALIBRATION_BATCH)
        return (batch.tokens for batch in drawn)

    def evaluate(model: "PreTrainedModel") -> MeasuredValue:
        answered = accuracy(model, task, samples=samples, seed=seed)
        return MeasuredValue(answered.value, answered.count)

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
    """Measure the bits per byte of a text, calibrated on another text.

    Args:
        text: the file to predict.
        calibration: what to calibrate on, as `open_calibration` takes it.
        source: the model, whose tokenizer is used for both texts.
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
    name = opened().name  # a wrong name is an error now, not after the first measurement

    def batches() -> Iterator["Tensor"]:
        return token_batches(opened().sequences, tokens=calibration_tokens, batch=1)

    def evaluate(model: "PreTrainedModel") -> MeasuredValue:
        scored = text_score(model, text, encoder, seqlen=seqlen, stride=stride)
        return MeasuredValue(scored.bits_per_byte, scored.bytes)

    about = {
        "text": f"{text.name}, windows of {seqlen} tokens that move on by {stride}",
        "calibration": f"up to {calibration_tokens} tokens of {name}",
        "tokens": encoder.name,
    }
    return Measure("bits_per_byte", about, batches, evaluate)
