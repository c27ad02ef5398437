"""A table as data, and its rendering.

In: a `Table` of raw values (numbers in the unit that its column names). Out: a string. The formats for
people (text, Markdown, LaTeX, HTML) round as the column says; the formats for programs (CSV, JSON) keep
every digit and name each column by its `key`. Text fits the terminal: see `perfmamba.table.text`.
"""

from perfmamba.table.data import (
    Column,
    Entry,
    Linked,
    Mark,
    RowStyle,
    Table,
    Value,
    number,
    plain,
    shown,
    significant,
)
from perfmamba.table.formats import FORMATS, TableFormat, render
from perfmamba.table.text import terminal_width

__all__ = [
    "FORMATS",
    "Column",
    "Entry",
    "Linked",
    "Mark",
    "RowStyle",
    "Table",
    "TableFormat",
    "Value",
    "number",
    "plain",
    "render",
    "shown",
    "significant",
    "terminal_width",
]
