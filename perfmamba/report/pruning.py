"""What pruning should change in a model's cost, as a table."""

from perfmamba.pruning.cost import MANY_SEQUENCES, PREFILL_TOKENS, ExpectedCost
from perfmamba.table import Column, Table

_COLUMNS = (
    Column("what", "Expected from the shapes"),
    Column("before", "Before", ",d"),
    Column("after", "After", ",d"),
    Column("ratio", "After / before", ".3f"),
)
_LABELS = {
    "parameters": "parameters",
    "prefill_flops": f"FLOPs, {PREFILL_TOKENS} tokens of one sequence",
    "decode_flops": "FLOPs, one token",
    "state_bytes": "bytes cached for a sequence",
    "decode_bytes": "bytes moved by a decode step",
    "decode_many_bytes": f"bytes moved by a decode step of {MANY_SEQUENCES} sequences",
}


def cost_table(
    before: ExpectedCost, after: ExpectedCost, *, title: str, notes: tuple[str, ...] = ()
) -> Table:
    """Each cost before and after pruning; what is not known of a model is left out."""
    rows = tuple(
        (label, old, new, new / old)
        for name, label in _LABELS.items()
        if (old := getattr(before, name)) and (new := getattr(after, name))
    )
    return Table(title, _COLUMNS, rows, notes=notes)
