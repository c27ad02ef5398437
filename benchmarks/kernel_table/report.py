"""The table as a person reads it.

In: a `KernelTable`. Out: what `rich` prints: a grid for each operation, model and dtype, with a row for each
contender of each case. Ratios say how many times less than the baseline a contender takes.
"""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.kernel_table.operation import Case
from benchmarks.kernel_table.rates import MachineRates
from benchmarks.kernel_table.records import CaseRecord, ContenderResult, KernelTable
from benchmarks.kernel_table.registry import OPERATIONS

WIDTH = 110
"""Columns that the grids need."""

_MISSING = "-"
_RESOLVED_BYTES = {"cpu": 2**20, "cuda": 1}
"""What a peak must be to be told: on a CPU, the kernel counts pages in batches."""

_LEGEND = (
    "error: of the short case, as a share of the largest number. ms: median. faster, smaller: so many times "
    "less than the baseline (with a 99 % interval). MB: growth of memory at the peak of a call. floor: the "
    "least work at the rates above; x floor: the distance from it."
)
_SIZES = {"batch": 5, "L": 5, "N": 3}
_NUMBERS = {"error": 6, "ms": 7, "faster": 22, "MB": 7, "smaller": 7, "floor, ms": 9, "x floor": 7}
"""Columns, and how wide they are at least, so that those of all grids are below each other."""


def rendered(table: KernelTable) -> RenderableType:
    """The machine's rates, the grids, and what failed or was left out."""
    resolved_bytes = _RESOLVED_BYTES[table.machine["device"]]
    rates = [_rates(table.rates), Text(_LEGEND)] if table.rates else []
    titles = dict.fromkeys(_title(record.case) for record in table.records)
    grids = (
        _grid(title, [record for record in table.records if _title(record.case) == title], resolved_bytes)
        for title in titles
    )
    return Group(*rates, *grids, *map(Text, _shortcomings(table)))


def _rates(rates: MachineRates) -> Text:
    products = ", ".join(f"{dtype} {rate / 1e9:,.0f}" for dtype, rate in rates.matmul_flops.items())
    copies = ", ".join(f"{size / 1e6:,.1f} MB {rate / 1e9:,.0f}" for size, rate in rates.moved_bytes.items())
    return Text(
        f"{rates.name}: products {products} GFLOP/s; copies {copies} GB/s; "
        f"exponentials {rates.exponentials / 1e9:,.1f} G/s"
    )


def _title(case: Case) -> str:
    return f"{case.operation}, {case.model}, {case.dtype}: {OPERATIONS[case.operation].label}"


def _grid(title: str, records: Sequence[CaseRecord], resolved_bytes: int) -> Table:
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name, width in _SIZES.items():
        grid.add_column(name, justify="right", min_width=width)
    grid.add_column("", min_width=9)
    for name, width in _NUMBERS.items():
        grid.add_column(name, justify="right", min_width=width, no_wrap=True)
    for record in records:
        sizes = (str(record.case.batch), str(record.case.seqlen), str(record.case.states))
        for cells in _rows(record, resolved_bytes):
            grid.add_row(*sizes, *cells)
            sizes = ("", "", "")
    return grid


def _rows(record: CaseRecord, resolved_bytes: int) -> Iterator[tuple[str, ...]]:
    if record.failed:
        yield "FAILED", *[_MISSING] * 7
    base = record.results.get(record.baseline, ContenderResult())
    for name, result in record.results.items():
        yield name, *_cells(result, base, record.floor_s, resolved_bytes)


def _cells(
    result: ContenderResult, base: ContenderResult, floor_s: float | None, resolved_bytes: int
) -> tuple[str, ...]:
    error = f"{result.error:.0e}" if result.error is not None else _MISSING
    seconds = result.seconds
    if seconds is None:
        return error, "failed" if result.failed else "n/a", *[_MISSING] * 5
    return (
        error,
        f"{1e3 * seconds:.4g}",
        _faster(result, base),
        _peak(result.peak_bytes, resolved_bytes),
        _smaller(result, base, resolved_bytes),
        f"{1e3 * floor_s:.3g}" if floor_s else _MISSING,
        f"{seconds / floor_s:.1f}" if floor_s else _MISSING,
    )


def _faster(result: ContenderResult, base: ContenderResult) -> str:
    if result is base:
        return "baseline"
    ratio = result.ratio
    return f"{1 / ratio.value:.2f} ({1 / ratio.high:.2f} to {1 / ratio.low:.2f})" if ratio else _MISSING


def _peak(peak_bytes: int | None, resolved_bytes: int) -> str:
    if peak_bytes is None:
        return _MISSING
    return f"{peak_bytes / 1e6:.1f}" if peak_bytes >= resolved_bytes else f"< {resolved_bytes / 1e6:.1f}"


def _smaller(result: ContenderResult, base: ContenderResult, resolved_bytes: int) -> str:
    theirs, own = base.peak_bytes, result.peak_bytes
    if result is base or theirs is None or own is None or min(theirs, own) < resolved_bytes:
        return _MISSING
    return f"{theirs / own:.2f}"


def _shortcomings(table: KernelTable) -> Iterator[str]:
    for record in table.records:
        if record.failed:
            yield f"FAILED {record.case}: {record.failed}"
        for name, result in record.results.items():
            if result.failed or result.skipped:
                outcome = "failed" if result.failed else "n/a"
                yield f"{outcome} {record.case}: {name}: {result.failed or result.skipped}"
    if table.left:
        yield f"{table.left} cases were not measured"
