"""Addresses inside asv's site: the graph that shows a cell, or a row of cells."""

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

Pair = tuple[str, str | None]


def graph_link(
    benchmark: str,
    *,
    chosen: Mapping[str, str | Sequence[str]],
    setting: Mapping[str, str | None],
    x_axis: str | None = None,
    log_y: bool = False,
) -> str:
    """The address of a benchmark's graph, from its `#` on.

    Args:
        benchmark: asv's full name of it.
        chosen: parameters to hold, by name; one value or several, as asv writes them (`repr`).
        setting: machine, Python and so on to show, by asv's names; None where a result lacks one.
        x_axis: the parameter along the x axis; commits without one.
        log_y: a logarithmic y axis.
    """
    pairs: list[Pair] = list(setting.items())
    for name, values in chosen.items():
        pairs += [(f"p-{name}", value) for value in ([values] if isinstance(values, str) else values)]
    if x_axis:
        pairs.append(("x-axis", x_axis))
    if log_y:
        pairs.append(("y-axis-scale", "log"))
    return f"#{quote(benchmark)}?{_query(pairs)}"


def _query(pairs: Iterable[Pair]) -> str:
    return "&".join(
        f"{quote(name, safe='')}={quote('[none]' if value is None else value, safe='')}"
        for name, value in pairs
    )
