"""The sizes that decide what a Mamba model computes.

In: a transformers configuration, read by attribute only. Out: frozen sizes under one set of names for both
model kinds, so that no formula depends on transformers.
"""

from dataclasses import dataclass
from typing import Any

from perfmamba.errors import InputError


@dataclass(frozen=True)
class _SharedDimensions:
    """The sizes that both kinds of model have.

    Attributes:
        n_layers: blocks in the model.
        d_model: width of the residual stream.
        d_inner: channels of the scan, D; `expand * d_model` in the published models.
        d_state: states per channel, N.
        d_conv: taps of the causal convolution, K.
        vocab_size: rows of the embedding and of lm_head, padding included.
        use_bias: whether in_proj and out_proj add a bias.
        use_conv_bias: whether the convolution adds a bias.
    """

    n_layers: int
    d_model: int
    d_inner: int
    d_state: int
    d_conv: int
    vocab_size: int
    use_bias: bool
    use_conv_bias: bool


@dataclass(frozen=True)
class Mamba1Dimensions(_SharedDimensions):
    """The sizes of a Mamba-1 model.

    Attributes:
        dt_rank: columns of x_proj that dt_proj expands to one dt for each channel.
    """

    dt_rank: int

    @property
    def in_proj_features(self) -> int:
        """Outputs of in_proj: x and z."""
        return 2 * self.d_inner

    @property
    def conv_channels(self) -> int:
        """Channels of the convolution: x."""
        return self.d_inner


@dataclass(frozen=True)
class Mamba2Dimensions(_SharedDimensions):
    """The sizes of a Mamba-2 model, which may be pruned and have a bridge.

    Attributes:
        n_heads: heads of the scan, H; each has one dt and one A.
        n_groups: groups of heads that share B and C, G.
        chunk_size: positions in a chunk of the SSD algorithm, Q.
        bridged_b: entries of B in each group that a bridge maps to N; None if B already has N entries.
        bridged_c: entries of C in each group that a bridge maps to N; None if C already has N entries.
    """

    n_heads: int
    n_groups: int
    chunk_size: int
    bridged_b: int | None = None
    bridged_c: int | None = None

    @property
    def head_dim(self) -> int:
        """Channels of one head, P."""
        return self.d_inner // self.n_heads

    @property
    def in_proj_features(self) -> int:
        """Outputs of in_proj: z, x, B, C and one dt for each head."""
        return self.d_inner + self.conv_channels + self.n_heads

    @property
    def bc_channels(self) -> int:
        """Entries of B and C in all groups, before a bridge."""
        return self.n_groups * ((self.bridged_b or self.d_state) + (self.bridged_c or self.d_state))

    @property
    def bridge_weights(self) -> int:
        """Weights of the bridge's matrices, which map these entries to N; 0 without a bridge."""
        return self.n_groups * ((self.bridged_b or 0) + (self.bridged_c or 0)) * self.d_state

    @property
    def conv_channels(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.d_inner + self.bc_channels


Dimensions = Mamba1Dimensions | Mamba2Dimensions

COUNTED_MODELS = ("mamba", "mamba2", "perfmamba_mamba2")
"""Values of `model_type` that `dimensions` supports; the last is a pruned Mamba-2 with a bridge."""


def dimensions(config: Any) -> Dimensions:
    """The sizes in a `MambaConfig` or `Mamba2Config` of transformers, or a `BridgedMamba2Config` of ours.

    Raises:
        InputError: `config.model_type` is not in `COUNTED_MODELS`.
    """
    model_type = getattr(config, "model_type", None)
    if model_type not in COUNTED_MODELS:
        message = f"cannot count a model of type {model_type!r}: known are {', '.join(COUNTED_MODELS)}"
        raise InputError(message)
    shared = {
        "n_layers": config.num_hidden_layers,
        "d_model": config.hidden_size,
        "d_inner": int(config.expand * config.hidden_size),
        "d_state": config.state_size,
        "d_conv": config.conv_kernel,
        "vocab_size": config.vocab_size,
        "use_bias": config.use_bias,
        "use_conv_bias": config.use_conv_bias,
    }
    if model_type == "mamba":
        return Mamba1Dimensions(**shared, dt_rank=int(config.time_step_rank))
    bridged = config.projected_state_size if model_type == "perfmamba_mamba2" else None
    return Mamba2Dimensions(
        **shared,
        n_heads=config.num_heads,
        n_groups=config.n_groups,
        chunk_size=config.chunk_size,
        bridged_b=bridged if bridged and config.mixes_b else None,
        bridged_c=bridged,
    )
