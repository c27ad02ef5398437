"""What pruning takes from the quality of models, as a chart of the measure over the ratio.

In: the results of a study. Out: an Altair chart with a panel for each bridge and a line for each score. Bands
are the intervals over the models.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from perfmamba.evaluation.intervals import Average
from perfmamba.evaluation.measures import MeasureName
from perfmamba.evaluation.study import VariantResult
from perfmamba.evaluation.study_files import Settings
from perfmamba.pruning.bridge import BRIDGES, bridge_named
from perfmamba.pruning.scores import SCORES, score_named
from perfmamba.report.charts import require_altair
from perfmamba.report.study import HEADERS, summarize

_WIDTH, _HEIGHT = 260, 240


def study_rows(results: Sequence[VariantResult]) -> Iterator[dict[str, str | float | None]]:
    """The points of the chart.

    A bridge that ranks no states has one line of its own, in the panel of the bridge that it is compared
    with. Every line begins with the dense model, at ratio 0.

    Raises:
        InputError: if the results are of a score or bridge that does not exist.
    """
    summaries = summarize(results)
    dense = next((summary.value for summary in summaries if summary.way.bridge is None), None)
    lines: set[tuple[str, str]] = set()
    for summary in summaries:
        way = summary.way
        if way.bridge is None:
            continue
        panel = bridge_named(way.bridge).panel
        line = way.bridge if way.score is None else score_named(way.score).name
        if dense is not None and (panel, line) not in lines:
            yield _row(panel, line, 0.0, dense)
        lines.add((panel, line))
        yield _row(panel, line, way.ratio, summary.value)


def study_chart(settings: Settings, results: Sequence[VariantResult]) -> Any:
    """Draw a panel for each bridge.

    Raises:
        InputError: if Altair is not installed, or the results are of a score or bridge that does not exist.
    """
    alt = require_altair()
    rows = list(study_rows(results))
    every_color = {name: score.color for name, score in SCORES.items()}
    every_color |= {name: bridge.color for name, bridge in BRIDGES.items()}
    drawn = {row["line"] for row in rows}
    lines = [name for name in every_color if name in drawn]
    colors = alt.Scale(domain=lines, range=[every_color[name] for name in lines])
    panels = [
        _panel(alt, points, _panel_title(panel, points), settings.measure, colors)
        for panel in BRIDGES
        if (points := [row for row in rows if row["panel"] == panel])
    ]
    models = len({result.model for result in results})
    sample = f"mean of {models} models, 95% intervals" if models > 1 else "one model"
    title = f"Mamba-{settings.generation}, N = {settings.states}: {sample}"
    return alt.hconcat(*panels, title=title).resolve_scale(y="shared").configure(aria=False)


def _panel_title(panel: str, rows: list[dict[str, str | float | None]]) -> str:
    """The bridge of a panel, and the other bridges that have a line in it."""
    others = dict.fromkeys(
        str(row["line"]) for row in rows if row["line"] in BRIDGES and row["line"] != panel
    )
    return ", and ".join([f"bridge {panel}", *others])


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
    alt: Any, rows: list[dict[str, str | float | None]], title: str, measure: MeasureName, colors: Any
) -> Any:
    # Student's intervals can pass 0 and 1, an accuracy cannot
    scale = alt.Scale(domain=[0, 1]) if measure == "accuracy" else alt.Scale(zero=False)
    legend = alt.Legend(symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=3)
    base = alt.Chart(alt.InlineData(values=rows), width=_WIDTH, height=_HEIGHT).encode(
        x=alt.X("ratio:Q", title="ratio of states removed"),
        color=alt.Color("line:N", title="score", scale=colors, legend=legend),
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
