"""`perfmamba recall`: what models remember of what they were told."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from perfmamba.commands import Switch, show
from perfmamba.commands.choices import Backend
from perfmamba.commands.loading import loaded_models
from perfmamba.table import Column, Table, TableFormat, render

if TYPE_CHECKING:
    from perfmamba.evaluation.intervals import Proportion
    from perfmamba.evaluation.recall import RecallTask


def recall(
    models: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    pairs: int = 8,
    length: int = 64,
    samples: int = 1000,
    seed: int = 0,
    vocabulary: int | None = None,
    backend: Backend = "torch",
    device: str | None = None,
    dtype: str = "float32",
    format: TableFormat = "text",  # noqa: A002  # the option's name
    trust_remote_code: Annotated[bool, Switch] = False,
) -> None:
    """Ask models for the values of keys that they were told before: multi-query associative recall.

    Only a model trained on it knows what is asked; python -m perfmamba.training.recall makes one.

    Args:
        models: Checkpoint folders or hub ids, pruned ones too.
        pairs: Key-value pairs in a sequence; each key is asked for once.
        length: Tokens in a sequence.
        samples: Sequences.
        seed: Seeds the sequences.
        vocabulary: Tokens to draw from; by default all that the model knows.
        backend: What runs the convolutions and scans.
        device: cpu, cuda or cuda:INDEX; by default the GPU if there is one.
        dtype: float32, bfloat16 or float16.
        format: text, markdown, latex, csv, html or json.
        trust_remote_code: Let transformers run Python files that a checkpoint brings.
    """
    from perfmamba.commands.bars import counting
    from perfmamba.evaluation.recall import RecallTask, accuracy

    # what cannot be asked is an error before any model is loaded
    RecallTask(pairs, length, vocabulary or 2 * pairs + 2)
    measured = []
    for _, loaded in loaded_models(
        models, backend=backend, device=device, dtype=dtype, trust_remote_code=trust_remote_code
    ):
        task = RecallTask(pairs, length, vocabulary or int(loaded.model.config.vocab_size))
        with counting(loaded.name, samples) as advance:
            answered = accuracy(loaded.model, task, samples=samples, seed=seed, on_batch=advance)
        measured.append((loaded.name, task, answered))
    show(render(_table(measured, samples, seed), format))


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
