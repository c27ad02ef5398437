"""Repairs of asv's pages, each one exact edit of a script.

In: the folder that `asv publish` has just written, the definitions that it is about to put into index.json,
and its graphs. Out: changed scripts, and definitions with the `first_view` that the changed graph page reads.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from asv.util import is_na

from benchmarks.meter.site.edits import Edit, before, edit_page

Combination = tuple[str, ...]
"""The values of a benchmark's parameters in their order, as asv writes them (`repr`)."""

FIRST_VIEW = "first_view"

# A link's scale stayed on when the next link named none: the scale is now always what the address says.
_SCALE_FROM_ADDRESS = before(
    "        if (params['y-axis-scale']) {\n",
    "        log_scale = false;\n"
    "        zoom_y_axis = false;\n"
    "        $('#log-scale, #zoom-y-axis').removeClass('active');\n",
)

# The unit suited the smallest value, so that 14 ms beside 3 us read "1.40e+4 microseconds".
_UNIT_OF_LARGEST = Edit("if (min < unit_list[i+1][2]) {", "if (max < unit_list[i+1][2]) {")

# Lengths of 64 to 16384 crowd at the left of a linear axis: over a decade, an axis of doublings.
_LOGARITHMIC_LENGTHS = Edit(
    """\
            else {
                graphs = orig_graphs;
            }
            var param_names""",
    """\
            else {
                graphs = orig_graphs;
                var x_values = graphs[0].data.map(function (point) { return point[0]; });
                if (Math.min(...x_values) > 0 && Math.max(...x_values) > 10 * Math.min(...x_values)) {
                    options.xaxis.transform = function (v) { return v > 0 ? Math.log2(v) : null; };
                    options.xaxis.inverseTransform = function (v) { return Math.pow(2, v); };
                    options.xaxis.ticks = x_values;
                    options.xaxis.tickFormatter = function (v) { return '' + v; };
                }
            }
            var param_names""",
)

# asv shows the first eight curves of the grid. Where machines measure different parts of a grid, those may
# all be empty: show the first eight of a part that was measured, and no curve without a point.
_FIRST_CURVES_MEASURED = Edit(
    """\
                    for (var j = 0; j < param_values.length && (j+1)*count <= max_curves; ++j) {
                        item.push(j);
                    }""",
    f"""\
                    var first_view = index.benchmarks[current_benchmark].{FIRST_VIEW}[k];
                    for (var j = 0; j < first_view.length && (j+1)*count <= max_curves; ++j) {{
                        item.push(first_view[j]);
                    }}""",
)
_NO_EMPTY_CURVES = before(
    "                    orig_graphs.push({\n",
    "                    if (series.every(function (point) { return point[1] === null; })) {\n"
    "                        return;\n"
    "                    }\n",
)
_NO_EMPTY_ROWS = before(
    "            var tr = $('<tr/>');\n            var name_td",
    "            if (row.last_value === null) {\n                return;\n            }\n",
)

# A line needs two commits: after the first run the grid was all empty boxes.
_SINGLE_POINTS = Edit(
    "                var plot = $.plot(\n                    plot_div, [{data: data}], options);",
    "                if (data.length === 1) {\n"
    "                    options.series.points = {show: true};\n"
    "                    options.yaxis.max = 2 * data[0][1];\n"
    "                }\n"
    "                var plot = $.plot(\n                    plot_div, [{data: data}], options);",
)


def repair_pages(html_dir: Path, benchmarks: Mapping[str, dict[str, Any]], graphs: Any) -> None:
    """Edit the scripts of the graph page, the list and the grid, and add a `first_view` to each definition.

    Args:
        html_dir: the folder of the site.
        benchmarks: definitions by full name.
        graphs: asv's, with every value that the site shows.

    Raises:
        UserError: a script of asv has changed.
    """
    edit_page(
        html_dir / "graphdisplay.js",
        _SCALE_FROM_ADDRESS,
        _UNIT_OF_LARGEST,
        _LOGARITHMIC_LENGTHS,
        _FIRST_CURVES_MEASURED,
        _NO_EMPTY_CURVES,
    )
    edit_page(html_dir / "summarylist.js", _NO_EMPTY_ROWS)
    edit_page(html_dir / "summarygrid.js", _SINGLE_POINTS)
    for name, definition in benchmarks.items():
        measured = _measured(graphs.get_graph_group(name), definition["params"])
        definition[FIRST_VIEW] = first_view(measured, definition["params"])


def _measured(graphs: Iterable[Any], params: list[list[str]]) -> list[set[Combination]]:
    """The cells that each of a benchmark's graphs has a value of, the graph with the newest value first."""
    newest_first = sorted(graphs, key=lambda graph: (-max(graph.data_points), graph.path))
    return [
        {
            cell
            for points in graph.data_points.values()
            for values in points
            for cell, value in zip(product(*params), values, strict=True)
            if not is_na(value)
        }
        for graph in newest_first
    ]


def first_view(measured: Iterable[set[Combination]], params: list[list[str]]) -> list[list[int]]:
    """The values to show of each parameter, as indices: those measured around one measured cell.

    Args:
        measured: the cells that were measured in each setting; the first that has any decides.
        params: the parameters' values.
    """
    for cells in filter(None, measured):
        first = min(cells, key=lambda cell: _position(cell, params))
        return [
            [index for index, value in enumerate(values) if _with(first, axis, value) in cells]
            for axis, values in enumerate(params)
        ]
    return [list(range(len(values))) for values in params]


def _position(cell: Combination, params: list[list[str]]) -> list[int]:
    """Where a cell is in the grid; behind it, if the grid no longer has one of its values."""
    return [
        values.index(value) if value in values else len(values)
        for value, values in zip(cell, params, strict=True)
    ]


def _with(cell: Combination, axis: int, value: str) -> Combination:
    return (*cell[:axis], value, *cell[axis + 1 :])
