"""The page "Paper tables" as HTML elements, from the histories of a site."""

from xml.etree.ElementTree import Element

from benchmarks.meter.site.markup import Child, element
from benchmarks.meter.site.newest import History, address
from benchmarks.tables.published import printed_table1
from benchmarks.tables.suites import TABLE1_COMMAND, TABLE2_COMMAND
from benchmarks.tables.table1 import component_tables
from benchmarks.tables.table2 import pruning_tables

_INTRODUCTION = (
    "The newest results of each machine. A number leads to its history over commits; the name of a row or a "
    "column to the graph over lengths or ratios."
)


def tables_page(histories: list[History]) -> Element:
    """Both tables, for every machine that has results; else the commands that measure them."""
    pairs = [(history, address(history, histories)) for history in histories]
    table1 = [made for history, setting in pairs for made in component_tables(history, setting)]
    table2 = [made for history, setting in pairs for made in pruning_tables(history, setting)]
    return element(
        "div",
        element("p", _INTRODUCTION),
        element("h2", "Table 1: what each component costs"),
        *(table1 or _nothing_yet(TABLE1_COMMAND)),
        printed_table1(),
        element("h2", "Table 2: what removing states saves"),
        *(table2 or _nothing_yet(TABLE2_COMMAND)),
    )


def _nothing_yet(command: str) -> list[Element]:
    text: tuple[Child, ...] = ("No results yet. Measure them with ", element("code", command), ".")
    return [element("p", *text)]
