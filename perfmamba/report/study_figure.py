"""What pruning costs, as a chart: the measure over the ratio, a line a score, a panel a bridge.

In: the results of a study. Out: an Altair chart; bands are the intervals over the models.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from perfmamba.evaluation.intervals import Average
from perfmamba.evaluation.measures import MeasureName
from perfmamba.evaluation.study import Result
from perfmamba.evaluation.study_files import Settings
from perfmamba.report.charts import require_altair
from perfmamba.report.study import HEADERS, summarize

_WIDTH, _HEIGHT = 260, 240
_COLOURS = {
    "output": "#0072b2",
    "energy": "#56b4e9",
    "magnitude": "#009e73",
    "delta_b": "#e69f00",
    "paper": "#d55e00",
    "random": "#7f7f7f",
    "balanced": "#cc79a7",
}
"""A colour for each score; told apart by readers who see fewer of them too (Okabe and Ito, 2008)."""


def study_rows(results: Sequence[Result]) -> Iterator[dict[str, str | float | None]]:
    """The points of the chart. `balanced`, which is no score, has a line in the panel of `lstsq`.

    Every line begins with the dense model, at ratio 0.
    """
    summaries = summarize(results)
    dense = next((summary.value for summary in summaries if summary.way.bridge is None), None)
    lines: set[tuple[str, str]] = set()
    for summary in summaries:
        way = summary.way
        if way.bridge is None:
            continue
        panel, line = ("lstsq", "balanced") if way.bridge == "balanced" else (way.bridge, str(way.score))
        if dense is not None and (panel, line) not in lines:
            yield _row(panel, line, 0.0, dense)
        lines.add((panel, line))
        yield _row(panel, line, way.ratio, summary.value)


def study_chart(settings: Settings, results: Sequence[Result]) -> Any:
    """A panel for each bridge.

    Raises:
        InputError: if Altair is not installed.
    """
    alt = require_altair()
    rows = list(study_rows(results))
    lines = [name for name in _COLOURS if any(row["line"] == name for row in rows)]
    colours = alt.Scale(domain=lines, range=[_COLOURS[name] for name in lines])
    second = "bridge lstsq, and balanced" if "balanced" in lines else "bridge lstsq"
    panels = [
        _panel(alt, [row for row in rows if row["panel"] == panel], title, settings.measure, colours)
        for panel, title in (("none", "bridge none"), ("lstsq", second))
        if any(row["panel"] == panel for row in rows)
    ]
    models = len({result.model for result in results})
    sample = f"mean of {models} models, 95% intervals" if models > 1 else "one model"
    title = f"Mamba-{settings.generation}, N = {settings.states}: {sample}"
    return alt.hconcat(*panels, title=title).resolve_scale(y="shared").configure(aria=False)


def _row(panel: str, line: str, ratio: float, value: Average) -> dict[str, str | float | None]:
    half = value.half_width or 0.0
    return {
        "panel": panel,
        "line": line,
        "ratio": ratio,
        "value": value.mean,
        "low": value.mean - half,
        "high": value.mean + half,
    }


def _panel(
    alt: Any, rows: list[dict[str, str | float | None]], title: str, measure: MeasureName, colours: Any
) -> Any:
    # Student's intervals do not know that an accuracy ends at 0 and 1
    scale = alt.Scale(domain=[0, 1]) if measure == "accuracy" else alt.Scale(zero=False)
    legend = alt.Legend(symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=3)
    base = alt.Chart(alt.InlineData(values=rows), width=_WIDTH, height=_HEIGHT).encode(
        x=alt.X("ratio:Q", title="ratio of states removed"),
        color=alt.Color("line:N", title="score", scale=colours, legend=legend),
    )
    band = base.mark_area(opacity=0.15, clip=True).encode(
        y=alt.Y("low:Q", title=HEADERS[measure], scale=scale), y2="high:Q"
    )
    line = base.mark_line(point=True).encode(
        y=alt.Y("value:Q", title=HEADERS[measure], scale=scale),
        tooltip=[
            "line:N",
            "ratio:Q",
            alt.Tooltip("value:Q", format=".4f"),
            alt.Tooltip("low:Q", format=".4f"),
        ],
    )
    return alt.layer(band, line, title=title)
