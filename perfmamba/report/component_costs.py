"""What components cost, as a table: a row for each length and component, the models side by side.

In: rows of `Figures`, from whatever measured them: the results of `perfmamba profile`, asv's, the paper.
Out: a `Table` with a group of columns for each model.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from perfmamba.components import PAPER_LABELS
from perfmamba.table import Column, Entry, Linked, Table, number

MemoryKind = Literal["allocated", "peak", "growth"]
TOTAL = "total"


@dataclass(frozen=True)
class Figures:
    """What a component, or a whole pass, costs. None stands for what is not known.

    Attributes:
        time_ns: measured.
        memory_bytes: measured.
        flops: counted from shapes.
        io_bytes: least traffic, counted from shapes.
        whole_ns: the time of the whole pass, of which the component has a share.
    """

    time_ns: Entry = None
    memory_bytes: Entry = None
    flops: float | None = None
    io_bytes: float | None = None
    whole_ns: float | None = None

    @property
    def io_bytes_per_s(self) -> float | None:
        """Counted bytes over measured time."""
        time_ns = number(self.time_ns)
        return self.io_bytes / time_ns * 1e9 if self.io_bytes is not None and time_ns else None

    @property
    def share(self) -> float | None:
        """The part of the whole pass's time."""
        time_ns = number(self.time_ns)
        return time_ns / self.whole_ns if time_ns is not None and self.whole_ns else None


@dataclass(frozen=True)
class CostRow:
    """A row of the table.

    Attributes:
        seqlen: tokens of the prompt.
        component: its name, or `total`, or another word for what the figures are of.
        figures: of each model, in the order of the table's labels.
        href: where a page leads from the component's name.
    """

    seqlen: int
    component: str
    figures: tuple[Figures, ...]
    href: str = ""

    @property
    def label(self) -> str:
        """The paper's name of the component, where it has one."""
        return PAPER_LABELS.get(self.component, self.component)


@dataclass(frozen=True)
class Quantity:
    """One quantity of a component.

    Attributes:
        key: its name in CSV and JSON, with the unit of `entry`.
        header: its name for people, with the unit that `unit` leads to.
        entry: reads it off figures.
        unit: how many of the key's unit make one of the header's.
    """

    key: str
    header: str
    entry: Callable[[Figures], Entry]
    unit: float


_GIGA, _MEGA = (1e9, "G"), (1e6, "M")
_PREFIXES = (_GIGA, _MEGA, (1e3, "k"))


def quantities(memory: MemoryKind, rows: Sequence[CostRow] | None = None) -> tuple[Quantity, ...]:
    """The quantities of a table, in units that suit its rows; in the paper's units without rows."""
    flops_unit, flops_prefix = _prefix(rows, lambda figures: figures.flops)
    memory_unit, memory_prefix = _prefix(rows, lambda figures: figures.memory_bytes)
    return (
        Quantity("flops", f"{flops_prefix}FLOP", lambda figures: figures.flops, flops_unit),
        Quantity(
            f"{memory}_bytes",
            f"{memory} {memory_prefix}B",
            lambda figures: figures.memory_bytes,
            memory_unit,
        ),
        Quantity("io_bytes_per_s", "I/O GB/s", lambda figures: figures.io_bytes_per_s, 1e9),
        Quantity("time_ns", "time ms", lambda figures: figures.time_ns, 1e6),
        Quantity("share", "share %", lambda figures: figures.share, 1e-2),
    )


def _prefix(rows: Sequence[CostRow] | None, read: Callable[[Figures], Entry]) -> tuple[float, str]:
    """The largest unit that leaves the largest total at least two digits before the point."""
    if rows is None:
        return _GIGA
    largest = _largest([row for row in rows if row.component == TOTAL], read) or _largest(rows, read)
    if not largest:
        return _MEGA
    return next((prefix for prefix in _PREFIXES if largest >= 10 * prefix[0]), _PREFIXES[-1])


def _largest(rows: Sequence[CostRow], read: Callable[[Figures], Entry]) -> float:
    return max((number(read(figures)) or 0 for row in rows for figures in row.figures), default=0)


def cost_table(
    title: str,
    labels: Sequence[str],
    rows: Sequence[CostRow],
    *,
    memory: MemoryKind = "allocated",
    notes: tuple[str, ...] = (),
) -> Table:
    """The costs of a pass by length and component, the models side by side.

    Args:
        title: what they are of.
        labels: of the models.
        rows: those of a length together.
        memory: what `memory_bytes` of the figures is.
        notes: printed below.
    """
    measured = quantities(memory, rows)
    return Table(
        title,
        (
            *KEY_COLUMNS,
            *(
                Column(
                    f"{quantity.key}_{slug(label)}",
                    f"{quantity.header}\n{label}",
                    unit=quantity.unit,
                    digits=3,
                    group=label,
                    short=quantity.header,
                )
                for quantity in measured
                for label in labels
            ),
        ),
        tuple(
            (
                row.seqlen,
                Linked(row.label, href=row.href) if row.href else row.label,
                *(quantity.entry(figures) for quantity in measured for figures in row.figures),
            )
            for row in rows
        ),
        sections(rows),
        notes,
        {index: "strong" for index, row in enumerate(rows) if row.component == TOTAL},
    )


KEY_COLUMNS = (
    Column("seqlen", "Length", ",d", is_key=True),
    Column("component", "Component", is_key=True),
)
"""What names a row."""


def sections(rows: Sequence[CostRow]) -> frozenset[int]:
    """The indices of the rows that open a length."""
    return frozenset(
        index for index, row in enumerate(rows) if index == 0 or rows[index - 1].seqlen != row.seqlen
    )


def slug(label: str) -> str:
    """A label as a part of a key."""
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
