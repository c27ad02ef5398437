"""How often each method was right, as a Markdown table.

In: trials as `experiment.run` yields them. Out: text. Where the commits are alike, cells called different are
false alarms; where a slow-down is planted, scans called slower are what was found. In brackets, what the true
share may be, with 95 % confidence.
"""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from tabulate import tabulate

from perfmamba.evaluation.intervals import Proportion

AFFECTED = "ssm"
"""The cell that a planted slow-down slows by its whole size."""


def table(trials: Sequence[dict[str, Any]]) -> str:
    """A row for each method and factor, a column for each planted slow-down."""
    methods = sorted(
        {(trial["method"], factor) for trial in trials for factor in trial["said"]}, reverse=True
    )
    sizes = sorted({trial["planted"] for trial in trials})
    headers = ["", *("none planted" if not size else f"+{size:.0%} in the scan" for size in sizes), "time"]
    rows = [
        [
            f"{method}, changes from {float(factor) - 1:.0%}",
            *(_share(_of(trials, method, size), factor, size) for size in sizes),
            f"{median(trial['seconds'] for trial in trials if trial['method'] == method):.0f} s",
        ]
        for method, factor in methods
    ]
    return tabulate(rows, headers, tablefmt="github")


def _of(trials: Iterable[dict[str, Any]], method: str, size: float) -> list[dict[str, Any]]:
    return [trial for trial in trials if (trial["method"], trial["planted"]) == (method, size)]


def _share(trials: Sequence[dict[str, Any]], factor: str, size: float) -> str:
    """Cells called changed (of equal commits), or scans called slower, of those measured."""
    cells = [(cell, said) for trial in trials for cell, said in trial["said"][factor].items()]
    if size:
        cells = [(cell, said) for cell, said in cells if cell == AFFECTED]
        hits = sum(said == "slower" for _, said in cells)
    else:
        hits = sum(bool(said) for _, said in cells)
    if not cells:
        return "-"
    low, high = Proportion(hits, len(cells)).interval()
    return f"{hits} of {len(cells)} ({low:.0%} to {high:.0%})"
