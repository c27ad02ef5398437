"""Table 2 of the paper from the newest results: what removing states saves, by length and ratio.

In: the histories of a site. Out: the elements of its page, for each machine and model a table of speed-ups
and one of memory reductions, with the paper's rows below ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from benchmarks.meter.site.cells import cell_element, legend, provenance
from benchmarks.meter.site.links import graph_link
from benchmarks.meter.site.markup import Child, element, link, scrolling_table
from benchmarks.meter.site.newest import Cell, History, Run
from benchmarks.meter.statistics import NO_DIFFERENCE
from benchmarks.paper_tables.published import TABLE2_MODEL, printed_table2
from benchmarks.paper_tables.suites import PAIRED_MEMORY, PAIRED_TIME, sheet_text, text_of


@dataclass(frozen=True)
class _Metric:
    """One half of the table.

    Attributes:
        caption: what it shows.
        benchmark: whose results.
        printed: its name in the paper's data.
        of_ratio: the metric from the ratio pruned / dense; it falls as the ratio grows.
        text: a value of it for people.
    """

    caption: str
    benchmark: str
    printed: str
    of_ratio: Callable[[float], float]
    text: Callable[[float], str]


_METRICS = (
    _Metric(
        "Speed-up of a prefill over the dense model",
        PAIRED_TIME,
        "speedup",
        lambda ratio: 1 / ratio,
        lambda value: f"{value:.2f}x",
    ),
    _Metric(
        "Memory saved, in percent of what the dense model needs",
        PAIRED_MEMORY,
        "memory_percent",
        lambda ratio: 100 * (1 - ratio),
        lambda value: f"{value:.1f}",
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
class _Sheet:
    """One table.

    Attributes:
        history: of one machine.
        metric: which half.
        parameters: the parameters that its cells have in common.
        newest: the run that it is of.
        setting: what a link must name to show this history only.
    """

    history: History
    metric: _Metric
    parameters: Mapping[str, str]
    newest: Run
    setting: Mapping[str, str | None]

    def link(self, *, x_axis: str | None = None, log_y: bool = False, **chosen: str) -> str:
        """The address of a graph of the sheet's benchmark with these parameters held, too."""
        held = {**self.parameters, **chosen}
        return graph_link(
            self.metric.benchmark, chosen=held, setting=self.setting, x_axis=x_axis, log_y=log_y
        )


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
    for metric in _METRICS:
        for sheet in history.sheets(metric.benchmark, "seqlen", "ratio"):
            shown += _figure(_Sheet(history, metric, sheet, newest, setting))
    return shown


def _figure(sheet: _Sheet) -> list[Element]:
    axes = sheet.history.axes(sheet.metric.benchmark)
    ratios = sorted((ratio for ratio in axes["ratio"] if float(ratio) > 0), key=float)
    grid = {
        seqlen: {ratio: _pair(sheet, seqlen, ratio) for ratio in ratios}
        for seqlen in sorted(axes["seqlen"], key=int)
    }
    measured = {seqlen: row for seqlen, row in grid.items() if any(pair.cell for pair in row.values())}
    if not measured:
        return []
    head = element("tr", element("th", "Tokens"), *(_ratio_head(sheet, ratio) for ratio in ratios))
    rows = [made for seqlen, row in measured.items() for made in _rows(sheet, seqlen, row)]
    pairs = [pair for row in measured.values() for pair in row.values()]
    made = [scrolling_table(f"{sheet.metric.caption}: {sheet_text(sheet.parameters)}", [head], rows)]
    made += legend([pair.cell for pair in pairs], sheet.newest)
    for confidence in sorted({pair.confidence for pair in pairs if pair.confidence}):
        text = f"Below a number: its interval, {confidence:.0%} confidence, from pairs measured in turn."
        made.append(element("p", text, class_="legend"))
    if any(pair.undecided for pair in pairs):
        made.append(element("p", f"≈ {NO_DIFFERENCE}.", class_="legend"))
    return made


def _ratio_head(sheet: _Sheet, ratio: str) -> Element:
    return element("th", "r = ", link(ratio, sheet.link(ratio=ratio, x_axis="seqlen", log_y=True)))


def _rows(sheet: _Sheet, seqlen: str, pairs: Mapping[str, _Pair]) -> list[Element]:
    """The row of a length, and below it the paper's where it has one."""
    metric = sheet.metric
    name = element("th", link(f"{int(seqlen):,}", sheet.link(seqlen=seqlen, x_axis="ratio")))
    ours = [_pair_element(sheet, pair, seqlen, ratio) for ratio, pair in pairs.items()]
    rows = [element("tr", name, *ours)]
    of_paper = text_of(sheet.parameters["model"]) == TABLE2_MODEL
    printed = printed_table2(metric.printed) if of_paper else {}
    theirs = [printed.get((int(seqlen), float(ratio))) for ratio in pairs]
    if any(theirs):
        texts = ["-" if value is None else metric.text(value) for value in theirs]
        quiet = [element("td", text, class_="quiet") for text in texts]
        rows.append(element("tr", element("th", "paper", class_="quiet"), *quiet, class_="continued"))
    return rows


def _pair_element(sheet: _Sheet, pair: _Pair, seqlen: str, ratio: str) -> Element:
    metric = sheet.metric
    details: list[Child] = []
    if pair.undecided:
        details.append(element("span", " ≈", class_="quiet", title=NO_DIFFERENCE))
    if pair.low is not None and pair.high is not None:
        bounds = sorted(metric.of_ratio(bound) for bound in (pair.low, pair.high))
        details.append(element("span", " to ".join(map(metric.text, bounds)), class_="interval"))
    text = "-" if pair.ratio is None else metric.text(metric.of_ratio(pair.ratio))
    return cell_element(pair.cell, text, sheet.link(seqlen=seqlen, ratio=ratio), sheet.newest, *details)


def _pair(sheet: _Sheet, seqlen: str, ratio: str) -> _Pair:
    """The recorded pair of a cell, or the quotient of the two medians of one run."""
    history, benchmark = sheet.history, sheet.metric.benchmark
    parameters = {**sheet.parameters, "seqlen": seqlen, "ratio": ratio}
    cell = history.cell(benchmark, **parameters)
    if cell is None or cell.value is None:
        return _Pair(cell, None)
    combination = tuple(parameters[name] for name in history.axes(benchmark))
    if pair := cell.run.notes.get(("pair", benchmark, combination)):
        bounds = (pair["low"], pair["high"], pair["confidence"])
        return _Pair(cell, pair["ratio"], *bounds, undecided=pair["verdict"] == NO_DIFFERENCE)
    dense = _dense(sheet, parameters)
    of_one_run = dense is not None and dense.value and dense.run.commit == cell.run.commit
    return _Pair(cell, cell.value / dense.value if of_one_run else None)


def _dense(sheet: _Sheet, parameters: Mapping[str, str]) -> Cell | None:
    """The result of the dense model that a cell is compared with."""
    history, benchmark = sheet.history, sheet.metric.benchmark
    for ratio in history.axes(benchmark)["ratio"]:
        if float(ratio) == 0:
            return history.cell(benchmark, **{**parameters, "ratio": ratio})
    return None
