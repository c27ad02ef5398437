"""`perfmamba table`: the tables of the paper, from measured results."""

from pathlib import Path
from typing import Literal

from cyclopts import App

from perfmamba.commands.choices import Mode
from perfmamba.commands.options import Against, AsvFolder, DtypeName, Format, Machine
from perfmamba.errors import InputError
from perfmamba.terminal import show_table

table = App(name="table", help="Print a table of the paper from measured results.")

_ASV_FOLDER = Path("results", "asv")


@table.command(name="1")
def table_1(
    folder: Path,
    /,
    *,
    against: Against = None,
    mode: Mode = "prefill",
    memory: Literal["allocated", "peak", "growth"] = "allocated",
    batch: int | None = None,
    dtype: DtypeName | None = None,
    device: Literal["cpu", "cuda"] | None = None,
    format: Format = "text",
) -> None:
    """Print what each component costs, from the results of `perfmamba profile`.

    Args:
        folder: What `perfmamba profile --out` wrote.
        mode: Which results to show.
        memory: allocated (sum of allocations), peak (highest live bytes) or growth (rise within a component).
        batch: Show the results of this batch size.
        dtype: Show the results of this dtype.
        device: Show the results of this device.
    """
    from perfmamba.profiling.results import read_results, select
    from perfmamba.report.table1 import table1, table1_against_paper

    results = select(read_results(folder), mode=mode, batch=batch, dtype=dtype, device=device)
    if against is None:
        show_table(table1(results, memory=memory), format)
        return
    if mode != "prefill" or memory != "allocated":
        raise InputError(
            "the paper's Table 1 is of prefill and of allocated memory: leave --mode and --memory out"
        )
    show_table(table1_against_paper(results), format)


@table.command(name="2")
def table_2(
    folder: AsvFolder = _ASV_FOLDER,
    /,
    *,
    against: Against = None,
    machine: Machine = None,
    format: Format = "text",
) -> None:
    """Print what removing states saves in time and memory, from the results of asv."""
    from perfmamba.report.pairs import read_pairs
    from perfmamba.report.table2 import table2

    for part in table2(read_pairs(folder, machine), against_paper=against == "paper"):
        show_table(part, format)


@table.command(name="decode")
def table_decode(
    folder: AsvFolder = _ASV_FOLDER,
    /,
    *,
    memory: float = 40,
    machine: Machine = None,
    format: Format = "text",
) -> None:
    """Print what removing states saves in decoding, from the results of asv.

    Args:
        memory: Memory in gigabytes; the table says how many sequences fit into it.
    """
    from perfmamba.report.decode import decode_tables
    from perfmamba.report.pairs import read_pairs

    for part in decode_tables(read_pairs(folder, machine), memory_gb=memory):
        show_table(part, format)
