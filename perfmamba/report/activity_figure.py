"""Figure 3 of the paper: how active each state of each layer is, as a heat map.

In: an `Activity` and names of scores. Out: the numbers drawn, and an Altair chart with a panel a score.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from perfmamba.pruning.activity import Activity
from perfmamba.pruning.scores import score_named, scores
from perfmamba.report.charts import require_altair

_WIDTH, _LAYER_HEIGHT = 640, 9
_LOWEST, _HIGHEST = 0.01, 100
"""What the first and the last color stand for. Values beyond them have the same colors."""


def activity_rows(activity: Activity, names: Sequence[str]) -> Iterator[dict[str, str | int | float]]:
    """The numbers of the heat map: the score of each state, and the same divided by the mean of its layer.

    States of several groups are numbered one group after the other.

    Raises:
        InputError: if there is no such score.
    """
    for name in names:
        for layer, values in enumerate(scores(activity, name)):
            flat = values.flatten()
            mean = flat.mean().item() or 1.0  # 0 in a layer whose states are all at rest
            for state, value in enumerate(flat.tolist()):
                yield {
                    "score": name,
                    "layer": layer,
                    "state": state,
                    "value": value,
                    "relative": value / mean,
                }


def activity_chart(activity: Activity, names: Sequence[str], *, title: str) -> Any:
    """Draw a heat map of states by layers for each score, each layer relative to its own mean.

    States are selected within a layer, so the chart shows what tells them apart there. A panel of one color
    belongs to a score that cannot tell states apart.

    Raises:
        InputError: if Altair is not installed, or there is no such score.
    """
    alt = require_altair()
    rows = list(activity_rows(activity, names))
    panels = [
        _panel(alt, [row for row in rows if row["score"] == name], score_named(name).title) for name in names
    ]
    return alt.vconcat(*panels, title=title).configure(aria=False, view={"strokeWidth": 0})


def _panel(alt: Any, rows: list[dict[str, str | int | float]], title: str) -> Any:
    layers = 1 + max(int(row["layer"]) for row in rows)
    states = 1 + max(int(row["state"]) for row in rows)
    colors = alt.Scale(type="log", domain=[_LOWEST, 1, _HIGHEST], scheme="viridis")
    ticks = list(range(0, states, max(1, states // 16)))
    return (
        alt.Chart(alt.InlineData(values=rows), title=title, width=_WIDTH, height=_LAYER_HEIGHT * layers)
        .transform_calculate(shown=f"clamp(datum.relative, {_LOWEST}, {_HIGHEST})")
        .mark_rect()
        .encode(
            x=alt.X("state:O", axis=alt.Axis(values=ticks, labelAngle=0)),
            y=alt.Y("layer:O"),
            color=alt.Color("shown:Q", title="times the layer's mean", scale=colors),
            tooltip=[
                "layer:O",
                "state:O",
                alt.Tooltip("value:Q", format=".4g"),
                alt.Tooltip("relative:Q", format=".3g", title="times the layer's mean"),
            ],
        )
    )
