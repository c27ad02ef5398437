"""Repairs of asv's graph page that deep links need; each is one exact edit of its script.

In: the folder that `asv publish` has just written. Out: the same, with a changed graphdisplay.js.
"""

from pathlib import Path

from benchmarks.meter.site.edits import Edit, before, edit_page

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


def repair_graph_page(html_dir: Path) -> None:
    """Edit the graph page's script.

    Raises:
        UserError: asv's script has changed.
    """
    edit_page(html_dir / "graphdisplay.js", _SCALE_FROM_ADDRESS, _UNIT_OF_LARGEST, _LOGARITHMIC_LENGTHS)
