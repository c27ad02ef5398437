"""What a table is made of: columns, rows of entries, and how one entry reads to people."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = str | int | float | None
"""One value; None prints as "-" (not measured, not applicable)."""

RowStyle = Literal["strong", "quiet"]
"""How a row stands out: a sum is strong, a row quoted from elsewhere quiet."""


@dataclass(frozen=True)
class Mark:
    """A sign beside a value that says how to take it.

    Attributes:
        sign: what is printed behind the value, such as `T`.
        meaning: what it stands for there, such as which clock was held down.
        is_warning: whether the value should not be compared with others.
    """

    sign: str
    meaning: str
    is_warning: bool = False


@dataclass(frozen=True)
class Linked:
    """A value with what stands around it. Programs (CSV, JSON) get the value alone.

    Attributes:
        value: as in a plain table.
        href: where a page leads from it.
        marks: signs behind it.
        detail: a smaller text below it, such as its interval.
        text: what people read in place of the value, such as `failed`; the value itself if empty.
        hover: an explanation that a page shows under the pointer.
    """

    value: Value
    href: str = ""
    marks: tuple[Mark, ...] = ()
    detail: str = ""
    text: str = ""
    hover: str = ""


Entry = Value | Linked
"""What stands where a row meets a column."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: the name in CSV and JSON, with its unit, such as `latency_ms`.
        header: the name for people, with its unit, such as `Latency (ms)`; may hold a line break.
        spec: a format specification for numbers, such as `,.2f`; text columns need none.
        unit: how many of the key's unit make one of the header's, such as 1e6 for ns shown as ms.
        suffix: printed behind each number, such as `x`.
        digits: significant digits to show, in place of `spec`; 0 for `spec`.
        is_key: whether it names the row; such columns come first, and are repeated where a table is split.
        group: the name of the columns that it belongs to, such as a model; empty for a column by itself.
        short: its header below the name of its group; `header` if empty.
        href: where a page leads from its header.
    """

    key: str
    header: str
    spec: str = ""
    unit: float = 1
    suffix: str = ""
    digits: int = 0
    is_key: bool = False
    group: str = ""
    short: str = ""
    href: str = ""

    @property
    def grouped_header(self) -> str:
        """The header below the name of the group."""
        return self.short or self.header

    @property
    def is_number(self) -> bool:
        """Whether the column says how its numbers are formatted."""
        return bool(self.spec or self.digits)


@dataclass(frozen=True)
class Table:
    """Rows of raw values under named columns.

    Attributes:
        title: what the table shows, and of what.
        columns: one per entry of every row.
        rows: the entries.
        sections: indices of the rows that open a new section (a rule is drawn above them).
        notes: sentences printed below: definitions, machine, caveats.
        row_styles: by index, the rows that stand out.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    sections: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    row_styles: Mapping[int, RowStyle] = field(default_factory=dict)

    def records(self) -> Iterator[dict[str, Value]]:
        """Each row as a mapping from column key to raw value."""
        keys = [column.key for column in self.columns]
        for row in self.rows:
            yield dict(zip(keys, map(plain, row), strict=True))

    def is_numeric(self, index: int) -> bool:
        """Whether a column is aligned to the right, as numbers are."""
        column = self.columns[index]
        return column.is_number or not any(isinstance(plain(row[index]), str) for row in self.rows)

    def used_columns(self) -> list[int]:
        """The indices of the columns that people see: those that name rows, or have an entry in any."""
        return [
            index
            for index, column in enumerate(self.columns)
            if column.is_key or not self.rows or any(row[index] is not None for row in self.rows)
        ]

    def groups(self) -> list[tuple[str, list[int]]]:
        """The columns that people see and that name no row: by group, in the order of each group's first.

        A column without a group stands by itself under an empty name.
        """
        found: dict[str, list[int]] = {}
        for index in self.used_columns():
            column = self.columns[index]
            if not column.is_key:
                found.setdefault(column.group or f"\0{column.key}", []).append(index)
        return [(self.columns[indices[0]].group, indices) for indices in found.values()]


def plain(entry: Entry) -> Value:
    """The value of an entry, without what stands around it."""
    return entry.value if isinstance(entry, Linked) else entry


def number(entry: Entry) -> float | None:
    """The number of an entry; None where it has no number."""
    value = plain(entry)
    return None if isinstance(value, str) else value


def shown(column: Column, entry: Entry) -> str:
    """An entry's value for people, without its marks and detail."""
    if isinstance(entry, Linked) and entry.text:
        return entry.text
    value = plain(entry)
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    scaled = value if column.unit == 1 else value / column.unit
    text = significant(scaled, column.digits) if column.digits else format(scaled, column.spec)
    return f"{text}{column.suffix}"


def significant(value: float, digits: int = 3) -> str:
    """The number to so many significant digits, never with an exponent: 0.0123, 1.23, 123, 12,300."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = int(f"{rounded:e}".partition("e")[2])
    return f"{rounded:,.{max(0, digits - 1 - exponent)}f}"
