"""What a comparison found, as a table for a terminal or a log, and as JSON.

In: results. Out: text and numbers; nothing is measured or decided here. `markdown` has the same for GitHub.
"""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.meter.compare.duel import UNSETTLED, CellComparison
from benchmarks.meter.measure.statistics import NO_DIFFERENCE

HEADERS = ("cell", "base", "HEAD", "change", "99 % interval", "verdict")

_STYLES = {"slower": "red", "larger": "red", "faster": "green", "smaller": "green", UNSETTLED: "yellow"}
_WORSE = ("slower", "larger")
_SCALES = {
    "seconds": ((1, "s"), (1e-3, "ms"), (1e-6, "us")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
}


def worse(results: Iterable[CellComparison], min_effect: float) -> list[CellComparison]:
    """The cells that are slower or larger in HEAD, or have no value there any more."""
    return [
        result
        for result in results
        if result.outcome == "lost" or (result.outcome == "measured" and result.verdict(min_effect) in _WORSE)
    ]


def rendered(results: Sequence[CellComparison], min_effect: float, *, show_all: bool) -> RenderableType:
    """The table of what changed or may have (of all cells, if asked), and a summary below it."""
    measured = [result for result in results if result.outcome == "measured"]
    shown = [result for result in measured if show_all or result.verdict(min_effect) != NO_DIFFERENCE]
    parts: list[RenderableType] = []
    if shown:
        parts.append(_table(by_change(shown), min_effect))
    parts += [
        Text(f"{result.outcome}: {result.cell.name}: {last_line(result.reason)}")
        for result in results
        if result.outcome in ("lost", "failed", "new")
    ]
    return Group(*parts, Text(summary(results, min_effect)))


def as_json(result: CellComparison, min_effect: float) -> dict[str, Any]:
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


def row(result: CellComparison, min_effect: float) -> tuple[str, ...]:
    """What a measured cell has in the columns `HEADERS`."""
    ratio = result.ratio()
    return (
        result.cell.name,
        _quantity(statistics.median(result.base), result.cell.unit),
        _quantity(statistics.median(result.head), result.cell.unit),
        f"{ratio.value - 1:+.1%}",
        f"{ratio.low - 1:+.1%} to {ratio.high - 1:+.1%}",
        result.verdict(min_effect),
    )


def by_change(results: Iterable[CellComparison]) -> list[CellComparison]:
    """Measured cells, those that changed the most first."""
    return sorted(results, key=lambda result: -abs(result.ratio().value - 1))


def _table(results: Sequence[CellComparison], min_effect: float) -> Table:
    table = Table(box=None, header_style="bold")
    name, *numbers, verdict = HEADERS
    table.add_column(name, overflow="fold")
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column(verdict, no_wrap=True)
    for result in results:
        *cells, said = row(result, min_effect)
        table.add_row(*cells, Text(said, style=_STYLES.get(said, "")))
    return table


def _quantity(value: float, unit: str) -> str:
    scales = _SCALES.get(unit, ((1, unit),))
    size, name = next((scale for scale in scales if value >= scale[0]), scales[-1])
    return f"{value / size:.3g} {name}"


def summary(results: Sequence[CellComparison], min_effect: float) -> str:
    """How many cells changed and in which way, and how closely the unchanged ones are known."""
    measured = [result for result in results if result.outcome == "measured"]
    changed = [said for result in measured if (said := result.verdict(min_effect)) != NO_DIFFERENCE]
    counts = [f"{changed.count(said)} {said}" for said in _STYLES if said in changed]
    skipped = sum(result.outcome == "skipped" for result in results)
    if skipped:
        counts.append(f"{skipped} n/a")
    counts.append(f"{len(measured) - len(changed)} {NO_DIFFERENCE}")
    return f"{len(results)} cells: {', '.join(counts)}{_blindness(measured, min_effect)}."


def _blindness(measured: Sequence[CellComparison], min_effect: float) -> str:
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


def last_line(text: str) -> str:
    """The last line of a text, which in a traceback says what was wrong."""
    return text.strip().splitlines()[-1] if text.strip() else ""
