"""Table 1 of the paper from the newest results: what each component of a prefill costs, by length and model.

In: the histories of a site. Out: the elements of its page: for each machine a table of each batch size and
backend that was measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from xml.etree.ElementTree import Element

from benchmarks.meter.site.cells import cell_element, legend, provenance, significant
from benchmarks.meter.site.links import graph_link
from benchmarks.meter.site.markup import element, scrolling_table
from benchmarks.meter.site.newest import Cell, History, Run
from benchmarks.tables.published import component_name, length_row, two_row_head
from benchmarks.tables.suites import (
    COMPONENT_MEMORY,
    COMPONENT_TIME,
    ELEMENT_BYTES,
    sheet_text,
    text_of,
)
from perfmamba.models.shapes import PUBLISHED_SHAPES, published_config
from perfmamba.profiling.counts import count, dimensions
from perfmamba.profiling.counts.layers import Count
from perfmamba.report.labels import suite_model

_COUNTED = ("GFLOP", "I/O GB/s")
_HEADERS = ("time ms", "share %", "allocated MB")
_COUNTING = "GFLOP: counted from shapes. I/O: the least traffic, counted as well, over the measured time."

Key = tuple[str, str, str]
"""(model, component, seqlen), each as asv writes it."""


@dataclass(frozen=True)
class _Costs:
    """What a component, or all of them together, costs at one length; None for what is not known.

    Attributes:
        seconds: measured.
        allocated_bytes: measured.
        flops: counted.
        io_bytes: counted, the least traffic.
        cells: the results that the measured ones are from, by benchmark; none for a sum.
    """

    seconds: float | None
    allocated_bytes: float | None
    flops: int | None
    io_bytes: int | None
    cells: Mapping[str, Cell | None]


@dataclass(frozen=True)
class _Table:
    """The cells of one history that a table shows.

    Attributes:
        sheet: the parameters that they have in common.
        costs: of every component of the models and lengths that were measured.
        newest: the run that the table is of.
        setting: what a link must name to show this history only.
    """

    sheet: Mapping[str, str]
    costs: Mapping[Key, _Costs]
    newest: Run
    setting: Mapping[str, str | None]

    def values(self, axis: int) -> tuple[str, ...]:
        """The models (0), components (1) or lengths (2) of the table."""
        return tuple(dict.fromkeys(key[axis] for key in self.costs))

    @property
    def headers(self) -> tuple[str, ...]:
        """The columns of a model."""
        return _HEADERS + (_COUNTED if any(costs.flops for costs in self.costs.values()) else ())

    def total(self, model: str, seqlen: str) -> _Costs:
        """The sums over all components; None where one is not known."""
        parts = [self.costs[model, component, seqlen] for component in self.values(1)]
        return _Costs(
            _sum([part.seconds for part in parts]),
            _sum([part.allocated_bytes for part in parts]),
            _sum([part.flops for part in parts]),
            _sum([part.io_bytes for part in parts]),
            cells={},
        )


def component_tables(history: History, setting: Mapping[str, str | None]) -> list[Element]:
    """The tables of one history with what stands above and below; nothing where it has no such results.

    Args:
        history: of one machine.
        setting: what a link must name to show this history only.
    """
    newest = history.newest_run(COMPONENT_TIME, COMPONENT_MEMORY)
    if newest is None:
        return []
    shown = [element("h3", history.setting["machine"]), provenance(history, newest)]
    for sheet in history.sheets(COMPONENT_TIME, "model", "component", "seqlen"):
        costs = _costs_of(history, sheet)
        if costs:
            shown += _figure(_Table(sheet, costs, newest, setting))
    return shown


def _figure(table: _Table) -> list[Element]:
    head = two_row_head(tuple(map(text_of, table.values(0))), table.headers)
    rows = [row for seqlen in table.values(2) for row in _section(table, seqlen)]
    groups = (1, *(len(table.headers) for _ in table.values(0)))
    caption = ", ".join(filter(None, ["One prefill under the profiler", sheet_text(table.sheet)]))
    cells = [cell for costs in table.costs.values() for cell in costs.cells.values()]
    explained = [element("p", _COUNTING, class_="legend")] if table.headers != _HEADERS else []
    return [scrolling_table(caption, head, rows, groups=groups), *explained, *legend(cells, table.newest)]


def _costs_of(history: History, sheet: Mapping[str, str]) -> dict[Key, _Costs]:
    """The costs of the models and lengths that were measured."""
    axes = history.axes(COMPONENT_TIME)
    grid = {
        (model, component, seqlen): _costs(history, sheet, model=model, component=component, seqlen=seqlen)
        for model in axes["model"]
        for seqlen in sorted(axes["seqlen"], key=int)
        for component in axes["component"]
    }
    measured = [key for key, costs in grid.items() if any(costs.cells.values())]
    models, lengths = {key[0] for key in measured}, {key[2] for key in measured}
    return {key: costs for key, costs in grid.items() if key[0] in models and key[2] in lengths}


def _costs(history: History, sheet: Mapping[str, str], **shown: str) -> _Costs:
    parameters = {**sheet, **shown}
    time = history.cell(COMPONENT_TIME, **parameters)
    memory = history.cell(COMPONENT_MEMORY, **parameters)
    counts = _counts(text_of(shown["model"]), int(parameters["batch"]), int(parameters["seqlen"]))
    count = counts.get(text_of(shown["component"]))
    return _Costs(
        time.value if time else None,
        memory.value if memory else None,
        count.flops if count else None,
        count.moved_bytes(element_bytes=ELEMENT_BYTES) if count else None,
        {COMPONENT_TIME: time, COMPONENT_MEMORY: memory},
    )


@cache
def _counts(model: str, batch: int, seqlen: int) -> dict[str, Count]:
    """The counts of each component; empty for a model of no published shape."""
    name, layers = suite_model(model)
    if name not in PUBLISHED_SHAPES:
        return {}
    return count(dimensions(published_config(name, layers=layers)), batch=batch, seqlen=seqlen).totals()


def _section(table: _Table, seqlen: str) -> list[Element]:
    """The rows of a length: its name, the components, their sum."""
    models = table.values(0)
    rows = [length_row(int(seqlen), columns=1 + len(models) * len(table.headers))]
    for component in table.values(1):
        chosen = {**table.sheet, "component": component, "model": models}
        href = graph_link(COMPONENT_TIME, chosen=chosen, setting=table.setting, x_axis="seqlen", log_y=True)
        cells = [cell for model in models for cell in _component_cells(table, (model, component, seqlen))]
        rows.append(element("tr", component_name(text_of(component), href=href), *cells))
    totals = [table.total(model, seqlen) for model in models]
    texts = [text for total in totals for text in _texts(total, total)[: len(table.headers)]]
    cells = [element("td", text, class_="total") for text in texts]
    rows.append(element("tr", element("th", "total", class_="name first total"), *cells))
    return rows


def _component_cells(table: _Table, key: Key) -> list[Element]:
    costs = table.costs[key]
    texts = _texts(costs, table.total(key[0], key[2]))
    cells = [element("td", text) for text in texts[: len(table.headers)]]
    chosen = {**table.sheet, **dict(zip(("model", "component", "seqlen"), key, strict=True))}
    for column, benchmark in ((0, COMPONENT_TIME), (2, COMPONENT_MEMORY)):
        href = graph_link(benchmark, chosen=chosen, setting=table.setting)
        cells[column] = cell_element(costs.cells[benchmark], texts[column], href, table.newest)
    return cells


def _texts(costs: _Costs, total: _Costs) -> list[str]:
    """The figures of a row in the order of the headers."""
    return [
        _text(costs.seconds, 1e-3),
        _text(costs.seconds, 1e-2 * total.seconds if total.seconds else None),
        _text(costs.allocated_bytes, 1e6),
        _text(costs.flops, 1e9),
        _text(costs.io_bytes, 1e9 * costs.seconds if costs.seconds else None),
    ]


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _text(value: float | None, unit: float | None) -> str:
    """A value in a unit for people; "-" where either is not known."""
    return "-" if value is None or unit is None else significant(value / unit)
