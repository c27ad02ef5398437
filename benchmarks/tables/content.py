"""The page "Paper tables" as HTML elements, from the histories of a site."""

from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from benchmarks.meter.site.markup import Child, element
from benchmarks.tables.component_costs import component_tables
from benchmarks.tables.elements import table_elements
from benchmarks.tables.histories import Address, address, provenance
from benchmarks.tables.pair_links import SitePairLinks
from benchmarks.tables.suites import (
    COMPONENT_MEMORY,
    COMPONENT_TIME,
    PAIRED_MEMORY,
    PAIRED_TIME,
    TABLE1_COMMAND,
    TABLE2_COMMAND,
)
from perfmamba.report.asv_results import ResultHistory, StoredResults
from perfmamba.report.pairs import pairs_of
from perfmamba.report.table1 import printed_table1
from perfmamba.report.table2 import table2_by_ratio
from perfmamba.table import Table

_INTRODUCTION = (
    "The newest results of each machine. A number leads to its history over commits; the name of a row or a "
    "column to the graph over lengths or ratios."
)
_SECTION = "{} tokens"

TableMaker = Callable[[ResultHistory, Address, StoredResults], Sequence[Table]]


def tables_page(histories: list[ResultHistory]) -> Element:
    """Both tables, for every machine that has results; else the commands that measure them."""
    table1 = _of_machines(histories, component_tables, COMPONENT_TIME, COMPONENT_MEMORY)
    table2 = _of_machines(histories, _pruning_tables, PAIRED_TIME, PAIRED_MEMORY)
    printed = table_elements(printed_table1(), section=_SECTION)
    return element(
        "div",
        element("p", _INTRODUCTION),
        element("h2", "Table 1: what each component costs"),
        *(table1 or _nothing_yet(TABLE1_COMMAND)),
        element("details", element("summary", "Table 1 as the paper prints it"), *printed),
        element("h2", "Table 2: what removing states saves"),
        *(table2 or _nothing_yet(TABLE2_COMMAND)),
    )


def _of_machines(histories: list[ResultHistory], make: TableMaker, *benchmarks: str) -> list[Element]:
    """The tables of each history that has results of the benchmarks, with what stands above and below."""
    shown = []
    for history in histories:
        newest = history.newest_commit(*benchmarks)
        if newest is None:
            continue
        shown += [element("h3", history.where["machine"]), provenance(history, newest)]
        for table in make(history, address(history, histories), newest):
            shown += table_elements(table, section=_SECTION)
    return shown


def _pruning_tables(
    history: ResultHistory, address_of_history: Address, newest: StoredResults
) -> Sequence[Table]:
    links = SitePairLinks(history, address_of_history)
    return table2_by_ratio(pairs_of(history), links=links, newest=newest.commit)


def _nothing_yet(command: str) -> list[Element]:
    text: tuple[Child, ...] = ("No results yet. Measure them with ", element("code", command), ".")
    return [element("p", *text)]
