"""Table 2 of the paper from the newest results: what removing states saves, by length and ratio.

In: the histories of a site. Out: the elements of its page, for each machine a table of each model. Speed-ups
and memory reductions stand side by side; each length has a row of each backend and configuration, and below
ours the paper's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from benchmarks.meter.measure.statistics import NO_DIFFERENCE
from benchmarks.meter.site.cells import cell_element, legend, provenance
from benchmarks.meter.site.links import graph_link
from benchmarks.meter.site.markup import Child, element, link, scrolling_table
from benchmarks.meter.site.newest import Cell, History, Run
from benchmarks.tables.published import TABLE2_MODEL, length_row, printed_table2
from benchmarks.tables.suites import PAIRED_MEMORY, PAIRED_TIME, sheet_text, text_of
from perfmamba.report.labels import configuration_note

_VARIANT = ("backend", "configuration")
"""The parameters that tell the rows of a length from each other."""

_PRINTED = "paper: states removed, batch 8, all layers, one A100 40 GB."


@dataclass(frozen=True)
class _Metric:
    """One half of the table.

    Attributes:
        header: what it shows.
        benchmark: whose results.
        printed: its name in the paper's data.
        of_ratio: the metric from the ratio pruned / dense; it falls as the ratio grows.
        text: a value of it for people.
    """

    header: str
    benchmark: str
    printed: str
    of_ratio: Callable[[float], float]
    text: Callable[[float], str]


_METRICS = (
    _Metric("speed-up", PAIRED_TIME, "speedup", lambda ratio: 1 / ratio, lambda value: f"{value:.2f}x"),
    _Metric(
        "memory saved %",
        PAIRED_MEMORY,
        "memory_percent",
        lambda ratio: 100 * (1 - ratio),
        lambda value: f"{value:z.1f}",
    ),
)


@dataclass(frozen=True)
class _Pair:
    """A pruned model against the dense one.

    Attributes:
        cell: the pruned model's newest result; None if there is none.
        ratio: pruned / dense; None without both.
        low, high: the ratio's interval; None where the pair was not recorded.
        confidence: of the interval.
        undecided: the interval holds no difference that matters.
    """

    cell: Cell | None
    ratio: float | None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    undecided: bool = False


@dataclass(frozen=True)
class _Row:
    """What was measured of a length with a backend and a configuration.

    Attributes:
        place: the parameters of the row, length included.
        pairs: a pair of each metric and ratio.
    """

    place: Mapping[str, str]
    pairs: Mapping[tuple[_Metric, str], _Pair]

    @property
    def variant(self) -> str:
        """The row's name among those of its length."""
        return ", ".join(text_of(self.place[name]) for name in _VARIANT)


@dataclass(frozen=True)
class _Sheet:
    """One table.

    Attributes:
        history: of one machine.
        parameters: the parameters that its cells have in common.
        newest: the run that it is of.
        setting: what a link must name to show this history only.
    """

    history: History
    parameters: Mapping[str, str]
    newest: Run
    setting: Mapping[str, str | None]

    @property
    def ratios(self) -> list[str]:
        """The columns of a metric."""
        known = self.history.axes(PAIRED_TIME)["ratio"]
        return sorted((ratio for ratio in known if float(ratio) > 0), key=float)

    def rows(self) -> Iterator[_Row]:
        """Those that were measured, by length."""
        axes = self.history.axes(PAIRED_TIME)
        others = [name for name in axes if name not in {"seqlen", *_VARIANT}]
        for seqlen in sorted(axes["seqlen"], key=int):
            for variant in self.history.sheets(PAIRED_TIME, "seqlen", *others):
                place = {**variant, "seqlen": seqlen}
                row = _Row(place, {key: _pair(self, place, *key) for key in self._columns()})
                if any(pair.cell for pair in row.pairs.values()):
                    yield row

    def link(self, metric: _Metric, chosen: Mapping[str, str | Sequence[str]], *, x_axis: str = "") -> str:
        """The address of a graph of a metric with these parameters held, too."""
        held = {**self.parameters, **chosen}
        return graph_link(
            metric.benchmark, chosen=held, setting=self.setting, x_axis=x_axis, log_y=x_axis == "seqlen"
        )

    def _columns(self) -> list[tuple[_Metric, str]]:
        return [(metric, ratio) for metric in _METRICS for ratio in self.ratios]


def pruning_tables(history: History, setting: Mapping[str, str | None]) -> list[Element]:
    """The tables of one history with what stands above and below; nothing where it has no such results.

    Args:
        history: of one machine.
        setting: what a link must name to show this history only.
    """
    newest = history.newest_run(PAIRED_TIME, PAIRED_MEMORY)
    if newest is None:
        return []
    shown = [element("h3", history.setting["machine"]), provenance(history, newest)]
    for parameters in history.sheets(PAIRED_TIME, *_VARIANT, "seqlen", "ratio"):
        shown += _figure(_Sheet(history, parameters, newest, setting))
    return shown


def _figure(sheet: _Sheet) -> list[Element]:
    rows = list(sheet.rows())
    if not rows:
        return []
    lengths = dict.fromkeys(row.place["seqlen"] for row in rows)
    printed = {seqlen: _printed_row(sheet, seqlen) for seqlen in lengths}
    body = []
    for seqlen in lengths:
        body.append(length_row(int(seqlen), columns=1 + len(_METRICS) * len(sheet.ratios)))
        body += [_row_element(sheet, row) for row in rows if row.place["seqlen"] == seqlen]
        body += printed[seqlen]
    caption = f"One prefill, compared with the dense model's: {sheet_text(sheet.parameters)}"
    groups = (1, *(len(sheet.ratios) for _ in _METRICS))
    table = scrolling_table(caption, _head(sheet), body, groups=groups)
    return [table, *_legend(sheet, rows, *([_PRINTED] if any(printed.values()) else []))]


def _head(sheet: _Sheet) -> list[Element]:
    metrics = [element("th", metric.header, colspan=str(len(sheet.ratios))) for metric in _METRICS]
    axes = sheet.history.axes(PAIRED_TIME)
    chosen = {name: axes[name] for name in _VARIANT}
    ratios = [
        element("th", "r = ", link(ratio, sheet.link(metric, {**chosen, "ratio": ratio}, x_axis="seqlen")))
        for metric in _METRICS
        for ratio in sheet.ratios
    ]
    name = element("th", ", ".join(_VARIANT).capitalize(), class_="name", rowspan="2")
    return [element("tr", name, *metrics), element("tr", *ratios)]


def _row_element(sheet: _Sheet, row: _Row) -> Element:
    name = link(row.variant, sheet.link(_METRICS[0], row.place, x_axis="ratio"))
    cells = [
        _pair_element(sheet, pair, metric, {**row.place, "ratio": ratio})
        for (metric, ratio), pair in row.pairs.items()
    ]
    return element("tr", element("th", name, class_="name first"), *cells)


def _printed_row(sheet: _Sheet, seqlen: str) -> list[Element]:
    """The paper's row of a length, where it has one."""
    if text_of(sheet.parameters["model"]) != TABLE2_MODEL:
        return []
    values = [
        (metric, printed_table2(metric.printed).get((int(seqlen), float(ratio))))
        for metric in _METRICS
        for ratio in sheet.ratios
    ]
    if all(value is None for _, value in values):
        return []
    texts = ["-" if value is None else metric.text(value) for metric, value in values]
    cells = [element("td", text, class_="quiet") for text in texts]
    return [element("tr", element("th", "paper", class_="name first quiet"), *cells)]


def _legend(sheet: _Sheet, rows: Sequence[_Row], *more: str) -> list[Element]:
    pairs = [pair for row in rows for pair in row.pairs.values()]
    configurations = dict.fromkeys(text_of(row.place["configuration"]) for row in rows)
    texts = [
        f"Below a number: its interval, {confidence:.0%} confidence, from pairs measured in turn."
        for confidence in sorted({pair.confidence for pair in pairs if pair.confidence})
    ]
    if any(pair.undecided for pair in pairs):
        texts.append(f"≈ {NO_DIFFERENCE}.")
    texts += [
        "The interval is of one process; another may be some percent off.",
        configuration_note(configurations),
        *more,
    ]
    marks = legend([pair.cell for pair in pairs], sheet.newest)
    return marks + [element("p", text, class_="legend") for text in texts]


def _pair_element(sheet: _Sheet, pair: _Pair, metric: _Metric, place: Mapping[str, str]) -> Element:
    details: list[Child] = []
    if pair.undecided:
        details.append(element("span", " ≈", class_="quiet", title=NO_DIFFERENCE))
    if pair.low is not None and pair.high is not None:
        bounds = sorted(metric.of_ratio(bound) for bound in (pair.low, pair.high))
        details.append(element("span", " to ".join(map(metric.text, bounds)), class_="interval"))
    text = "-" if pair.ratio is None else metric.text(metric.of_ratio(pair.ratio))
    return cell_element(pair.cell, text, sheet.link(metric, place), sheet.newest, *details)


def _pair(sheet: _Sheet, place: Mapping[str, str], metric: _Metric, ratio: str) -> _Pair:
    """The recorded pair of a cell, or the quotient of the two medians of one run."""
    history, benchmark = sheet.history, metric.benchmark
    parameters = {**sheet.parameters, **place, "ratio": ratio}
    cell = history.cell(benchmark, **parameters)
    if cell is None or cell.value is None:
        return _Pair(cell, None)
    combination = tuple(parameters[name] for name in history.axes(benchmark))
    if pair := cell.run.notes.get(("pair", benchmark, combination)):
        bounds = (pair["low"], pair["high"], pair["confidence"])
        return _Pair(cell, pair["ratio"], *bounds, undecided=pair["verdict"] == NO_DIFFERENCE)
    dense = _dense(history, benchmark, parameters)
    of_one_run = dense is not None and dense.value and dense.run.commit == cell.run.commit
    return _Pair(cell, cell.value / dense.value if of_one_run else None)


def _dense(history: History, benchmark: str, parameters: Mapping[str, str]) -> Cell | None:
    """The result of the dense model that a cell is compared with."""
    for ratio in history.axes(benchmark)["ratio"]:
        if float(ratio) == 0:
            return history.cell(benchmark, **{**parameters, "ratio": ratio})
    return None
