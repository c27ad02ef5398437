"""`perfmamba parse`: what each part of a trace costs."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perfmamba.commands.options import Format, Switch
from perfmamba.components import BY_MEANING, By
from perfmamba.errors import InputError
from perfmamba.table import terminal_width
from perfmamba.terminal import show_table

_BY_HELP = (
    f"What a row is: {'; '.join(f'{name} ({meaning})' for name, meaning in BY_MEANING.items())}. "
    "A trace without PerfMamba's ranges is split by the ranges, modules or operators that it has."
)


def parse(
    traces: Annotated[list[Path], Parameter(negative="")],
    /,
    *,
    by: Annotated[By, Parameter(help=_BY_HELP)] = "component",
    top: int | None = None,
    format: Format = "text",
    partial: Annotated[bool, Switch] = False,
) -> None:
    """Break a Kineto trace down by component, layer, kernel or operator.

    Args:
        traces: Traces of any torch profiler, .json or .json.gz.
        top: Show only the costliest rows, and the sum of the others.
        partial: Read a truncated trace up to the cut.
    """
    from perfmamba import api
    from perfmamba.report.breakdown import label_width

    if top is not None and top < 1:
        raise InputError(f"--top {top}: give a number of at least 1")
    if len(traces) > 1 and format in {"csv", "json"}:
        raise InputError(f"--format {format} takes one trace at a time; you gave {len(traces)}")
    width = label_width(terminal_width()) if format == "text" else None
    for path in traces:
        show_table(api.parse(path, by=by, partial=partial).table(top, label_width=width), format)
