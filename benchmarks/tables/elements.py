"""A table of `perfmamba.report` as elements of the site.

In: a `Table`. Out: a figure with a row above each section, the columns of a group below its name, and links,
marks and details where entries have them; below it the table's notes.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from benchmarks.meter.site.markup import Child, element, link, scrolling_table
from perfmamba.table import Column, Entry, Linked, Mark, Table, shown

_ROW_CLASSES = {"strong": "total", "quiet": "quiet"}


def table_elements(table: Table, *, section: str) -> list[Element]:
    """The table and its notes.

    Args:
        table: its first column says what a section is of, its second names the rows.
        section: what opens a section, with the first column's entry for `{}`.
    """
    groups = table.groups()
    shown_columns = [index for _, indices in groups for index in indices]
    body = []
    for number, row in enumerate(table.rows):
        if number in table.sections:
            text = section.format(shown(table.columns[0], row[0]))
            span = str(1 + len(shown_columns))
            body.append(element("tr", element("th", text, class_="name total", colspan=span)))
        style = _ROW_CLASSES.get(table.row_styles.get(number, ""), "")
        name = element("th", *_linked(table.columns[1], row[1]), class_=f"name first {style}".strip())
        cells = [entry_element(table.columns[index], row[index], style) for index in shown_columns]
        body.append(element("tr", name, *cells))
    spans = (1, *(len(indices) for _, indices in groups))
    notes = [element("p", *_with_sign(table, note), class_="legend") for note in table.notes]
    return [scrolling_table(table.title, _head(table), body, groups=spans), *notes]


def _head(table: Table) -> list[Element]:
    name = element("th", table.columns[1].header, class_="name", rowspan="2")
    first = [element("th", group, colspan=str(len(indices))) for group, indices in table.groups()]
    second = [_header(table.columns[index]) for _, indices in table.groups() for index in indices]
    return [element("tr", name, *first), element("tr", *second)]


def _header(column: Column) -> Element:
    text = column.grouped_header
    return element("th", link(text, column.href) if column.href else text)


def entry_element(column: Column, entry: Entry, style: str = "") -> Element:
    """The `td` of an entry.

    Args:
        column: it is in.
        entry: to show.
        style: a class of its row.
    """
    quiet = "quiet" if isinstance(entry, Linked) and entry.hover else ""
    hover = entry.hover if isinstance(entry, Linked) else ""
    children = _linked(column, entry)
    if isinstance(entry, Linked):
        children += [_mark(mark) for mark in entry.marks]
        children += [element("span", entry.detail, class_="interval")] if entry.detail else []
    return element("td", *children, class_=f"{style} {quiet}".strip(), title=hover)


def _linked(column: Column, entry: Entry) -> list[Child]:
    href = entry.href if isinstance(entry, Linked) else ""
    text = shown(column, entry)
    return [link(text, href) if href else text]


def _mark(mark: Mark) -> Element:
    if mark.is_warning:
        return element("sup", mark.sign, title=mark.meaning)
    return element("small", f" {mark.sign}", class_="quiet", title=mark.meaning)


def _with_sign(table: Table, note: str) -> Iterator[Child]:
    """The note; a sign of a warning that it starts with looks as it does in the table."""
    sign, space, explanation = note.partition(" ")
    if sign in _warnings(table):
        yield element("sup", sign)
        yield space + explanation
    else:
        yield note


def _warnings(table: Table) -> set[str]:
    return {
        mark.sign
        for row in table.rows
        for entry in row
        if isinstance(entry, Linked)
        for mark in entry.marks
        if mark.is_warning
    }
