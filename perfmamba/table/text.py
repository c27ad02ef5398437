"""A table as lines of text that fit a terminal.

A table that is too wide is printed in blocks below each other. Each block repeats the key columns and has as
many groups of columns as fit, or of a group that is too wide by itself as many columns as fit. No value is
ever cut: a single column may be wider than the terminal.
"""

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.style import Style

from perfmamba.table.data import Column, Entry, Linked, RowStyle, Table, shown

_MARGIN, _GAP, _RULE = " ", "  ", "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
_BOLD, _DIM = Style(bold=True), Style(dim=True)
_STYLES: dict[RowStyle, Style] = {"strong": _BOLD, "quiet": _DIM}


def terminal_width() -> int | None:
    """The columns of the terminal that stdout is, or of $COLUMNS; None where stdout is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def text_of(table: Table, *, color: bool, width: int | None) -> str:
    """The table as text.

    Args:
        table: to print.
        color: add terminal styles.
        width: columns to fit into; None for a single block of whatever width.
    """
    blocks = ["\n".join(_block(table, columns, color=color)) for columns in _blocks(table, width)]
    notes = [line for note in table.notes for line in _wrapped(note, width)]
    body = blocks if len(blocks) == 1 else ["\n\n".join(blocks), ""]
    return "\n".join([*_wrapped(table.title, width), *body, *notes]).rstrip()


@dataclass(frozen=True)
class _TextColumn:
    """A column as it is printed.

    Attributes:
        column: the table's.
        heading: lines of its header.
        texts: of its rows.
        width: of the widest of them all.
        to_right: whether they are aligned to the right.
    """

    column: Column
    heading: tuple[str, ...]
    texts: tuple[str, ...]
    width: int
    to_right: bool

    def padded(self, text: str) -> str:
        """The text, as wide as the column."""
        space = " " * (self.width - cell_len(text))
        return f"{space}{text}" if self.to_right else f"{text}{space}"


def entry_text(column: Column, entry: Entry) -> str:
    """An entry for people, with its detail and marks."""
    text = shown(column, entry)
    if not isinstance(entry, Linked):
        return text
    detail = [f"({entry.detail})"] if entry.detail else []
    return " ".join([text, *(mark.sign for mark in entry.marks), *detail])


def _laid_out(table: Table, index: int) -> _TextColumn:
    column = table.columns[index]
    texts = tuple(entry_text(column, row[index]) for row in table.rows)
    of_values = max(map(cell_len, texts), default=0)
    heading = _broken(column.grouped_header if column.group else column.header, of_values)
    width = max(of_values, *map(cell_len, heading))
    return _TextColumn(column, heading, texts, width, table.is_numeric(index))


def _broken(header: str, width: int) -> tuple[str, ...]:
    """The header, broken at spaces where it is wider than what stands below it."""
    widest = max([width, *map(cell_len, header.split())])
    return tuple(line for part in header.split("\n") for line in textwrap.wrap(part, widest) or [""])


def _blocks(table: Table, width: int | None) -> Iterator[list[_TextColumn]]:
    """The columns of each block: those that name rows, and as many of the others as fit."""
    groups = [[_laid_out(table, index) for index in indices] for _, indices in table.groups()]
    keys = [_laid_out(table, index) for index in table.used_columns() if table.columns[index].is_key]
    if not keys:
        keys = groups.pop(0)
    block = list(keys)
    for group in groups:
        if block != keys and not _fits([*block, *group], width):
            yield _widened(block)
            block = list(keys)
        for column in group:
            if block != keys and not _fits([*block, column], width):
                yield _widened(block)
                block = list(keys)
            block.append(column)
    yield _widened(block)


def _fits(columns: Sequence[_TextColumn], width: int | None) -> bool:
    return width is None or len(_MARGIN) + _span(_widened(columns)) <= width


def _span(columns: Sequence[_TextColumn]) -> int:
    """The width of columns beside each other."""
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _runs(columns: Sequence[_TextColumn]) -> list[tuple[str, list[_TextColumn]]]:
    """The columns of a block by the group that they stand in."""
    return [(name, list(run)) for name, run in groupby(columns, key=lambda column: column.column.group)]


def _widened(columns: Sequence[_TextColumn]) -> list[_TextColumn]:
    """The columns; the first of a group has room for what the group's name lacks."""
    wide: list[_TextColumn] = []
    for name, run in _runs(columns):
        first, *others = run
        lacking = max(0, cell_len(name) - _span(run))
        wide += [_TextColumn(first.column, first.heading, first.texts, first.width + lacking, first.to_right)]
        wide += others
    return wide


def _block(table: Table, columns: Sequence[_TextColumn], *, color: bool) -> Iterator[str]:
    rule = f"{_MARGIN}{_RULE * _span(columns)}"
    if any(column.column.group for column in columns):
        yield _styled(_group_line(columns), _BOLD, color=color)
    height = max(len(column.heading) for column in columns)
    for number in range(height):
        parts = [("",) * (height - len(column.heading)) + column.heading for column in columns]
        yield _styled(_line(columns, [part[number] for part in parts]), _BOLD, color=color)
    yield rule
    for number in range(len(table.rows)):
        if number and number in table.sections:
            yield rule
        row_style = table.row_styles.get(number)
        style = _STYLES[row_style] if row_style else None
        yield _styled(_line(columns, [column.texts[number] for column in columns]), style, color=color)


def _group_line(columns: Sequence[_TextColumn]) -> str:
    """The names of the groups, each in the middle of a rule over its columns."""
    parts = []
    for name, run in _runs(columns):
        span = _span(run)
        around = span - cell_len(name)
        if not name:
            parts.append(" " * span)
        elif around < 4:  # no room for a rule and a space on each side
            parts.append(f"{name:^{span}}")
        else:
            left = around // 2 - 1
            parts.append(f"{_RULE * left} {name} {_RULE * (around - 2 - left)}")
    return f"{_MARGIN}{_GAP.join(parts)}".rstrip()


def _line(columns: Sequence[_TextColumn], texts: Sequence[str]) -> str:
    padded = (column.padded(text) for column, text in zip(columns, texts, strict=True))
    return f"{_MARGIN}{_GAP.join(padded)}".rstrip()


def _styled(line: str, style: Style | None, *, color: bool) -> str:
    return style.render(line, color_system=ColorSystem.STANDARD) if color and style else line


def _wrapped(text: str, width: int | None) -> list[str]:
    """The text in lines of the width; those after the first are indented."""
    if width is None:
        return text.splitlines() or [""]
    return textwrap.wrap(
        text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    ) or [""]
