"""What a pruned model should cost, from its shapes alone.

In: a model. Out: its size, its work and its state, by the formulas of `perfmamba.profiling.counts`. These are
lower bounds on work and traffic, not times.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfmamba.profiling.counts import COUNTED_MODELS, Count, Dimensions, Mode, count, dimensions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFILL_TOKENS = 2048
MANY_SEQUENCES = 64
_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class ExpectedCost:
    """The cost of a model; None where its shapes are not known to the counter.

    Attributes:
        parameters: weights, those that are tied counted once.
        prefill_flops: of one sequence of `PREFILL_TOKENS`.
        decode_flops: of one token.
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


def expected_cost(model: "PreTrainedModel", *, element_bytes: int) -> ExpectedCost:
    """What a model should cost with weights and activations of `element_bytes` each."""
    parameters = sum(weight.numel() for weight in model.parameters())
    if model.config.model_type not in COUNTED_MODELS:
        return ExpectedCost(parameters)
    sizes = dimensions(model.config)

    def moved(batch: int) -> int:
        return _counted(sizes, batch, 1, "decode").moved_bytes(element_bytes=element_bytes)

    return ExpectedCost(
        parameters=parameters,
        prefill_flops=_counted(sizes, 1, PREFILL_TOKENS, "prefill").flops,
        decode_flops=_counted(sizes, 1, 1, "decode").flops,
        state_bytes=_state_bytes(sizes, element_bytes),
        decode_bytes=moved(1),
        decode_many_bytes=moved(MANY_SEQUENCES),
    )


def _counted(sizes: Dimensions, batch: int, seqlen: int, mode: Mode) -> Count:
    return count(sizes, batch=batch, seqlen=seqlen, mode=mode).total()


def _state_bytes(sizes: Dimensions, element_bytes: int) -> int:
    scan = sizes.d_inner * sizes.d_state * _FLOAT32_BYTES
    window = sizes.conv_channels * sizes.d_conv * element_bytes
    return sizes.n_layers * (scan + window)
