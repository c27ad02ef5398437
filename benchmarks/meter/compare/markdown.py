"""What a comparison found, as GitHub's Markdown: for the summary of a job, or a comment on a pull request.

In: results. Out: text. The verdict comes first, then what changed; the rest is folded.
"""

import html
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.meter.asv_plugins.machine import machine_fields
from benchmarks.meter.asv_plugins.versions import versions
from benchmarks.meter.compare.builds import Build
from benchmarks.meter.compare.duel import CellComparison
from benchmarks.meter.compare.report import HEADERS, by_change, last_line, row, summary, worse
from benchmarks.meter.measure.statistics import NO_DIFFERENCE

_ALIGNMENTS = ("---", "---:", "---:", "---:", "---:", "---")
_PARTS_A_CODE_SPAN_BREAKS_AT = "`|"
_SPECIAL = r"\`|*_~[]"


def rendered(
    base: Build, head: Build, results: Sequence[CellComparison], min_effect: float, *, cut_short: str
) -> str:
    """The whole text.

    Args:
        base: the commit compared with.
        head: the commit in question.
        results: of the cells.
        min_effect: the smallest difference worth a word, as a fraction.
        cut_short: why cells are missing; empty if none are.
    """
    measured = [result for result in results if result.outcome == "measured"]
    changed = [result for result in measured if result.verdict(min_effect) != NO_DIFFERENCE]
    others = [result for result in measured if result not in changed]
    without = [result for result in results if result.outcome in ("lost", "failed", "new")]
    skipped = [result for result in results if result.outcome == "skipped"]
    blocks = [
        f"**{_verdict(results, min_effect, cut_short)}** {_name(head)} against {_name(base)}.",
        summary(results, min_effect),
        _table(changed, min_effect),
        _reasons(without),
        _folded(f"{len(others)} unchanged", _table(others, min_effect)),
        _folded(f"{len(skipped)} n/a", _reasons(skipped)),
        _folded("Versions and machine", _facts()),
    ]
    return "\n\n".join(filter(None, blocks))


def code(text: str) -> str:
    """Any text on one line, in a fixed width, with nothing in it taken for Markdown, also within a table."""
    line = " ".join(text.split())
    if not set(line) & set(_PARTS_A_CODE_SPAN_BREAKS_AT):
        return f"`{line}`" if line else ""
    escaped = html.escape(line, quote=False)
    return f"<code>{''.join(f'&#{ord(sign)};' if sign in _SPECIAL else sign for sign in escaped)}</code>"


def _verdict(results: Sequence[CellComparison], min_effect: float, cut_short: str) -> str:
    """One sentence, which says the same as the exit code."""
    if cut_short:
        return "The comparison was cut short."
    if bad := worse(results, min_effect):
        return f"{len(bad)} of {_cells(len(results))} got worse."
    if failed := [result for result in results if result.outcome == "failed"]:
        return f"{len(failed)} of {_cells(len(results))} could not be compared."
    return "Nothing got worse."


def _cells(count: int) -> str:
    return f"{count} cell" if count == 1 else f"{count} cells"


def _name(build: Build) -> str:
    return f"{code(build.label)} ({code(build.commit[:8])})"


def _table(results: Iterable[CellComparison], min_effect: float) -> str:
    rows = [
        (code(name), *cells) for name, *cells in (row(result, min_effect) for result in by_change(results))
    ]
    return "\n".join(_lines(HEADERS, _ALIGNMENTS, *rows)) if rows else ""


def _lines(*rows: Sequence[str]) -> Iterator[str]:
    return (f"| {' | '.join(cells)} |" for cells in rows)


def _reasons(results: Iterable[CellComparison]) -> str:
    """A line for each cell without values, and why it has none."""
    return "\n".join(
        f"- {'n/a' if result.outcome == 'skipped' else result.outcome}: {code(result.cell.name)}: "
        f"{code(last_line(result.reason))}"
        for result in results
    )


def _facts() -> str:
    found = {"machine": machine_fields()["machine"], **versions()}
    return "\n".join(f"- {name}: {code(value)}" for name, value in found.items() if value)


def _folded(title: str, text: str) -> str:
    # GitHub reads Markdown inside an element only after an empty line
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>" if text else ""
