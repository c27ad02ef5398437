"""`perfmamba study`: what every way to prune costs, over several trained models."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from perfmamba.commands import Several, show
from perfmamba.commands.choices import Backend, Bridge, Score
from perfmamba.commands.loading import loaded_models
from perfmamba.errors import InputError
from perfmamba.files import replacing
from perfmamba.table import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfmamba.evaluation.measures import Measure
    from perfmamba.evaluation.study import Variant
    from perfmamba.models import LoadedModel


def study(
    models: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    out: Path,
    ratios: Annotated[tuple[float, ...], Several] = (0.1, 0.3, 0.5, 0.7, 0.9),
    scores: Annotated[tuple[Score, ...], Several] = (
        "paper",
        "random",
        "delta_b",
        "energy",
        "magnitude",
        "output",
    ),
    bridges: Annotated[tuple[Bridge, ...], Several] = ("none", "lstsq", "balanced"),
    seeds: int = 5,
    pairs: int = 8,
    length: int = 64,
    samples: int = 1000,
    text: Path | None = None,
    calibration: str | None = None,
    backend: Backend = "torch",
    device: str | None = None,
) -> None:
    """Prune models in every way, measure each, and put the results together as a table and a chart.

    The measure is the accuracy of associative recall, or bits per byte where --text is given. Results are
    lines of results.jsonl, written as they come: the same command goes on where it was stopped, and more
    ratios, scores, bridges, seeds or models can be added later. The table and the chart show all that is
    there.

    Args:
        models: Checkpoint folders or hub ids of one shape, trained from different seeds.
        out: Folder for the study.
        ratios: Shares of states to remove.
        scores: What ranks the states; random is the control.
        bridges: How the kept states are read; balanced is left out for Mamba-1, whose states cannot be mixed.
        seeds: Draws of the control.
        pairs: Recall: key-value pairs in a sequence.
        length: Recall: tokens in a sequence.
        samples: Recall: sequences to measure with.
        text: A text to predict, in place of recall.
        calibration: What to calibrate on in that case: another text, token arrays, or a hub data set.
        backend: What runs the convolutions and scans.
        device: cpu, cuda or cuda:INDEX; by default the GPU if there is one.
    """
    from perfmamba.evaluation.measures import recall_measure, text_measure
    from perfmamba.evaluation.recall import RecallTask
    from perfmamba.evaluation.study import variants
    from perfmamba.models import model_name
    from perfmamba.pruning.selection import kept_count

    names = [model_name(source) for source in models]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two models are called {', '.join(repeated)}; their folders need different names")
    if (text is None) != (calibration is None):
        raise InputError("--text and --calibration belong together: one to predict, another to calibrate on")
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: give at least 1")
    for ratio in ratios:
        kept_count(1, ratio)
    grid = variants(ratios=ratios, scores=scores, bridges=bridges, seeds=seeds)
    for source, loaded in loaded_models(models, backend=backend, device=device):
        vocabulary = int(loaded.model.config.vocab_size)
        if text is None or calibration is None:
            measure = recall_measure(RecallTask(pairs, length, vocabulary), samples=samples)
        else:
            measure = text_measure(text, calibration, source=source, vocabulary=vocabulary)
        _measure(loaded, grid, measure, out, backend=backend)
    _report(out)


def _measure(
    loaded: "LoadedModel", grid: "Sequence[Variant]", measure: "Measure", out: Path, *, backend: str
) -> None:
    """Add to the study in `out` what it lacks of one model."""
    from perfmamba.commands.bars import counting
    from perfmamba.evaluation.study import measure_variants, weights_digest
    from perfmamba.evaluation.study_files import Settings, append_result, missing, open_study
    from perfmamba.pruning.surgery import check_prunable, state_sizes

    check_prunable(loaded.model)
    layers, states = state_sizes(loaded.model)
    done = open_study(out, Settings(measure.name, measure.about, loaded.generation, layers, states))
    if loaded.generation == 1:
        grid = [variant for variant in grid if variant.bridge != "balanced"]
    weights = weights_digest(loaded.model)
    pending = missing(grid, done, model=loaded.name, weights=weights)
    with counting(loaded.name, len(pending)) as advance:
        for result in measure_variants(loaded, pending, measure, weights=weights, backend=backend):
            append_result(out, result)
            advance(1)


def _report(out: Path) -> None:
    """Print the tables of a study and keep them beside its results, with the chart."""
    from perfmamba.evaluation.study_files import read_study
    from perfmamba.report.charts import require_altair, save_chart
    from perfmamba.report.study import study_tables
    from perfmamba.report.study_figure import study_chart

    settings, results = read_study(out)
    tables = study_tables(settings, results)
    show("\n\n".join(render(table, "text") for table in tables))
    with replacing(out / "study.md") as partial:
        partial.write_text(
            "\n\n".join(render(table, "markdown") for table in tables) + "\n", encoding="utf-8"
        )
    try:
        require_altair()
    except InputError as error:  # it is optional, and all numbers are there without it
        print(f"no chart: {error}", file=sys.stderr)
    else:
        save_chart(study_chart(settings, results), out / "study")
