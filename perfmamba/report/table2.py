"""Table 2 of the paper, measured: what removing states saves, by length and ratio.

In: pairs of pruned and dense models, measured in turns. Out: a `Table` for each model, backend and
configuration.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from perfmamba.errors import InputError
from perfmamba.report.labels import suite_model
from perfmamba.report.pairs import Measure, PrunedPair, Setting, pair_notes
from perfmamba.report.paper import paper_table2
from perfmamba.report.table import Column, Table, Value

_PAPER_MODEL, _PAPER_BATCH = "mamba2-130m", 8
_PAPER = (
    Column("speedup_paper", "speed-up\npaper", ".2f"),
    Column("memory_saved_paper_percent", "memory saved %\npaper", ".1f"),
)
_COLUMNS = (
    Column("seqlen", "Length", "d"),
    Column("ratio", "r", "g"),
    Column("speedup", "speed-up", ".2f"),
    Column("speedup_low", "low", ".2f"),
    Column("speedup_high", "high", ".2f"),
    Column("speedup_verdict", "seen"),
    Column("memory_saved_percent", "memory saved %", ".1f"),
    Column("memory_saved_low_percent", "low", ".1f"),
    Column("memory_saved_high_percent", "high", ".1f"),
    Column("memory_verdict", "seen"),
)


def table2(pairs: Sequence[PrunedPair], *, against_paper: bool = False) -> tuple[Table, ...]:
    """A table for each configuration, model, backend and batch, the removed states before the others.

    Args:
        pairs: of one machine.
        against_paper: add the paper's values, which are of mamba2-130m, a prefill, batch 8 on an A100.

    Raises:
        InputError: if none is of a prefill.
    """

    def of_one_table(pair: PrunedPair) -> tuple[bool, str, str, str, int]:
        setting = pair.setting
        is_other = setting.configuration != "pruned"
        return is_other, setting.configuration, setting.model, setting.backend, setting.batch

    prefills = [pair for pair in pairs if pair.setting.mode == "prefill"]
    if not prefills:
        raise InputError(
            "these results have no prefill of a pruned model; `perfmamba table decode` shows steps"
        )
    ordered = sorted(prefills, key=of_one_table)
    return tuple(_table(list(group), against_paper) for _, group in groupby(ordered, key=of_one_table))


def _table(pairs: Sequence[PrunedPair], against_paper: bool) -> Table:
    setting = pairs[0].setting
    cells = {(pair.setting.seqlen, pair.ratio, pair.measure): pair for pair in pairs}
    places = sorted({(pair.setting.seqlen, pair.ratio) for pair in pairs})
    rows, sections = [], set()
    for number, (seqlen, ratio) in enumerate(places):
        if number == 0 or places[number - 1][0] != seqlen:
            sections.add(number)
        values = [
            value
            for measure in ("time", "memory")
            for value in _values(cells.get((seqlen, ratio, measure)), measure)
        ]
        paper = paper_table2().get((seqlen, ratio), (None, None)) if against_paper else ()
        rows.append((seqlen, ratio, *values, *paper))
    columns = (*_COLUMNS, *_PAPER) if against_paper else _COLUMNS
    notes = pair_notes(pairs, "the value", *_notes(setting, against_paper))
    return Table(_title(setting), columns, tuple(rows), frozenset(sections), notes)


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


def _title(setting: Setting) -> str:
    what = {"pruned": "removing states", "masked": "zeroing states"}.get(
        setting.configuration, f"removing states (bridge {setting.configuration})"
    )
    where = f"{setting.model}, batch {setting.batch}, {setting.backend}"
    return f"Table 2: what {what} saves in a prefill of {where}"


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
