"""A breakdown as a table.

In: a `Breakdown`. Out: a `Table`: the longest rows first, then the sum of those not shown, `other`,
`unattributed` and the total.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from perfmamba.components import FINAL_LAYER, PAPER_LABELS
from perfmamba.profiling import Breakdown, BreakdownRow
from perfmamba.table import Column, Table, Value

_DEFINITIONS = (
    "Time is the sum of {durations}.",
    (
        "Allocated is the sum of all allocations, peak the highest live memory at one of them, growth its "
        "highest rise since the range began, escaped what the range did not free. MB is 1e6 bytes."
    ),
)
_MEMORY = "Memory (MB)"
_LONGEST_LABEL, _SHORTEST_LABEL = 100, 20


def label_width(terminal: int | None) -> int:
    """How much of a label to show as text: half of the terminal's width, and 100 characters at most."""
    if terminal is None:
        return _LONGEST_LABEL
    return min(_LONGEST_LABEL, max(_SHORTEST_LABEL, terminal // 2))


def breakdown_table(breakdown: Breakdown, top: int | None = None, *, label_width: int | None = None) -> Table:
    """The rows of a breakdown and their shares of the total time.

    Args:
        breakdown: what to show.
        top: how many rows to show, the longest first; one more row has the sums of the others. None for all.
        label_width: leave out the middle of labels that are longer; C++ kernels have names of 500
            characters. None for whole labels.
    """
    shown, hidden = breakdown.rows[:top], breakdown.rows[top:] if top is not None else ()
    remainders = [row for row in (breakdown.other, breakdown.unattributed) if row is not None]
    total = breakdown.total
    layout = _Layout(
        with_layer=any(row.layer is not None for row in shown),
        # on a CPU only self times add up, and nothing overlaps
        with_elapsed=breakdown.device != "cpu",
        with_memory=breakdown.has_memory and breakdown.memory_has_owners,
        total_ns=total.time_ns,
        label_width=label_width,
    )
    rows = [layout.cells(row) for row in shown]
    if label_width is not None and not layout.with_layer:
        rows = _numbered(rows)
    if hidden:
        rows.append(layout.cells_of_sum(hidden))
    named = len(rows)
    rows += [layout.cells(row) for row in (*remainders, total)]
    durations = "kernel durations; elapsed counts what overlaps once"
    if breakdown.device == "cpu":
        durations = "operators' self times"
    definitions = _DEFINITIONS if layout.with_memory else _DEFINITIONS[:1]
    steps = [f"All numbers are sums over {breakdown.steps} profiler steps."] if breakdown.steps > 1 else []
    what = "Time and memory" if layout.with_memory else "Time"
    return Table(
        title=f"{what} by {breakdown.kind}, {breakdown.device}",
        columns=layout.columns(breakdown),
        rows=tuple(rows),
        sections=frozenset({named, len(rows) - 1}),
        notes=(*(text.format(durations=durations) for text in definitions), *steps, *breakdown.notes),
    )


@dataclass(frozen=True)
class _Layout:
    """Which columns the table has, and the cells of a row in them."""

    with_layer: bool
    with_elapsed: bool
    with_memory: bool
    total_ns: int
    label_width: int | None

    def columns(self, breakdown: Breakdown) -> tuple[Column, ...]:
        columns = [Column("label", breakdown.kind.capitalize(), is_key=True)]
        if self.with_layer:
            columns.append(Column("layer", "Layer", "d", is_key=True))
        columns += [
            Column("launches", "Calls" if breakdown.device == "cpu" else "Launches", ",d"),
            Column("time_ns", "Time (ms)", ",.3f", 1e6),
            Column("share", "Time (%)", ".1f", 1e-2),
        ]
        if self.with_elapsed:
            columns.append(Column("union_ns", "Elapsed (ms)", ",.3f", 1e6))
        if self.with_memory:
            columns += [
                Column(f"{key}_bytes", f"{key.capitalize()} (MB)", ",.2f", 1e6, group=_MEMORY, short=key)
                for key in ("allocated", "peak", "growth", "escaped")
            ]
        return tuple(columns)

    def cells(self, row: BreakdownRow) -> tuple[Value, ...]:
        label = _shortened(PAPER_LABELS.get(row.label, row.label), self.label_width)
        levels = (row.peak_bytes, row.growth_bytes, row.escaped_bytes)
        seen_at_an_allocation = levels if row.allocated_bytes else (None, None, None)
        return self._cells(label, row.layer, [row], row.union_ns, seen_at_an_allocation)

    def cells_of_sum(self, rows: tuple[BreakdownRow, ...]) -> tuple[Value, ...]:
        """The sums of several rows; elapsed times and levels of memory have none."""
        return self._cells(f"({len(rows)} more)", None, rows, None, (None, None, None))

    def _cells(
        self,
        label: str,
        layer: int | None,
        rows: Sequence[BreakdownRow],
        union_ns: int | None,
        levels: tuple[int | None, ...],
    ) -> tuple[Value, ...]:
        time_ns = sum(row.time_ns for row in rows)
        share = time_ns / self.total_ns if self.total_ns else None
        cells: list[Value] = [label]
        if self.with_layer:
            cells.append("final" if layer == FINAL_LAYER else layer)
        cells += [sum(row.launches for row in rows), time_ns, share]
        if self.with_elapsed:
            cells.append(union_ns)
        if self.with_memory:
            cells += [sum(row.allocated_bytes for row in rows), *levels]
        return tuple(cells)


def _numbered(rows: list[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    """The rows, with a number where shortening made labels alike."""
    seen: Counter[Value] = Counter()
    numbered = []
    for label, *values in rows:
        seen[label] += 1
        numbered.append((label if seen[label] == 1 else f"{label} ({seen[label]})", *values))
    return numbered


def _shortened(label: str, width: int | None) -> str:
    if width is None or len(label) <= width:
        return label
    end = (width - 1) // 3
    return f"{label[: width - 1 - end]}\N{HORIZONTAL ELLIPSIS}{label[len(label) - end :]}"
