"""What a comparison found, as a table for a terminal or a log, and as JSON.

In: results. Out: text and numbers; nothing is measured or decided here.
"""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.meter.compare.duel import UNSETTLED, Result
from benchmarks.meter.measure.statistics import NO_DIFFERENCE

_STYLES = {"slower": "red", "larger": "red", "faster": "green", "smaller": "green", UNSETTLED: "yellow"}
_WORSE = ("slower", "larger")
_SCALES = {
    "seconds": ((1, "s"), (1e-3, "ms"), (1e-6, "us")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
}


def worse(results: Iterable[Result], min_effect: float) -> list[Result]:
    """The cells that are slower or larger in HEAD, or have no value there any more."""
    return [
        result
        for result in results
        if result.outcome == "lost" or (result.outcome == "measured" and result.verdict(min_effect) in _WORSE)
    ]


def rendered(results: Sequence[Result], min_effect: float, *, show_all: bool) -> RenderableType:
    """The table of what changed or may have (of all cells, if asked), and a summary below it."""
    measured = [result for result in results if result.outcome == "measured"]
    shown = [result for result in measured if show_all or result.verdict(min_effect) != NO_DIFFERENCE]
    parts: list[RenderableType] = []
    if shown:
        parts.append(_table(sorted(shown, key=lambda result: -abs(result.ratio().value - 1)), min_effect))
    parts += [
        Text(f"{result.outcome}: {result.cell.name}: {_last_line(result.reason)}")
        for result in results
        if result.outcome in ("lost", "failed", "new")
    ]
    return Group(*parts, Text(_summary(results, measured, min_effect)))


def as_json(result: Result, min_effect: float) -> dict[str, Any]:
    """All that is known of a cell, its samples included."""
    known: dict[str, Any] = {
        "benchmark": result.cell.benchmark,
        "params": result.cell.params,
        "unit": result.cell.unit,
        "outcome": result.outcome,
    }
    if result.outcome != "measured":
        return {**known, "reason": result.reason}
    ratio = result.ratio()
    return {
        **known,
        "verdict": result.verdict(min_effect),
        "confirmed": result.confirmed,
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "confidence": ratio.confidence,
        "base": result.base,
        "head": result.head,
        "rounds": result.blocks,
    }


def _table(results: Sequence[Result], min_effect: float) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("cell", overflow="fold")
    for header in ("base", "HEAD", "change", "99 % interval"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for result in results:
        ratio, said = result.ratio(), result.verdict(min_effect)
        table.add_row(
            result.cell.name,
            _quantity(statistics.median(result.base), result.cell.unit),
            _quantity(statistics.median(result.head), result.cell.unit),
            f"{ratio.value - 1:+.1%}",
            f"{ratio.low - 1:+.1%} to {ratio.high - 1:+.1%}",
            Text(said, style=_STYLES.get(said, "")),
        )
    return table


def _quantity(value: float, unit: str) -> str:
    scales = _SCALES.get(unit, ((1, unit),))
    size, name = next((scale for scale in scales if value >= scale[0]), scales[-1])
    return f"{value / size:.3g} {name}"


def _summary(results: Sequence[Result], measured: Sequence[Result], min_effect: float) -> str:
    changed = [said for result in measured if (said := result.verdict(min_effect)) != NO_DIFFERENCE]
    counts = [f"{changed.count(said)} {said}" for said in _STYLES if said in changed]
    skipped = sum(result.outcome == "skipped" for result in results)
    if skipped:
        counts.append(f"{skipped} n/a")
    counts.append(f"{len(measured) - len(changed)} {NO_DIFFERENCE}")
    return f"{len(results)} cells: {', '.join(counts)}{_blindness(measured, min_effect)}."


def _blindness(measured: Sequence[Result], min_effect: float) -> str:
    """How closely unchanged cells are known. One round tells nothing of what differs between processes."""
    errors = [
        result.ratio().relative_error
        for result in measured
        if result.rounds > 1 and result.verdict(min_effect) == NO_DIFFERENCE
    ]
    if not errors:
        return ""
    known = f"half are known within {statistics.median(errors):.1%}"
    return f"; of those measured in more than one process ({len(errors)}), {known}"


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else ""
