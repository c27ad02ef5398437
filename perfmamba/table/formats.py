"""A table in each of the formats; text has a module of its own."""

import csv
import html
import io
import json
from collections.abc import Callable
from typing import Literal, get_args

from tabulate import LATEX_ESCAPE_RULES, tabulate

from perfmamba.table.data import Table, plain
from perfmamba.table.text import entry_text, text_of

TableFormat = Literal["text", "markdown", "latex", "csv", "html", "json"]
FORMATS: tuple[TableFormat, ...] = get_args(TableFormat)


def render(table: Table, table_format: TableFormat, *, color: bool = False, width: int | None = None) -> str:
    """Return the table as a string.

    Args:
        table: to render.
        table_format: one of `FORMATS`.
        color: add terminal styles to `text`.
        width: columns that `text` should fit into, as `terminal_width` gives them; None for one form that
            is as wide as the table.
    """
    match table_format:
        case "text":
            return text_of(table, color=color, width=width)
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
    used = [(index, table.columns[index]) for index in table.used_columns()]
    return tabulate(
        [[escaped(entry_text(column, row[index])) for index, column in used] for row in table.rows],
        headers=[escaped(column.header.replace("\n", " ")) for _, column in used],
        tablefmt=tabulate_format,
        colalign=["right" if table.is_numeric(index) else "left" for index, _ in used],
        disable_numparse=True,
    )


def _csv(table: Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.key for column in table.columns])
    writer.writerows(map(plain, row) for row in table.rows)
    return out.getvalue().rstrip("\n")
