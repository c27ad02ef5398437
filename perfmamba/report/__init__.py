"""Tables as data first, then as text, Markdown, LaTeX, CSV, HTML or JSON."""

from perfmamba.report.table import FORMATS, Cell, Column, Table, TableFormat, render

__all__ = ["FORMATS", "Cell", "Column", "Table", "TableFormat", "render"]
