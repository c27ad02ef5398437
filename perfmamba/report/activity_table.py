"""How many states of each layer do the work, as a table.

In: an `Activity`. Out: a `Table` with a row for each layer.
"""

from torch import Tensor

from perfmamba.pruning.activity import Activity
from perfmamba.table import Column, Table

_SHARES = (0.9, 0.99, 0.999)
_COLUMNS = (
    Column("layer", "Layer"),
    Column("mean_dt", "Mean dt", ".4g"),
    Column("state_energy", "E[h²], sum", ".4g"),
    Column("output", "E[C² h²], sum", ".4g"),
    *(Column(f"states_{share:.1%}", f"States for\n{share:.1%}") for share in _SHARES),
)


def activity_table(activity: Activity, *, title: str) -> Table:
    """Tabulate what the states of each layer hold and put out, and how few of them make up most of it."""
    rows = tuple(
        (
            number,
            layer.dt.mean().item(),
            layer.energy.sum().item(),
            layer.output.sum().item(),
            *(fewest(layer.output, share) for share in _SHARES),
        )
        for number, layer in enumerate(activity.layers)
    )
    states = activity.layers[0].output.numel()
    notes = (
        f"States for 99.0%: how many of the {states} states of a layer have that share of its E[C² h²].",
        f"Means over {activity.tokens:,} tokens.",
    )
    return Table(title, _COLUMNS, rows, notes=notes)


def fewest(amounts: Tensor, share: float) -> int:
    """How many of the largest amounts it takes to reach a share of their sum."""
    ranked = amounts.flatten().sort(descending=True).values
    return int((ranked.cumsum(0) < share * ranked.sum()).sum()) + 1
