"""How a page shows one result and where it comes from.

In: cells and runs of `newest`. Out: HTML elements: the cell of a table with its marks, what the marks mean,
and the line above a table that says which machine, commit and versions it is of.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from xml.etree.ElementTree import Element

from benchmarks.meter.site.markup import Child, element, link
from benchmarks.meter.site.newest import Cell, History, Run

_HASH_DIGITS = 8
_THROTTLED = "T"


def cell_element(cell: Cell | None, text: str, href: str, newest: Run, *details: Child) -> Element:
    """The `td` of a cell, linked to its history.

    Args:
        cell: None for one that no commit has.
        text: its value for people.
        href: of its graph.
        newest: the run that the table is of; a cell from another says so.
        details: shown behind the value.
    """
    if cell is None:
        return element("td", "-", class_="quiet", title="not measured on this machine")
    if cell.skipped:
        return element("td", "n/a", class_="quiet", title=cell.skipped)
    shown: list[Child] = [link("failed" if cell.failed else text, href)]
    if cell.throttled:
        shown.append(element("sup", _THROTTLED, title=cell.throttled))
    if cell.run.commit != newest.commit:
        shown.append(element("small", f" @{_short(cell.run)}", class_="quiet"))
    return element("td", *shown, *details)


def legend(cells: Iterable[Cell | None], newest: Run) -> list[Element]:
    """Paragraphs that say what the marks on these cells mean; none for unmarked ones."""
    found = [cell for cell in cells if cell]
    lines = []
    if reasons := sorted({cell.throttled for cell in found if cell.throttled}):
        lines.append(
            element(
                "p",
                element("sup", _THROTTLED),
                f" measured while the device was throttled ({'; '.join(reasons)}): not to be compared.",
                class_="legend",
            )
        )
    if any(cell.run.commit != newest.commit for cell in found):
        text = f"@: measured at another commit, the newest that has the cell; all others at {_short(newest)}."
        lines.append(element("p", text, class_="legend"))
    if reasons := sorted({cell.skipped for cell in found if cell.skipped}):
        lines.append(element("p", f"n/a: {'; '.join(reasons)}.", class_="legend"))
    return lines


def provenance(history: History, run: Run) -> Element:
    """The line that names machine, GPU, commit, date and versions of a run."""
    facts = {
        "GPU": history.setting.get("gpu", ""),
        "CPU": history.setting.get("cpu", ""),
        "commit": _short(run),
        "committed": f"{datetime.fromtimestamp(run.results.date / 1000, tz=UTC):%Y-%m-%d}",
        "Python": run.versions.get("python") or history.setting.get("python", ""),
    }
    facts |= {name: str(version) for name, version in run.versions.items() if name not in {"python", "gpu"}}
    entries = [
        element("div", element("dt", name), element("dd", text)) for name, text in facts.items() if text
    ]
    return element("dl", *entries, class_="provenance")


def _short(run: Run) -> str:
    return run.commit[:_HASH_DIGITS]


def significant(value: float, digits: int = 3) -> str:
    """The number to so many significant digits, never with an exponent: 0.0123, 1.23, 123, 12,300."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = int(f"{rounded:e}".partition("e")[2])
    return f"{rounded:,.{max(0, digits - 1 - exponent)}f}"
