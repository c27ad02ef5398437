"""`perfmamba study`: what every way to prune takes from the quality of several trained models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from perfmamba.commands.choices import Bridge, Score
from perfmamba.commands.loading import let_threads_sleep, loaded_models
from perfmamba.commands.options import (
    CALIBRATION_HELP,
    Backend,
    Device,
    Length,
    Models,
    Pairs,
    Samples,
    Several,
)
from perfmamba.errors import InputError
from perfmamba.files import replacing
from perfmamba.pruning.bridge import BRIDGES
from perfmamba.pruning.scores import SCORES
from perfmamba.table import render
from perfmamba.terminal import progress_bar, show, show_table, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfmamba.evaluation.measures import Measure
    from perfmamba.evaluation.study import Variant
    from perfmamba.models import LoadedModel


def study(
    models: Models,
    /,
    *,
    out: Path,
    ratios: Annotated[tuple[float, ...], Several] = (0.1, 0.3, 0.5, 0.7, 0.9),
    scores: Annotated[tuple[Score, ...], Several] = tuple(SCORES),
    bridges: Annotated[tuple[Bridge, ...], Several] = tuple(BRIDGES),
    seeds: int = 5,
    pairs: Pairs = 8,
    length: Length = 64,
    samples: Samples = 1000,
    text: Path | None = None,
    calibration: Annotated[str | None, Parameter(help=f"With --text: {CALIBRATION_HELP}")] = None,
    backend: Backend = "torch",
    device: Device = None,
) -> None:
    """Prune models in every way, measure each, and print a table and draw a chart of all results.

    Each model is measured by the accuracy of associative recall, or by bits per byte if --text is given.
    Results are lines of results.jsonl, written one by one. The same command goes on where it was stopped, and
    ratios, scores, bridges, seeds or models can be added later. Table and chart show everything in the
    folder.

    Args:
        models: Checkpoint folders or hub ids of one shape, trained from different seeds.
        out: Folder for the study.
        ratios: Shares of states to remove.
        scores: What ranks the states; random is the control.
        bridges: How the kept states are read. Bridges that mix states are left out for Mamba-1.
        seeds: How often the control is drawn.
        text: A text to predict, in place of recall.
    """
    let_threads_sleep()
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
    from perfmamba.evaluation.study import fitting, measure_variants, weights_digest
    from perfmamba.evaluation.study_files import Settings, append_result, missing, open_study
    from perfmamba.pruning.surgery import check_prunable, state_sizes

    checked = check_prunable(loaded.model)
    layers, states = state_sizes(loaded.model)
    done = open_study(out, Settings(measure.name, measure.about, loaded.generation, layers, states))
    weights = weights_digest(loaded.model)
    pending = missing(fitting(grid, loaded.generation), done, model=loaded.name, weights=weights)
    results = measure_variants(loaded, pending, measure, weights=weights, backend=backend, checked=checked)
    with progress_bar(loaded.name, len(pending)) as bar:
        for result in results:
            append_result(out, result)
            bar.advance()


def _report(out: Path) -> None:
    """Print the tables of a study and keep them beside its results, with the chart."""
    from perfmamba.evaluation.study_files import read_study
    from perfmamba.report.charts import require_altair, save_chart
    from perfmamba.report.study import study_tables
    from perfmamba.report.study_figure import study_chart

    settings, results = read_study(out)
    tables = study_tables(settings, results)
    for number, table in enumerate(tables):
        if number:
            show("")
        show_table(table)
    with replacing(out / "study.md") as partial:
        partial.write_text(
            "\n\n".join(render(table, "markdown") for table in tables) + "\n", encoding="utf-8"
        )
    try:
        require_altair()
    except InputError as error:  # it is optional, and all numbers are there without it
        tell(f"no chart: {error}")
    else:
        save_chart(study_chart(settings, results), out / "study")
