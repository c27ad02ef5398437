"""FLOPs and moved elements of everything but the scan: norms, projections, convolution, embedding, lm_head.

In: sizes. Out: a `Count`. A multiply-add is 2 FLOPs; any other addition, multiplication, division,
exponential, logarithm or root is 1; comparisons, negations, casts and copies are 0. Traffic is the least
possible: a component reads each of its inputs and weights once and writes each of its outputs once.
"""

from dataclasses import dataclass

SILU_FLOPS = 3
"""x / (1 + exp(-x)): exponential, addition, division."""

SOFTPLUS_FLOPS = 3
"""log(1 + exp(x)): exponential, addition, logarithm."""


@dataclass(frozen=True)
class Count:
    """The FLOPs and the memory traffic of a part of a model.

    Attributes:
        matmul_flops: in matrix products and convolutions, two per multiply-add. This is the part that
            `torch.utils.flop_counter` can see.
        elementwise_flops: in all other operations.
        elements: activations and weights read or written, in the model's dtype.
        state_elements: scan state read or written, in the state's own dtype.
    """

    matmul_flops: int = 0
    elementwise_flops: int = 0
    elements: int = 0
    state_elements: int = 0

    @property
    def flops(self) -> int:
        """All FLOPs."""
        return self.matmul_flops + self.elementwise_flops

    def moved_bytes(self, *, element_bytes: int, state_bytes: int = 4) -> int:
        """The least traffic in bytes. transformers keeps the scan state in float32, hence the default."""
        return self.elements * element_bytes + self.state_elements * state_bytes

    def __add__(self, other: "Count") -> "Count":
        return Count(
            self.matmul_flops + other.matmul_flops,
            self.elementwise_flops + other.elementwise_flops,
            self.elements + other.elements,
            self.state_elements + other.state_elements,
        )

    def __mul__(self, times: int) -> "Count":
        return Count(
            self.matmul_flops * times,
            self.elementwise_flops * times,
            self.elements * times,
            self.state_elements * times,
        )


def rms_norm(features: int, *, tokens: int, groups: int = 1) -> Count:
    """RMSNorm, y = w x / sqrt(mean(x^2) + eps), with a mean for each of `groups` equal parts.

    Per feature: a multiply-add into the sum of squares, a product with the root, a product with w.
    Per group: division (mean), addition (eps), root.
    Source: `Mamba2RMSNorm.forward` and `MambaRMSNormGated.forward` in transformers.
    """
    return Count(elementwise_flops=tokens * (4 * features + 3 * groups), elements=(2 * tokens + 1) * features)


def gated_rms_norm(features: int, *, tokens: int, groups: int) -> Count:
    """The RMSNorm of y SiLU(z), which closes a Mamba-2 mixer.

    Source: Mamba-2 paper (arXiv 2405.21060), section 7.1; `MambaRMSNormGated.forward` in transformers.
    """
    gate = Count(elementwise_flops=tokens * features * (SILU_FLOPS + 1), elements=tokens * features)
    return rms_norm(features, tokens=tokens, groups=groups) + gate


def linear(in_features: int, out_features: int, *, tokens: int, bias: bool = False) -> Count:
    """A linear layer, y = x W^T + b: in_proj, out_proj, x_proj, dt_proj, lm_head."""
    weights = (in_features + bias) * out_features
    return Count(
        matmul_flops=2 * tokens * in_features * out_features,
        elementwise_flops=tokens * out_features * bias,
        elements=tokens * (in_features + out_features) + weights,
    )


def causal_conv(channels: int, taps: int, *, tokens: int, state_passes: int, bias: bool) -> Count:
    """SiLU of a depthwise causal convolution.

    Each output takes `taps` multiply-adds; zero padding counts like any input. The cached window is in the
    model's dtype and has `taps` columns for each channel, as in transformers.
    Source: `causal_conv1d_fn` and `causal_conv1d_update` in transformers; Mamba paper (arXiv 2312.00752),
    figure 3.

    Args:
        channels: convolved channels.
        taps: K.
        tokens: outputs of each channel, summed over the batch.
        state_passes: reads and writes of one sequence's cached window, summed over the batch.
        bias: whether the convolution adds a bias.
    """
    return Count(
        matmul_flops=2 * tokens * channels * taps,
        elementwise_flops=tokens * channels * (SILU_FLOPS + bias),
        elements=channels * (2 * tokens + taps + bias + state_passes * taps),
    )


def embedding(d_model: int, *, tokens: int) -> Count:
    """The embedding: one row is copied for each token. Reading the token ids is not counted."""
    return Count(elements=2 * tokens * d_model)


def residual_add(d_model: int, *, tokens: int) -> Count:
    """The sum of the residual stream and the mixer's output: two reads, one write."""
    return Count(elementwise_flops=tokens * d_model, elements=3 * tokens * d_model)
