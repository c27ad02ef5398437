"""What the paper prints in Tables 1 and 2, to set beside what was measured."""

from xml.etree.ElementTree import Element

from benchmarks.meter.site.markup import element, scrolling_table
from perfmamba.components import COMPONENTS, PAPER_LABELS
from perfmamba.report.paper import PaperCost, paper_table1, paper_table2

TABLE2_MODEL = "mamba2-130m"

_MODELS = {1: "Mamba-1 130M", 2: "Mamba-2 130M"}
_HEADERS = ("latency ms", "memory GB", "GFLOP", "I/O GB/s")


def printed_table1() -> Element:
    """The paper's Table 1, folded up."""
    costs = paper_table1()
    body = []
    for seqlen in dict.fromkeys(row.seqlen for row in costs):
        body.append(length_row(seqlen, columns=1 + len(_HEADERS) * len(_MODELS)))
        for component in COMPONENTS:
            values = [value for model in (1, 2) for value in _printed(costs[seqlen, component, model])]
            cells = [element("td", f"{value:,g}") for value in values]
            body.append(element("tr", component_name(component), *cells))
    caption = "One prefill, batch 8, all 24 layers, one A100 40 GB; what the numbers are is in docs/paper.md"
    head = two_row_head(tuple(_MODELS.values()), _HEADERS)
    table = scrolling_table(caption, head, body, groups=(1, *(len(_HEADERS) for _ in _MODELS)))
    return element("details", element("summary", "Table 1 as the paper prints it"), table)


def _printed(cost: PaperCost) -> tuple[float, ...]:
    return (cost.latency_ms, cost.memory_gb, cost.flops_g, cost.io_gbps)


def printed_table2(metric: str) -> dict[tuple[int, float], float]:
    """Values of the paper's Table 2 by (seqlen, ratio).

    Args:
        metric: `speedup` or `memory_percent`.
    """
    return {place: getattr(saving, metric) for place, saving in paper_table2().items()}


def two_row_head(models: tuple[str, ...], headers: tuple[str, ...]) -> list[Element]:
    """The head of Table 1: models, and below each the same columns."""
    first = [element("th", model, colspan=str(len(headers))) for model in models]
    second = [element("th", header) for _ in models for header in headers]
    return [
        element("tr", element("th", "Component", class_="name", rowspan="2"), *first),
        element("tr", *second),
    ]


def length_row(seqlen: int, *, columns: int) -> Element:
    """The row that opens the section of a length."""
    return element("tr", element("th", f"{seqlen:,} tokens", class_="name total", colspan=str(columns)))


def component_name(component: str, *, href: str = "") -> Element:
    """The `th` of a component, under the paper's label where it has one; linked if `href` is given."""
    label = PAPER_LABELS.get(component, component)
    return element("th", element("a", label, href=href) if href else label, class_="name first")
