"""A table as data, and its rendering.

In: a `Table` of raw values (numbers in the unit that its column names). Out: a string. The formats for
people (text, Markdown, LaTeX, HTML) round as the column says; the formats for programs (CSV, JSON) keep
every digit and name each column by its `key`.
"""

import csv
import html
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text
from tabulate import LATEX_ESCAPE_RULES, tabulate

TableFormat = Literal["text", "markdown", "latex", "csv", "html", "json"]
FORMATS: tuple[TableFormat, ...] = get_args(TableFormat)

Value = str | int | float | None
"""One value; None prints as "-" (not measured, not applicable)."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: the name in CSV and JSON, with its unit, such as `latency_ms`.
        header: the name for people, with its unit, such as `Latency (ms)`; may hold a line break.
        spec: a format specification for numbers, such as `,.2f`; text columns need none.
        unit: how many of the key's unit make one of the header's, such as 1e6 for ns shown as ms.
    """

    key: str
    header: str
    spec: str = ""
    unit: float = 1


@dataclass(frozen=True)
class Table:
    """Rows of raw values under named columns.

    Attributes:
        title: what the table shows, and of what.
        columns: one per cell of every row.
        rows: the values.
        sections: indices of the rows that open a new section (a rule is drawn above them).
        notes: sentences printed below: definitions, machine, caveats.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    sections: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    def records(self) -> Iterator[dict[str, Value]]:
        """Each row as a mapping from column key to raw value."""
        keys = [column.key for column in self.columns]
        for row in self.rows:
            yield dict(zip(keys, row, strict=True))


def render(table: Table, table_format: TableFormat, *, color: bool = False) -> str:
    """The table as a string in one of `FORMATS`; `color` adds terminal styles to `text`."""
    match table_format:
        case "text":
            return _text(table, color=color)
        case "markdown":
            return _markdown(table)
        case "latex":
            return _latex(table)
        case "html":
            return _html(table)
        case "csv":
            return _csv(table)
        case "json":
            return _json(table)


def _json(table: Table) -> str:
    return json.dumps({"title": table.title, "rows": list(table.records()), "notes": table.notes}, indent=2)


def _markdown(table: Table) -> str:
    body = _tabulated(table, "pipe", lambda text: text.replace("|", r"\|"))
    return "\n\n".join([table.title, body, *table.notes])


def _latex(table: Table) -> str:
    """A `table` environment; its rules need the package booktabs."""
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_latex_escaped(table.title)}}}",
            _tabulated(table, "latex_booktabs"),
            *(rf"\par {_latex_escaped(note)}" for note in table.notes),
            r"\end{table}",
        ]
    )


def _latex_escaped(text: str) -> str:
    return "".join(LATEX_ESCAPE_RULES.get(character, character) for character in text)


def _html(table: Table) -> str:
    """A `figure` element, to put into a page."""
    notes = "".join(f"<p>{html.escape(note)}</p>\n" for note in table.notes)
    caption = f"<figcaption>{html.escape(table.title)}</figcaption>"
    return f"<figure>\n{caption}\n{_tabulated(table, 'html')}\n{notes}</figure>"


def _tabulated(table: Table, tabulate_format: str, escaped: Callable[[str], str] = str) -> str:
    return tabulate(
        [[escaped(cell) for cell in _formatted(table.columns, row)] for row in table.rows],
        headers=[escaped(column.header.replace("\n", " ")) for column in table.columns],
        tablefmt=tabulate_format,
        colalign=["right" if _is_numeric(table, i) else "left" for i in range(len(table.columns))],
        disable_numparse=True,
    )


def _formatted(columns: tuple[Column, ...], row: tuple[Value, ...]) -> list[str]:
    return [_format_cell(column, cell) for column, cell in zip(columns, row, strict=True)]


def _format_cell(column: Column, cell: Value) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    return format(cell if column.unit == 1 else cell / column.unit, column.spec)


def _is_numeric(table: Table, index: int) -> bool:
    return bool(table.columns[index].spec) or not any(isinstance(row[index], str) for row in table.rows)


def _csv(table: Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.key for column in table.columns])
    writer.writerows(table.rows)
    return out.getvalue().rstrip("\n")


def _text(table: Table, *, color: bool) -> str:
    grid = RichTable(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for index, column in enumerate(table.columns):
        justify: Literal["left", "right"] = "right" if _is_numeric(table, index) else "left"
        grid.add_column(Text(column.header), justify=justify, no_wrap=True)
    for index, row in enumerate(table.rows):
        if index in table.sections:
            grid.add_section()
        grid.add_row(*(Text(cell) for cell in _formatted(table.columns, row)))
    # A table is as wide as its contents, whatever the terminal: a cut number is worse than a long line.
    out = io.StringIO()
    console = Console(file=out, width=10_000, force_terminal=color, no_color=not color, highlight=False)
    console.print(grid)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join([table.title, *lines[1:-1], *table.notes])
