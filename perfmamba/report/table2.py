"""Table 2 of the paper, measured: what removing states saves, by length and ratio.

In: pairs of pruned and dense models, measured in turns. Out: a `Table` for each model and batch size, in one
of two forms: `table2` has a row for each ratio and its interval; `table2_by_ratio`, as the paper, has a
column for each ratio, and a row for each length, backend and configuration.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol

from perfmamba.errors import InputError
from perfmamba.report.labels import configuration_note, suite_model
from perfmamba.report.pairs import (
    NO_DIFFERENCE,
    Measure,
    PrunedPair,
    Setting,
    measured_pairs,
    pair_notes,
)
from perfmamba.report.paper import paper_table2
from perfmamba.report.result_entries import NOT_MEASURED, legend, result_entry
from perfmamba.table import Column, Entry, Linked, Mark, Table, shown

_PAPER_MODEL, _PAPER_BATCH = "mamba2-130m", 8
_REMOVED = "pruned"
_SPEEDUP, _SAVED = "speed-up", "memory saved %"
_MEASURES: tuple[Measure, ...] = ("time", "memory")
_LENGTH = Column("seqlen", "Length", ",d", is_key=True)
_PAPER = (
    Column("speedup_paper", "speed-up\npaper", ".2f", group=_SPEEDUP, short="paper"),
    Column("memory_saved_paper_percent", "memory saved %\npaper", ".1f", group=_SAVED, short="paper"),
)
_COLUMNS = (
    _LENGTH,
    Column("backend", "Backend", is_key=True),
    Column("configuration", "States", is_key=True),
    Column("ratio", "r", "g", is_key=True),
    Column("speedup", _SPEEDUP, ".2f", group=_SPEEDUP, short="value"),
    Column("speedup_low", "low", ".2f", group=_SPEEDUP),
    Column("speedup_high", "high", ".2f", group=_SPEEDUP),
    Column("speedup_verdict", "seen", group=_SPEEDUP),
    Column("memory_saved_percent", _SAVED, "z.1f", group=_SAVED, short="value"),
    Column("memory_saved_low_percent", "low", "z.1f", group=_SAVED),
    Column("memory_saved_high_percent", "high", "z.1f", group=_SAVED),
    Column("memory_verdict", "seen", group=_SAVED),
)


def table2(pairs: Sequence[PrunedPair], *, against_paper: bool = False) -> tuple[Table, ...]:
    """A table for each model and batch size, with a row for each ratio.

    Args:
        pairs: of one machine.
        against_paper: add the paper's values, which are of mamba2-130m, a prefill, batch 8 on an A100, to the
            rows of removed states.

    Raises:
        InputError: if none is of a prefill.
    """
    tables = tuple(_table(group, against_paper) for group in _by_model(measured_pairs(pairs)))
    if not tables:
        raise InputError(
            "these results have no prefill of a pruned model; `perfmamba table decode` shows steps"
        )
    return tables


def _by_model(pairs: Sequence[PrunedPair]) -> list[list[PrunedPair]]:
    """The prefills of each model and batch size."""

    def of_one_table(pair: PrunedPair) -> tuple[str, int]:
        return pair.setting.model, pair.setting.batch

    prefills = sorted((pair for pair in pairs if pair.setting.mode == "prefill"), key=of_one_table)
    return [list(group) for _, group in groupby(prefills, key=of_one_table)]


def _table(pairs: Sequence[PrunedPair], against_paper: bool) -> Table:
    cells = {(pair.setting, pair.ratio, pair.measure): pair for pair in pairs}
    places = sorted({(pair.setting, pair.ratio) for pair in pairs}, key=_position)
    rows, sections = [], set()
    for number, (setting, ratio) in enumerate(places):
        if number == 0 or places[number - 1][0] != setting:
            sections.add(number)
        values = [
            value for measure in _MEASURES for value in _values(cells.get((setting, ratio, measure)), measure)
        ]
        paper = _printed(setting, ratio) if against_paper else ()
        rows.append((setting.seqlen, setting.backend, setting.configuration, ratio, *values, *paper))
    one = pairs[0].setting
    configurations = dict.fromkeys(setting.configuration for setting, _ in places)
    notes = (configuration_note(configurations), *_notes(one, against_paper))
    return Table(
        f"Table 2: what removing states saves in a prefill of {one.model}, batch {one.batch}",
        (*_COLUMNS, *_PAPER) if against_paper else _COLUMNS,
        tuple(rows),
        frozenset(sections),
        pair_notes(pairs, "the value", *notes),
    )


def _position(place: tuple[Setting, float]) -> tuple[int, str, bool, str, float]:
    """Where a row stands: the removed states of a length and backend before the others."""
    setting, ratio = place
    is_other = setting.configuration != _REMOVED
    return setting.seqlen, setting.backend, is_other, setting.configuration, ratio


def _printed(setting: Setting, ratio: float) -> tuple[Entry, Entry]:
    """The paper's speed-up and memory saving, where it has them."""
    printed = paper_table2().get((setting.seqlen, ratio)) if setting.configuration == _REMOVED else None
    return (None, None) if printed is None else (printed.speedup, printed.memory_percent)


def _values(pair: PrunedPair | None, measure: Measure) -> tuple[Entry, ...]:
    """What a pair says in the table's terms: the value, its bounds in order, and a word on it."""
    if pair is None:
        return None, None, None, None
    value = result_entry(pair.result, _saved(measure, pair.relative))
    return value, _saved(measure, pair.high), _saved(measure, pair.low), _word(pair)


def _saved(measure: Measure, relative: float | None) -> float | None:
    """The speed-up, or the percent of memory saved, of a pruned model's share of the dense one's."""
    if relative is None:
        return None
    return 1 / relative if measure == "time" else 100 * (1 - relative)


def _word(pair: PrunedPair) -> str | None:
    """What was seen; nothing where only the medians of two series of samples are known."""
    if pair.relative is None or pair.confidence is None:
        return None
    if pair.is_undecided:
        return "no difference"
    better, worse = ("faster", "slower") if pair.measure == "time" else ("smaller", "larger")
    return better if pair.relative < 1 else worse


def _notes(setting: Setting, against_paper: bool) -> Iterator[str]:
    yield "memory: at its peak, weights included."
    whole, layers = suite_model(setting.model)
    if layers:
        yield "A model cut to some layers: its embedding and lm_head weigh more than in the whole one."
    if against_paper and (setting.model, setting.batch) != (_PAPER_MODEL, _PAPER_BATCH):
        yield (
            f"The paper's values are of a prefill of {_PAPER_MODEL}, all layers, batch {_PAPER_BATCH}, "
            f"on an A100{'' if whole == _PAPER_MODEL else ': another model'}; compare with care."
        )


class PairLinks(Protocol):
    """Where a page leads from the parts of a table of pairs."""

    def of_pair(self, pair: PrunedPair) -> str:
        """From a value."""

    def of_row(self, pair: PrunedPair) -> str:
        """From the name of the row that a pair is in."""

    def of_ratio(self, pair: PrunedPair) -> str:
        """From the name of the column that a pair is in."""


def table2_by_ratio(pairs: Sequence[PrunedPair], *, links: PairLinks, newest: str) -> tuple[Table, ...]:
    """A table for each model and batch size, with a column for each ratio, and the paper's rows below ours.

    Args:
        pairs: of one machine.
        links: for a page.
        newest: the commit that the page shows; pairs of another one say so.
    """
    return tuple(_ratio_table(group, links, newest) for group in _by_model(pairs))


def _ratio_table(pairs: Sequence[PrunedPair], links: PairLinks, newest: str) -> Table:
    columns = [(measure, ratio) for measure in _MEASURES for ratio in sorted({pair.ratio for pair in pairs})]
    cells = {(pair.setting, pair.measure, pair.ratio): pair for pair in pairs}
    header = [_ratio_column(pairs, measure, ratio, links) for measure, ratio in columns]
    rows: list[tuple[Entry, ...]] = []
    quoted = []
    sections = []
    settings = sorted({pair.setting for pair in pairs}, key=lambda setting: _position((setting, 0)))
    for seqlen, of_length in groupby(settings, key=lambda setting: setting.seqlen):
        sections.append(len(rows))
        for setting in of_length:
            found = [cells.get((setting, *place)) for place in columns]
            first = next(pair for pair in pairs if pair.setting == setting)
            name = Linked(f"{setting.backend}, {setting.configuration}", href=links.of_row(first))
            entries = [
                _entry(pair, column, links, newest) for pair, column in zip(found, header, strict=True)
            ]
            rows.append((seqlen, name, *entries))
        if printed := _printed_row(pairs[0].setting, seqlen, columns):
            quoted.append(len(rows))
            rows.append((seqlen, "paper", *printed))
    one = pairs[0].setting
    return Table(
        f"One prefill, compared with the dense model's: {one.model}, batch {one.batch}",
        (_LENGTH, Column("variant", "Backend, configuration", is_key=True), *header),
        tuple(rows),
        frozenset(sections),
        tuple(_ratio_notes(pairs, newest, with_paper=bool(quoted))),
        dict.fromkeys(quoted, "quiet"),
    )


def _ratio_column(pairs: Sequence[PrunedPair], measure: Measure, ratio: float, links: PairLinks) -> Column:
    quantity = _SPEEDUP if measure == "time" else _SAVED
    key = f"{'speedup' if measure == 'time' else 'memory_saved_percent'}_r{ratio:g}"
    of_column = [pair for pair in pairs if (pair.measure, pair.ratio) == (measure, ratio)]
    return Column(
        key,
        f"{quantity}\nr = {ratio:g}",
        ".2f" if measure == "time" else "z.1f",
        suffix="x" if measure == "time" else "",
        group=quantity,
        short=f"r = {ratio:g}",
        href=links.of_ratio(of_column[0]) if of_column else "",
    )


def _entry(pair: PrunedPair | None, column: Column, links: PairLinks, newest: str) -> Linked:
    if pair is None:
        return NOT_MEASURED
    bounds = [_saved(pair.measure, bound) for bound in (pair.high, pair.low)]
    detail = "" if None in bounds else " to ".join(shown(column, bound) for bound in bounds)
    marks = (Mark("≈", NO_DIFFERENCE),) if pair.is_undecided else ()
    return result_entry(
        pair.result,
        _saved(pair.measure, pair.relative),
        newest=newest,
        href=links.of_pair(pair),
        detail=detail,
        marks=marks,
    )


def _printed_row(
    setting: Setting, seqlen: int, columns: Sequence[tuple[Measure, float]]
) -> list[float | None]:
    """The paper's row of a length; empty where it has none."""
    if setting.model != _PAPER_MODEL:
        return []
    savings = [(measure, paper_table2().get((seqlen, ratio))) for measure, ratio in columns]
    values = [
        None if saving is None else saving.speedup if measure == "time" else saving.memory_percent
        for measure, saving in savings
    ]
    return values if any(value is not None for value in values) else []


def _ratio_notes(pairs: Sequence[PrunedPair], newest: str, *, with_paper: bool) -> Iterator[str]:
    yield from legend([pair.result for pair in pairs], newest)
    for confidence in sorted({pair.confidence for pair in pairs if pair.confidence}):
        yield f"Below a number: its interval, {confidence:.0%} confidence, from pairs measured in turn."
    if any(pair.is_undecided for pair in pairs):
        yield f"≈ {NO_DIFFERENCE}."
    yield "The interval is of one process; another may be some percent off."
    yield configuration_note(dict.fromkeys(pair.setting.configuration for pair in pairs))
    if with_paper:
        yield "paper: states removed, batch 8, all layers, one A100 40 GB."
