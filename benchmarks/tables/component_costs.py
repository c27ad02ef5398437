"""Table 1 from asv's results: what each component of a prefill costs, by length and model.

In: the newest results of a setting. Out: a `Table` for each batch size and backend that was measured, whose
values lead to their histories.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from benchmarks.meter.site.links import graph_link
from benchmarks.tables.histories import Address
from benchmarks.tables.suites import COMPONENT_MEMORY, COMPONENT_TIME, ELEMENT_BYTES, sheet_text, text_of
from perfmamba.models.shapes import PUBLISHED_SHAPES, published_config
from perfmamba.profiling.counts import count, dimensions
from perfmamba.profiling.counts.layers import Count
from perfmamba.report.asv_results import NewestResult, ResultHistory, StoredResults
from perfmamba.report.component_costs import TOTAL, CostRow, Figures, cost_table
from perfmamba.report.labels import suite_model
from perfmamba.report.result_entries import legend, result_entry
from perfmamba.table import Table, number

_COUNTING = "FLOP: counted from shapes. I/O: the least traffic, counted as well, over the measured time."

Place = tuple[str, str, str]
"""(model, component, seqlen), each as asv writes it."""

Measured = Mapping[Place, tuple[NewestResult | None, NewestResult | None]]
"""The results of time and memory at each place."""


def component_tables(history: ResultHistory, address: Address, newest: StoredResults) -> list[Table]:
    """The tables of one history.

    Args:
        history: of one setting.
        address: what a link must name to show this history only.
        newest: the results that the tables are of.
    """
    return [
        _table(results, sheet, address, newest)
        for sheet in history.sheets(COMPONENT_TIME, "model", "component", "seqlen")
        if (results := _measured(history, sheet))
    ]


def _measured(history: ResultHistory, sheet: Mapping[str, str]) -> Measured:
    """The results of the models and lengths that have any."""
    axes = history.axes(COMPONENT_TIME)
    grid = {
        (model, component, seqlen): tuple(
            history.result_at(
                benchmark, **{**sheet, "model": model, "component": component, "seqlen": seqlen}
            )
            for benchmark in (COMPONENT_TIME, COMPONENT_MEMORY)
        )
        for model in axes["model"]
        for seqlen in sorted(axes["seqlen"], key=int)
        for component in axes["component"]
    }
    known = [place for place, results in grid.items() if any(results)]
    models, lengths = {place[0] for place in known}, {place[2] for place in known}
    return {
        place: (time, memory)
        for place, (time, memory) in grid.items()
        if place[0] in models and place[2] in lengths
    }


def _table(results: Measured, sheet: Mapping[str, str], address: Address, newest: StoredResults) -> Table:
    models, components, lengths = (list(dict.fromkeys(values)) for values in zip(*results, strict=True))
    figures = {
        place: _figures(place, found, sheet, address, newest.commit) for place, found in results.items()
    }
    rows = []
    for seqlen in lengths:
        sums = [_sum([figures[model, component, seqlen] for component in components]) for model in models]
        for component in components:
            chosen = {**sheet, "component": component, "model": models}
            href = graph_link(COMPONENT_TIME, chosen=chosen, setting=address, x_axis="seqlen", log_y=True)
            parts = tuple(
                _of_whole(figures[model, component, seqlen], whole)
                for model, whole in zip(models, sums, strict=True)
            )
            rows.append(CostRow(int(seqlen), text_of(component), parts, href))
        rows.append(CostRow(int(seqlen), TOTAL, tuple(_of_whole(whole, whole) for whole in sums)))
    found = [result for pair in results.values() for result in pair]
    counted = [_COUNTING] if any(part.flops for part in figures.values()) else []
    return cost_table(
        ", ".join(filter(None, ["One prefill under the profiler", sheet_text(sheet)])),
        [text_of(model) for model in models],
        rows,
        notes=(*counted, *legend(found, newest.commit)),
    )


def _figures(
    place: Place,
    results: tuple[NewestResult | None, NewestResult | None],
    sheet: Mapping[str, str],
    address: Address,
    newest: str,
) -> Figures:
    model, component, seqlen = place
    chosen = {**sheet, "model": model, "component": component, "seqlen": seqlen}
    time, memory = (
        result_entry(
            result,
            None if result is None or result.value is None else result.value * scale,
            newest=newest,
            href=graph_link(benchmark, chosen=chosen, setting=address),
        )
        for benchmark, result, scale in zip(
            (COMPONENT_TIME, COMPONENT_MEMORY), results, (1e9, 1), strict=True
        )
    )
    counts = _counts(text_of(model), int(sheet["batch"]), int(seqlen))
    counted = counts.get(text_of(component))
    return Figures(
        time_ns=time,
        memory_bytes=memory,
        flops=counted.flops if counted else None,
        io_bytes=counted.moved_bytes(element_bytes=ELEMENT_BYTES) if counted else None,
    )


@cache
def _counts(model: str, batch: int, seqlen: int) -> Mapping[str, Count]:
    """The counts of each component; empty for a model of no published shape."""
    name, layers = suite_model(model)
    if name not in PUBLISHED_SHAPES:
        return {}
    return count(dimensions(published_config(name, layers=layers)), batch=batch, seqlen=seqlen).totals()


def _sum(parts: Sequence[Figures]) -> Figures:
    """All components together; None where one is not known."""
    return Figures(
        time_ns=_known_sum([number(part.time_ns) for part in parts]),
        memory_bytes=_known_sum([number(part.memory_bytes) for part in parts]),
        flops=_known_sum([part.flops for part in parts]),
        io_bytes=_known_sum([part.io_bytes for part in parts]),
    )


def _known_sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _of_whole(part: Figures, whole: Figures) -> Figures:
    return replace(part, whole_ns=number(whole.time_ns))
