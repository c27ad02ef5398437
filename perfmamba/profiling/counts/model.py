"""FLOPs and moved elements of a whole forward pass, by component.

In: a model's sizes and a workload. Out: a `ModelCount`. Every layer of these models costs the same, so one
layer is counted and multiplied.
"""

from dataclasses import dataclass
from typing import Literal

from perfmamba.components import COMPONENTS, OTHER, Component
from perfmamba.errors import InputError
from perfmamba.profiling.counts.dimensions import Dimensions, Mamba1Dimensions
from perfmamba.profiling.counts.layers import (
    Count,
    causal_conv,
    embedding,
    gated_rms_norm,
    linear,
    residual_add,
    rms_norm,
)
from perfmamba.profiling.counts.scans import SsdForm, mamba1_ssm, mamba2_ssm

Mode = Literal["prefill", "decode"]


@dataclass(frozen=True)
class ModelCount:
    """The counts of one forward pass.

    Attributes:
        n_layers: layers in the model.
        layer: the count of each component in one layer; all layers are equal.
        final_norm: the norm after the last layer; `totals` adds it to the component `norm`.
        other: embedding, residual sums of all layers, and lm_head on one position of each sequence.
    """

    n_layers: int
    layer: dict[Component, Count]
    final_norm: Count
    other: Count

    def totals(self) -> dict[str, Count]:
        """The count of each component in the whole model, in the order of `COMPONENTS`, then `other`."""
        summed: dict[str, Count] = {name: self.layer[name] * self.n_layers for name in COMPONENTS}
        summed["norm"] += self.final_norm
        return summed | {OTHER: self.other}

    def total(self) -> Count:
        """The count of the whole forward pass."""
        return sum(self.totals().values(), start=Count())


def count(
    dims: Dimensions, *, batch: int, seqlen: int, mode: Mode = "prefill", ssd_form: SsdForm = "chunked"
) -> ModelCount:
    """The FLOPs and least traffic of one forward pass.

    A prefill starts from empty caches. It writes the final convolution window and scan state of each layer
    once. A decode step reads and writes them.

    Args:
        dims: the model's sizes.
        batch: sequences.
        seqlen: positions of a prefill. It does not change the counts of a decode step, which computes one
            position of each sequence.
        mode: a prefill, or one decode step.
        ssd_form: how a Mamba-2 prefill scans. Mamba-1 and decode steps always use the recurrence.

    Raises:
        InputError: `batch` or `seqlen` is below 1.
    """
    if batch < 1 or seqlen < 1:
        message = f"cannot count batch {batch} of length {seqlen}: both must be at least 1"
        raise InputError(message)
    decode = mode == "decode"
    steps = 1 if decode else seqlen
    return ModelCount(
        n_layers=dims.n_layers,
        layer=_layer(
            dims,
            batch=batch,
            seqlen=steps,
            ssd_form="recurrent" if decode else ssd_form,
            state_passes=2 * batch if decode else batch,
        ),
        final_norm=rms_norm(dims.d_model, tokens=batch * steps),
        other=_other(dims, batch=batch, seqlen=steps),
    )


def _layer(
    dims: Dimensions, *, batch: int, seqlen: int, ssd_form: SsdForm, state_passes: int
) -> dict[Component, Count]:
    tokens = batch * seqlen
    norm = rms_norm(dims.d_model, tokens=tokens)
    if isinstance(dims, Mamba1Dimensions):
        ssm = mamba1_ssm(dims, tokens=tokens, state_passes=state_passes)
    else:
        norm += gated_rms_norm(dims.d_inner, tokens=tokens, groups=dims.n_groups)
        ssm = mamba2_ssm(dims, batch=batch, seqlen=seqlen, form=ssd_form, state_passes=state_passes)
    return {
        "norm": norm,
        "in_proj": linear(dims.d_model, dims.in_proj_features, tokens=tokens, bias=dims.use_bias),
        "conv": causal_conv(
            dims.conv_channels,
            dims.d_conv,
            tokens=tokens,
            state_passes=state_passes,
            bias=dims.use_conv_bias,
        ),
        "ssm": ssm,
        "out_proj": linear(dims.d_inner, dims.d_model, tokens=tokens, bias=dims.use_bias),
    }


def _other(dims: Dimensions, *, batch: int, seqlen: int) -> Count:
    tokens = batch * seqlen
    return (
        embedding(dims.d_model, tokens=tokens)
        + residual_add(dims.d_model, tokens=tokens) * dims.n_layers
        + linear(dims.d_model, dims.vocab_size, tokens=batch)
    )
