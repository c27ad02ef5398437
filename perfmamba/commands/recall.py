"""`perfmamba recall`: what models remember of what they were told."""

from typing import TYPE_CHECKING

from perfmamba.commands.loading import let_threads_sleep, loaded_models
from perfmamba.commands.options import (
    Backend,
    Device,
    Dtype,
    Format,
    Length,
    Models,
    Pairs,
    Samples,
    Seed,
    TrustRemoteCode,
)
from perfmamba.table import Column, Table
from perfmamba.terminal import progress_bar, show_table

if TYPE_CHECKING:
    from perfmamba.evaluation.intervals import Proportion
    from perfmamba.evaluation.recall import RecallTask


def recall(
    models: Models,
    /,
    *,
    pairs: Pairs = 8,
    length: Length = 64,
    samples: Samples = 1000,
    seed: Seed = 0,
    vocabulary: int | None = None,
    backend: Backend = "torch",
    device: Device = None,
    dtype: Dtype = "float32",
    format: Format = "text",
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Measure how many key-value pairs models recall: the task is multi-query associative recall.

    Only a model that was trained on this task can do it; `python -m perfmamba.training.recall` trains one.

    Args:
        vocabulary: Tokens to draw from; by default all that the model knows.
    """
    let_threads_sleep()
    from perfmamba.evaluation.recall import RecallTask, accuracy

    # An impossible task is an error before any model is loaded.
    RecallTask(pairs, length, vocabulary or 2 * pairs + 2)
    measured = []
    for _, loaded in loaded_models(
        models, backend=backend, device=device, dtype=dtype, trust_remote_code=trust_remote_code
    ):
        task = RecallTask(pairs, length, vocabulary or int(loaded.model.config.vocab_size))
        with progress_bar(loaded.name, samples) as bar:
            answered = accuracy(loaded.model, task, samples=samples, seed=seed, on_batch=bar.advance)
        measured.append((loaded.name, task, answered))
    show_table(_table(measured, samples, seed), format)


def _table(measured: list[tuple[str, "RecallTask", "Proportion"]], samples: int, seed: int) -> Table:
    columns = (
        Column("model", "Model"),
        Column("accuracy", "Accuracy", ".4f"),
        Column("low", "low", ".4f"),
        Column("high", "high", ".4f"),
        Column("hits", "Right", ",d"),
        Column("queries", "Queries", ",d"),
        Column("vocabulary", "Vocabulary", ",d"),
    )
    rows = tuple(
        (name, answered.value, *answered.interval(), answered.hits, answered.count, task.vocabulary)
        for name, task, answered in measured
    )
    task = measured[0][1]
    return Table(
        title=f"Recall of {task.pairs} pairs in {task.length} tokens",
        columns=columns,
        rows=rows,
        notes=(
            f"{samples} sequences of seed {seed}; low and high are Wilson's 95% interval over the queries.",
            f"Guessing a value is right {1 / (task.vocabulary - task.vocabulary // 2):.4f} of the time.",
        ),
    )
