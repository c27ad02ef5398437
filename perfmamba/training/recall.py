"""Train a small Mamba on multi-query associative recall, until it makes hardly an error, in minutes.

    python -m perfmamba.training.recall --seed 0 --out recall-seed0

In: a seed and a curriculum. Out: a checkpoint folder that transformers loads, with a card. The curriculum
makes training quick: it begins with few pairs in short sequences, and goes on as soon as a stage is mastered.
"""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn import functional

from perfmamba.errors import InputError
from perfmamba.evaluation.recall import UNSCORED, RecallTask, accuracy, recall_batch
from perfmamba.models import random_model
from perfmamba.models.shapes import mamba1_config, mamba2_config
from perfmamba.terminal import progress_bar
from perfmamba.training.checkpoint import save_checkpoint
from perfmamba.training.commands import training_command
from perfmamba.training.trainable import TrainingCheck, descend, trainable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from perfmamba.evaluation.intervals import Proportion

Kind = Literal["mamba", "mamba2"]

_TITLES: dict[Kind, str] = {"mamba": "Mamba-1", "mamba2": "Mamba-2"}
_BATCH = 64
_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 0.1
_WARMUP_STEPS = 50
_CHECK_EVERY = 50
_CHECK_SAMPLES = 128
_CHECK_SEED = 1_000_003  # training must not stop by the sequences that people measure with: small seeds


@dataclass(frozen=True)
class Stage:
    """One stage of a curriculum.

    Attributes:
        task: what is asked.
        steps: the most optimizer steps that it takes.
        mastered: the accuracy at which the stage ends; None for a stage that takes all its steps, while the
            learning rate falls to 0.
    """

    task: RecallTask
    steps: int
    mastered: float | None = None


CURRICULA: dict[Kind, tuple[Stage, ...]] = {
    "mamba2": (
        Stage(RecallTask(pairs=2, length=16), steps=3000, mastered=0.9),
        Stage(RecallTask(pairs=4, length=32), steps=3000, mastered=0.9),
        Stage(RecallTask(pairs=8, length=64), steps=3000, mastered=0.99),
        Stage(RecallTask(pairs=8, length=64), steps=400),
    ),
    # Mamba-1 has a quarter of the states to tell keys apart by: it learns 8 pairs slowly, and only to 90%.
    "mamba": (
        Stage(RecallTask(pairs=2, length=16), steps=3000, mastered=0.9),
        Stage(RecallTask(pairs=4, length=32), steps=3000, mastered=0.95),
        Stage(RecallTask(pairs=4, length=32), steps=800),
    ),
}
"""For each kind, the stages; the last one trains the task that its checkpoints are measured with."""


def recall_model(kind: Kind, *, seed: int, vocabulary: int = 256) -> "PreTrainedModel":
    """Return an untrained model of two layers and 64 channels, whose weights depend on the seed alone.

    Mamba-2 has N = 64 and 4 heads of 32 channels, Mamba-1 its usual N = 16.
    """
    shape: dict[str, Any] = {"d_model": 64, "n_layer": 2, "vocab_size": vocabulary}
    if kind == "mamba":
        return random_model(mamba1_config(**shape), seed=seed)
    # Short chunks, because transformers' torch function pads every sequence to a multiple of a chunk.
    return random_model(mamba2_config(**shape, d_state=64, headdim=32, chunk_size=32), seed=seed)


def train(
    model: "PreTrainedModel", curriculum: Sequence[Stage], *, seed: int
) -> Iterator[TrainingCheck["Proportion"]]:
    """Train a model in place, one stage after the other, and measure it every 50 steps.

    The result is the same for the same seed, model, machine and number of threads.

    Raises:
        InputError: if a stage is not mastered in its steps.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    steps_before = 0
    with trainable(model):
        for index, stage in enumerate(curriculum):
            for step in range(1, stage.steps + 1):
                rate = _learning_rate(stage, step, steps_before + step)
                _optimize(model, optimizer, rate, stage.task, generator)
                if step % _CHECK_EVERY and step != stage.steps:
                    continue
                answered = accuracy(model, stage.task, samples=_CHECK_SAMPLES, seed=_CHECK_SEED)
                yield TrainingCheck(step, stage.steps, answered, index, steps_before)
                if stage.mastered is not None and answered.value >= stage.mastered:
                    break
            else:
                _require_no_goal(stage, answered)
            steps_before += step


def _require_no_goal(stage: Stage, answered: "Proportion") -> None:
    """See that a stage which has taken all its steps had no goal to reach first.

    Raises:
        InputError: if it has one.
    """
    if stage.mastered is not None:
        raise InputError(
            f"{stage.task.pairs} pairs in {stage.task.length} tokens: accuracy {answered.value:.3f} "
            f"after {stage.steps} steps, not {stage.mastered}; try another seed"
        )


def _learning_rate(stage: Stage, step: int, total_steps: int) -> float:
    """Rising over the first steps of all, falling to 0 over a stage without a goal, constant otherwise."""
    rising = min(1.0, total_steps / _WARMUP_STEPS)
    falling = 1.0 if stage.mastered is not None else 1 - (step - 1) / stage.steps
    return _LEARNING_RATE * rising * falling


def _optimize(
    model: "PreTrainedModel",
    optimizer: torch.optim.Optimizer,
    rate: float,
    task: RecallTask,
    generator: torch.Generator,
) -> None:
    """Take one step on the next batch."""
    batch = recall_batch(task, _BATCH, generator)
    logits = model(batch.tokens, use_cache=False).logits  # (b, l, vocabulary)
    loss = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=UNSCORED)
    descend(model, optimizer, loss, learning_rate=rate)


def model_card(
    kind: Kind, seed: int, threads: int, check: TrainingCheck["Proportion"], curriculum: Sequence[Stage]
) -> str:
    """Return what a checkpoint is and where it comes from, in Markdown."""
    import transformers

    task = curriculum[check.stage].task
    low, high = check.measured.interval()
    return f"""# A small {_TITLES[kind]} for multi-query associative recall

Two layers, 64 channels, vocabulary of 256; trained on sequences that are made from a seed, no data set.

    python -m perfmamba.training.recall --kind {kind} --seed {seed} --threads {threads} --out FOLDER

- {check.total_steps} steps of {_BATCH} sequences, at last of {task.pairs} pairs in {task.length} tokens.
- Accuracy on such sequences, held out: {check.measured.value:.4f} (95%: {low:.4f} to {high:.4f}).
- torch {torch.__version__}, transformers {transformers.__version__}, {platform.machine()}.

Measure it: `perfmamba recall FOLDER --pairs {task.pairs} --length {task.length}`
"""


def run(kind: Kind, seed: int, threads: int, folder: Path) -> None:
    """Train with a progress bar on stderr, and keep the newest checkpoint in `folder`.

    Raises:
        InputError: if a stage is not mastered, or the folder cannot be written.
    """
    model, curriculum = recall_model(kind, seed=seed), CURRICULA[kind]
    with progress_bar(f"{kind} seed {seed}", len(curriculum), keep=True) as bar:
        for check in train(model, curriculum, seed=seed):
            save_checkpoint(model, folder, model_card(kind, seed, threads, check, curriculum))
            pairs = curriculum[check.stage].task.pairs
            bar.reach(check.stage)
            bar.note(f"step {check.total_steps}: {pairs} pairs, accuracy {check.measured.value:.3f}")


def main(
    *,
    out: Path,
    kind: Kind = "mamba2",
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Train a small model on multi-query associative recall; Ctrl-C keeps the last checkpoint.

    Args:
        out: Folder for the checkpoint, which is written after each check of the model.
        kind: mamba2 or mamba.
        seed: Seeds the weights and the sequences.
        threads: CPU threads; their number changes the last digits.
    """
    training_command(lambda: run(kind, seed, threads, out), out=out, threads=threads)


if __name__ == "__main__":
    import cyclopts

    cyclopts.run(main)
