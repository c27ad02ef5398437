"""Table 2 of the paper, measured: what removing states saves, by length and ratio.

In: pairs of pruned and dense models, measured in turns. Out: a `Table` for each model and batch size; each
length has rows of every backend and configuration.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from perfmamba.errors import InputError
from perfmamba.report.labels import configuration_note, suite_model
from perfmamba.report.pairs import Measure, PrunedPair, Setting, pair_notes
from perfmamba.report.paper import paper_table2
from perfmamba.table import Column, Table, Value

_PAPER_MODEL, _PAPER_BATCH = "mamba2-130m", 8
_REMOVED = "pruned"
_SPEEDUP, _SAVED = "speed-up", "memory saved %"
_PAPER = (
    Column("speedup_paper", "speed-up\npaper", ".2f", group=_SPEEDUP, short="paper"),
    Column("memory_saved_paper_percent", "memory saved %\npaper", ".1f", group=_SAVED, short="paper"),
)
_COLUMNS = (
    Column("seqlen", "Length", "d", is_key=True),
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
    """A table for each model and batch size.

    Args:
        pairs: of one machine.
        against_paper: add the paper's values, which are of mamba2-130m, a prefill, batch 8 on an A100, to the
            rows of removed states.

    Raises:
        InputError: if none is of a prefill.
    """

    def of_one_table(pair: PrunedPair) -> tuple[str, int]:
        return pair.setting.model, pair.setting.batch

    prefills = [pair for pair in pairs if pair.setting.mode == "prefill"]
    if not prefills:
        raise InputError(
            "these results have no prefill of a pruned model; `perfmamba table decode` shows steps"
        )
    ordered = sorted(prefills, key=of_one_table)
    return tuple(_table(list(group), against_paper) for _, group in groupby(ordered, key=of_one_table))


def _table(pairs: Sequence[PrunedPair], against_paper: bool) -> Table:
    cells = {(pair.setting, pair.ratio, pair.measure): pair for pair in pairs}
    places = sorted({(pair.setting, pair.ratio) for pair in pairs}, key=_position)
    rows, sections = [], set()
    for number, (setting, ratio) in enumerate(places):
        if number == 0 or places[number - 1][0] != setting:
            sections.add(number)
        values = [
            value
            for measure in ("time", "memory")
            for value in _values(cells.get((setting, ratio, measure)), measure)
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


def _printed(setting: Setting, ratio: float) -> tuple[Value, Value]:
    """The paper's speed-up and memory saving, where it has them."""
    printed = paper_table2().get((setting.seqlen, ratio)) if setting.configuration == _REMOVED else None
    return (None, None) if printed is None else (printed.speedup, printed.memory_percent)


def _values(pair: PrunedPair | None, measure: Measure) -> tuple[Value, ...]:
    """What a pair says in the table's terms: the value, its bounds in order, and a word on it."""
    if pair is None:
        return None, None, None, None
    saved = [_saved(measure, relative) for relative in (pair.relative, pair.high, pair.low)]
    return (*saved, _word(pair))


def _saved(measure: Measure, relative: float) -> float:
    """The speed-up, or the percent of memory saved, of a pruned model's share of the dense one's."""
    return 1 / relative if measure == "time" else 100 * (1 - relative)


def _word(pair: PrunedPair) -> str:
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
