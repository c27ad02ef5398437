"""What follows from the shapes of a pruned model: its parameters, its work, its state and its traffic.

In: a model. Out: `ExpectedSizes`, by the formulas of `perfmamba.profiling.counts`, and a table of them before
and after pruning. They are lower bounds on work and traffic, not times.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfmamba.profiling.counts import COUNTED_MODELS, Count, Dimensions, Mode, count, dimensions
from perfmamba.table import Column, Table

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFILL_TOKENS = 2048
MANY_SEQUENCES = 64
_FLOAT32_BYTES = 4

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


@dataclass(frozen=True)
class ExpectedSizes:
    """What follows from the shapes of a model; None where the formulas do not cover its kind.

    Attributes:
        parameters: number of weights; tied weights count once.
        prefill_flops: FLOPs of a prefill of one sequence of `PREFILL_TOKENS`.
        decode_flops: FLOPs of one decoded token.
        state_bytes: what is cached for one sequence: scan states in float32, convolution windows in the
            weights' dtype.
        decode_bytes: least traffic of a decode step of one sequence.
        decode_many_bytes: least traffic of a decode step of `MANY_SEQUENCES` sequences.
    """

    parameters: int
    prefill_flops: int | None = None
    decode_flops: int | None = None
    state_bytes: int | None = None
    decode_bytes: int | None = None
    decode_many_bytes: int | None = None


def expected_sizes(model: "PreTrainedModel", *, element_bytes: int) -> ExpectedSizes:
    """Count what follows from a model's shapes, with weights and activations of `element_bytes` each."""
    parameters = sum(weight.numel() for weight in model.parameters())
    if model.config.model_type not in COUNTED_MODELS:
        return ExpectedSizes(parameters)
    sizes = dimensions(model.config)

    def moved(batch: int) -> int:
        return _counted(sizes, batch, 1, "decode").moved_bytes(element_bytes=element_bytes)

    return ExpectedSizes(
        parameters=parameters,
        prefill_flops=_counted(sizes, 1, PREFILL_TOKENS, "prefill").flops,
        decode_flops=_counted(sizes, 1, 1, "decode").flops,
        state_bytes=_state_bytes(sizes, element_bytes),
        decode_bytes=moved(1),
        decode_many_bytes=moved(MANY_SEQUENCES),
    )


def sizes_table(
    before: ExpectedSizes, after: ExpectedSizes, *, title: str, notes: tuple[str, ...] = ()
) -> Table:
    """Tabulate the sizes before and after pruning; sizes that are not known are left out."""
    rows = tuple(
        (label, old, new, new / old)
        for name, label in _LABELS.items()
        if (old := getattr(before, name)) and (new := getattr(after, name))
    )
    return Table(title, _COLUMNS, rows, notes=notes)


def _counted(sizes: Dimensions, batch: int, seqlen: int, mode: Mode) -> Count:
    return count(sizes, batch=batch, seqlen=seqlen, mode=mode).total()


def _state_bytes(sizes: Dimensions, element_bytes: int) -> int:
    scan = sizes.d_inner * sizes.d_state * _FLOAT32_BYTES
    window = sizes.conv_channels * sizes.d_conv * element_bytes
    return sizes.n_layers * (scan + window)
