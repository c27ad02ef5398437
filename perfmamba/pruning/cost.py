"""What a pruned model should cost, from its shapes alone.

In: a model. Out: its size, its work and its state, by the formulas of `perfmamba.profiling.counts` and, for a
bridge, the same conventions. These are lower bounds on work and traffic, not times.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from perfmamba.profiling.counts import Count, Mode, count, dimensions
from perfmamba.profiling.counts.layers import causal_conv

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFILL_TOKENS = 2048
MANY_SEQUENCES = 64
_FLOAT32_BYTES = 4
_COUNTED = {"mamba", "mamba2", "perfmamba_mamba2"}


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
    config: Any = model.config
    if config.model_type not in _COUNTED:
        return ExpectedCost(parameters)

    def moved(batch: int) -> int:
        return _counted(config, batch, 1, "decode").moved_bytes(element_bytes=element_bytes)

    return ExpectedCost(
        parameters=parameters,
        prefill_flops=_counted(config, 1, PREFILL_TOKENS, "prefill").flops,
        decode_flops=_counted(config, 1, 1, "decode").flops,
        state_bytes=_state_bytes(config, element_bytes),
        decode_bytes=moved(1),
        decode_many_bytes=moved(MANY_SEQUENCES),
    )


def _counted(config: Any, batch: int, seqlen: int, mode: Mode) -> Count:
    total: Count = count(_plain_dimensions(config), batch=batch, seqlen=seqlen, mode=mode).total()
    if config.model_type != "perfmamba_mamba2":
        return total
    state_passes = 2 * batch if mode == "decode" else batch
    return total + _bridge(config, batch * seqlen, state_passes) * int(config.num_hidden_layers)


def _plain_dimensions(config: Any) -> Any:
    """The sizes of a model; of one with a bridge, those of a model with as many states and no bridge."""
    if config.model_type != "perfmamba_mamba2":
        return dimensions(config)
    return dimensions(SimpleNamespace(**(config.to_dict() | {"model_type": "mamba2"})))


def _bridge(config: Any, tokens: int, state_passes: int) -> Count:
    """What a bridge adds to one layer: wider B and C out of in_proj and the convolution, and its products."""
    groups, entries, states = config.n_groups, config.projected_state_size, config.state_size
    channels, matrices = _extra_channels(config), 2 if config.bridge == "balanced" else 1
    in_proj = Count(
        matmul_flops=2 * tokens * config.hidden_size * channels,
        elementwise_flops=tokens * channels * config.use_bias,
        elements=channels * (tokens + config.hidden_size + config.use_bias),
    )
    conv = causal_conv(
        channels,
        config.conv_kernel,
        tokens=tokens,
        state_passes=state_passes,
        bias=config.use_conv_bias,
    )
    products = Count(
        matmul_flops=2 * tokens * matrices * groups * entries * states,
        elements=matrices * groups * (entries * states + tokens * (entries + states)),
    )
    return in_proj + conv + products


def _extra_channels(config: Any) -> int:
    """Channels of B and C before a bridge, over those behind it; 0 without one."""
    if config.model_type != "perfmamba_mamba2":
        return 0
    entries: int = config.b_entries + config.projected_state_size - 2 * config.state_size
    return entries * int(config.n_groups)


def _state_bytes(config: Any, element_bytes: int) -> int:
    sizes = _plain_dimensions(config)
    channels = sizes.conv_channels + _extra_channels(config)
    scan = sizes.d_inner * sizes.d_state * _FLOAT32_BYTES
    window = channels * sizes.d_conv * element_bytes
    return int(sizes.n_layers * (scan + window))
