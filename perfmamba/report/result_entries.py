"""How a result of asv stands in a table: its entry with its marks, and the notes that explain the marks."""

from collections.abc import Iterable, Iterator

from perfmamba.report.asv_results import NewestResult, StoredResults
from perfmamba.table import Linked, Mark, Value

THROTTLED = "T"
NOT_AVAILABLE = "n/a"
NOT_MEASURED = Linked(None, hover="not measured on this machine")

_HASH_DIGITS = 8


def result_entry(
    result: NewestResult | None,
    value: Value,
    *,
    newest: str | None = None,
    href: str = "",
    detail: str = "",
    marks: tuple[Mark, ...] = (),
) -> Linked:
    """The entry of a result.

    Args:
        result: None for a cell that no commit has.
        value: what the table shows of it, such as the result in the table's unit.
        newest: the commit that the table is of; a result of another one says so. None to say nothing.
        href: of its graph.
        detail: shown below the value.
        marks: more of them.
    """
    if result is None:
        return NOT_MEASURED
    if result.skipped:
        return Linked(None, text=NOT_AVAILABLE, hover=result.skipped)
    warnings = (Mark(THROTTLED, result.throttled, is_warning=True),) if result.throttled else ()
    commit = result.source.commit
    older = (Mark(f"@{short(commit)}", "measured at this commit"),) if newest not in {None, commit} else ()
    text = "failed" if result.failed else ""
    return Linked(value, href, (*warnings, *older, *marks), detail, text)


def legend(results: Iterable[NewestResult | None], newest: str | None = None) -> Iterator[str]:
    """Sentences that say what the marks on these results mean; none for results without marks."""
    found = [result for result in results if result]
    if reasons := sorted({result.throttled for result in found if result.throttled}):
        yield (
            f"{THROTTLED} measured while the device was throttled ({'; '.join(reasons)}): not to be compared."
        )
    if newest and any(result.source.commit != newest for result in found):
        yield (f"@: measured at another commit, the newest that has the cell; all others at {short(newest)}.")
    if reasons := sorted({result.skipped for result in found if result.skipped}):
        yield f"{NOT_AVAILABLE}: {'; '.join(reasons)}."


def short(commit: StoredResults | str) -> str:
    """The first digits of a commit's hash."""
    return (commit if isinstance(commit, str) else commit.commit)[:_HASH_DIGITS]
