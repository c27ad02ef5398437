"""What pruning takes from the quality of several trained models, as tables.

In: the results of a study. Out: a `Summary` of each way to prune, and tables of them. The models are the
sample: a value is averaged over the control's seeds in each model, then over the models. Intervals are
Student's, 95%. The difference from the control is taken in each model before it is averaged.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from perfmamba.evaluation.intervals import Average, average
from perfmamba.evaluation.study import VariantResult
from perfmamba.evaluation.study_files import Settings
from perfmamba.pruning.bridge import bridge_named
from perfmamba.pruning.scores import CONTROL
from perfmamba.table import Column, Table, Value

_NO_BRIDGE, _NO_SCORE = "(dense)", "(no selection)"

HEADERS = {"accuracy": "accuracy", "bits_per_byte": "bits per byte"}
"""The name of each measure for people."""

_DIGITS = {"accuracy": ".3f", "bits_per_byte": ".4f"}


@dataclass(frozen=True)
class Way:
    """A way to prune, whatever the seed.

    Attributes:
        score: what ranks the states; None in the dense model, and with a bridge that mixes all states.
        bridge: how the kept states are read; None in the dense model.
        ratio: the share of states removed.
    """

    score: str | None
    bridge: str | None
    ratio: float


@dataclass(frozen=True)
class Summary:
    """What was measured of a way to prune.

    Attributes:
        way: how the models were pruned.
        value: the mean over the models.
        advantage: the mean difference from the control in the same models and with the same bridge; for a
            bridge that ranks no states, with the bridge that it is compared with. None where the control was
            not measured.
    """

    way: Way
    value: Average
    advantage: Average | None


def summarize(results: Iterable[VariantResult]) -> tuple[Summary, ...]:
    """Summarize each way to prune, in the order of the results."""
    drawn: dict[Way, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        variant = result.variant
        way = Way(variant.score, variant.bridge, variant.ratio)
        drawn[way][result.model].append(result.measured.value)
    values = {
        way: {model: mean(draws) for model, draws in by_model.items()} for way, by_model in drawn.items()
    }
    return tuple(
        Summary(way, average(list(by_model.values())), _advantage(by_model, values.get(_control(way), {})))
        for way, by_model in values.items()
    )


def study_tables(settings: Settings, results: Sequence[VariantResult]) -> tuple[Table, Table]:
    """Tabulate the value of each way to prune, and its difference from the control.

    Both tables have a row for each bridge and score, and a column for each ratio.

    Raises:
        InputError: if the results are of a bridge that does not exist.
    """
    summaries = {summary.way: summary for summary in summarize(results)}
    models = sorted({result.model for result in results})
    several = len(models) > 1
    title = (
        f"{HEADERS[settings.measure].capitalize()} of pruned models: Mamba-{settings.generation}, "
        f"{settings.layers} layers, N = {settings.states}, "
        + (f"mean of {len(models)} models" if several else "one model")
    )
    values = {way: summary.value for way, summary in summaries.items()}
    advantages = {
        way: summary.advantage
        for way, summary in summaries.items()
        if summary.advantage is not None and way.score != CONTROL
    }
    digits = _DIGITS[settings.measure]
    others = dict.fromkeys(way.bridge for way in advantages if _control(way).bridge != way.bridge)
    exceptions = "".join(f"; the control of {name} has {bridge_named(name).panel}" for name in others if name)
    notes = (
        f"Models: {', '.join(models)}." + (" ± is half of Student's 95% interval over them." * several),
        *(f"{name.capitalize()}: {text}." for name, text in settings.about.items()),
    )
    return (
        _table(title, values, digits, notes, intervals=several),
        _table(
            f"Difference from {CONTROL}, in the same model",
            advantages,
            f"+{digits}",
            (f"The control has the same bridge{exceptions}.",),
            intervals=several,
        ),
    )


def _advantage(by_model: Mapping[str, float], control: Mapping[str, float]) -> Average | None:
    """The mean difference from the control over the models that both were measured on."""
    differences = [value - control[model] for model, value in by_model.items() if model in control]
    return average(differences) if differences else None


def _control(way: Way) -> Way:
    """The way that another one is compared with."""
    return Way(CONTROL, bridge_named(way.bridge).panel if way.bridge else None, way.ratio)


def _table(
    title: str, cells: Mapping[Way, Average], digits: str, notes: tuple[str, ...], *, intervals: bool
) -> Table:
    """Tabulate a row for each bridge and score, as they come, and a column for each ratio above 0."""
    ratios = sorted({way.ratio for way in cells if way.bridge is not None})
    places = list(dict.fromkeys((way.bridge, way.score) for way in cells))
    columns = [Column("bridge", "Bridge"), Column("score", "Score")]
    for ratio in ratios:
        columns.append(Column(f"mean_r{ratio:g}", f"r = {ratio:g}", digits))
        if intervals:
            columns.append(Column(f"half_width_r{ratio:g}", "±", ".3f"))
    rows, sections = [], set()
    for number, (bridge, score) in enumerate(places):
        if number == 0 or places[number - 1][0] != bridge:
            sections.add(number)
        row: list[Value] = [bridge or _NO_BRIDGE, score or _NO_SCORE]
        for ratio in ratios:
            # the dense model is the same at every ratio
            cell = cells.get(Way(score, bridge, ratio if bridge else 0.0))
            row.append(cell.mean if cell else None)
            if intervals:
                row.append(cell.half_width if cell else None)
        rows.append(tuple(row))
    return Table(title, tuple(columns), tuple(rows), frozenset(sections), notes)
