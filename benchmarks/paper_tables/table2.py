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
from benchmarks.paper_tables.published import TABLE2_MODEL, printed_table2
from benchmarks.paper_tables.suites import PAIRED_MEMORY, PAIRED_TIME, text_of

_UNDECIDED = "no difference seen"


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
        "speedup_x",
        lambda ratio: 1 / ratio,
        lambda value: f"{value:.2f}x",
    ),
    _Metric(
        "Memory saved, in percent of what the dense model needs",
        PAIRED_MEMORY,
        "memory_reduction_pct",
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
        undecided: the interval holds no difference that matters.
    """

    cell: Cell | None
    ratio: float | None
    low: float | None = None
    high: float | None = None
    undecided: bool = False


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
        if metric.benchmark in history.definitions:
            shown += _metric_tables(history, metric, newest, setting)
    return shown


def _metric_tables(
    history: History, metric: _Metric, newest: Run, setting: Mapping[str, str | None]
) -> list[Element]:
    definition = history.definitions[metric.benchmark]
    axes = dict(zip(definition["param_names"], definition["params"], strict=True))
    ratios = sorted((ratio for ratio in axes["ratio"] if float(ratio) > 0), key=float)
    tables: list[Element] = []
    for model in axes["model"]:
        rows, cells = [], []
        for seqlen in sorted(axes["seqlen"], key=int):
            pairs = [_pair(history, metric, model, seqlen, ratio) for ratio in ratios]
            if any(pair.cell for pair in pairs):
                chosen = {"model": model, "seqlen": seqlen}
                rows += _rows(metric, chosen, dict(zip(ratios, pairs, strict=True)), newest, setting)
                cells += pairs
        if rows:
            head = element(
                "tr", element("th", "Tokens"), *(_ratio_head(metric, model, r, setting) for r in ratios)
            )
            tables.append(scrolling_table(f"{metric.caption}: {text_of(model)}", [head], rows))
            tables += legend([pair.cell for pair in cells], newest)
            if any(pair.undecided for pair in cells):
                tables.append(element("p", f"≈ {_UNDECIDED}.", class_="legend"))
    return tables


def _ratio_head(metric: _Metric, model: str, ratio: str, setting: Mapping[str, str | None]) -> Element:
    chosen = {"model": model, "ratio": ratio}
    href = graph_link(metric.benchmark, chosen=chosen, setting=setting, x_axis="seqlen", log_y=True)
    return element("th", "r = ", link(ratio, href))


def _rows(
    metric: _Metric,
    chosen: dict[str, str],
    pairs: dict[str, _Pair],
    newest: Run,
    setting: Mapping[str, str | None],
) -> list[Element]:
    """The row of a length, and below it the paper's where it has one."""
    href = graph_link(metric.benchmark, chosen=chosen, setting=setting, x_axis="ratio")
    seqlen = int(chosen["seqlen"])
    ours = [
        _pair_element(
            metric,
            pair,
            graph_link(metric.benchmark, chosen=chosen | {"ratio": ratio}, setting=setting),
            newest,
        )
        for ratio, pair in pairs.items()
    ]
    rows = [element("tr", element("th", link(f"{seqlen:,}", href)), *ours)]
    printed = printed_table2(metric.printed) if text_of(chosen["model"]) == TABLE2_MODEL else {}
    theirs = [printed.get((seqlen, float(ratio))) for ratio in pairs]
    if any(theirs):
        texts = ["-" if value is None else metric.text(value) for value in theirs]
        quiet = [element("td", text, class_="quiet") for text in texts]
        rows.append(element("tr", element("th", "paper", class_="quiet"), *quiet, class_="continued"))
    return rows


def _pair_element(metric: _Metric, pair: _Pair, href: str, newest: Run) -> Element:
    details: list[Child] = []
    if pair.undecided:
        details.append(element("span", " ≈", class_="quiet", title=_UNDECIDED))
    if pair.low is not None and pair.high is not None:
        bounds = sorted(metric.of_ratio(bound) for bound in (pair.low, pair.high))
        details.append(element("span", " to ".join(map(metric.text, bounds)), class_="interval"))
    text = "-" if pair.ratio is None else metric.text(metric.of_ratio(pair.ratio))
    return cell_element(pair.cell, text, href, newest, *details)


def _pair(history: History, metric: _Metric, model: str, seqlen: str, ratio: str) -> _Pair:
    """The recorded pair of a cell, or the quotient of the two stored medians."""
    cell = history.cell(metric.benchmark, model=model, seqlen=seqlen, ratio=ratio)
    if cell is None or cell.value is None:
        return _Pair(cell, None)
    names = history.definitions[metric.benchmark]["param_names"]
    parameters = {"model": model, "seqlen": seqlen, "ratio": ratio}
    pair = cell.run.notes.get(("pair", metric.benchmark, tuple(parameters[name] for name in names)))
    if pair:
        return _Pair(cell, pair["ratio"], pair["low"], pair["high"], pair["verdict"] == _UNDECIDED)
    dense = _dense(history, metric, model, seqlen)
    return _Pair(cell, cell.value / dense.value if dense and dense.value else None)


def _dense(history: History, metric: _Metric, model: str, seqlen: str) -> Cell | None:
    definition = history.definitions[metric.benchmark]
    ratios = definition["params"][definition["param_names"].index("ratio")]
    dense = next((ratio for ratio in ratios if float(ratio) == 0), None)
    return history.cell(metric.benchmark, model=model, seqlen=seqlen, ratio=dense) if dense else None
