"""Tables as data first, then as text, Markdown, LaTeX, CSV, HTML or JSON."""

from perfmamba.report.table import FORMATS, Column, Table, TableFormat, Value, render

__all__ = ["FORMATS", "Column", "Table", "TableFormat", "Value", "render"]
