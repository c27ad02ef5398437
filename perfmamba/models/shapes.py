"""The published Mamba-1 and Mamba-2 models as transformers configurations.

In: a name such as `mamba2-130m`. Out: a `MambaConfig` or `Mamba2Config` of exactly that shape. The sizes
are those of the `config.json` files of the `state-spaces/*` checkpoints; what those leave to the code's
defaults (state size, heads, chunk) is spelled out here.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from perfmamba.components import Generation
from perfmamba.errors import ModelError

if TYPE_CHECKING:
    from transformers import Mamba2Config, MambaConfig

_GPT_NEOX_VOCABULARY = 50277
_END_OF_TEXT = 0


@dataclass(frozen=True)
class PublishedShape:
    """What tells one published checkpoint from another of its generation.

    Attributes:
        generation: 1 for Mamba-1, 2 for Mamba-2.
        d_model: width of the residual stream.
        n_layer: number of blocks.
    """

    generation: Generation
    d_model: int
    n_layer: int


PUBLISHED_SHAPES: dict[str, PublishedShape] = {
    "mamba-130m": PublishedShape(1, 768, 24),
    "mamba-370m": PublishedShape(1, 1024, 48),
    "mamba-790m": PublishedShape(1, 1536, 48),
    "mamba-1.4b": PublishedShape(1, 2048, 48),
    "mamba-2.8b": PublishedShape(1, 2560, 64),
    "mamba2-130m": PublishedShape(2, 768, 24),
    "mamba2-370m": PublishedShape(2, 1024, 48),
    "mamba2-780m": PublishedShape(2, 1536, 48),
    "mamba2-1.3b": PublishedShape(2, 2048, 48),
    "mamba2-2.7b": PublishedShape(2, 2560, 64),
}


def published_config(
    name: str, *, layers: int | None = None, state_size: int | None = None
) -> "MambaConfig | Mamba2Config":
    """The configuration of a published model, optionally with fewer blocks or another state size.

    Args:
        name: a key of `PUBLISHED_SHAPES`.
        layers: number of blocks to keep, from 1 to the model's own; None keeps all.
        state_size: N, the state's entries for each channel; None keeps the published 16 (Mamba-1) or 128.

    Raises:
        ModelError: if the name is unknown, or `layers` or `state_size` is out of range.
    """
    shape = PUBLISHED_SHAPES.get(name)
    if shape is None:
        raise ModelError(f"unknown model {name!r}; the published shapes are {', '.join(PUBLISHED_SHAPES)}")
    n_layer = checked_layers(layers, shape.n_layer)
    if state_size is not None and state_size < 1:
        raise ModelError(f"state_size={state_size}: a state has at least 1 entry for each channel")
    if shape.generation == 1:
        return mamba1_config(d_model=shape.d_model, n_layer=n_layer, d_state=state_size or 16)
    return mamba2_config(d_model=shape.d_model, n_layer=n_layer, d_state=state_size or 128)


def checked_layers(layers: int | None, available: int) -> int:
    """The number of blocks to keep out of `available`.

    Raises:
        ModelError: if `layers` is not between 1 and `available`.
    """
    if layers is None:
        return available
    if not 1 <= layers <= available:
        raise ModelError(f"layers={layers}: this model has {available}; give a number from 1 to {available}")
    return layers


def mamba1_config(
    *,
    d_model: int,
    n_layer: int,
    vocab_size: int = _GPT_NEOX_VOCABULARY,
    pad_vocab_size_multiple: int = 8,
    d_state: int = 16,
    d_conv: int = 4,
    expand: int = 2,
    dt_rank: int | Literal["auto"] = "auto",
    tie_embeddings: bool = True,
    residual_in_fp32: bool = True,
) -> "MambaConfig":
    """A Mamba-1 configuration from the names that `state-spaces/mamba-*` uses in config.json."""
    from transformers import MambaConfig

    return MambaConfig(
        vocab_size=_padded(vocab_size, pad_vocab_size_multiple),
        hidden_size=d_model,
        num_hidden_layers=n_layer,
        state_size=d_state,
        conv_kernel=d_conv,
        expand=expand,
        time_step_rank=dt_rank,
        tie_word_embeddings=tie_embeddings,
        residual_in_fp32=residual_in_fp32,
        bos_token_id=_END_OF_TEXT,
        eos_token_id=_END_OF_TEXT,
        pad_token_id=_END_OF_TEXT,
    )


def mamba2_config(
    *,
    d_model: int,
    n_layer: int,
    vocab_size: int = _GPT_NEOX_VOCABULARY,
    pad_vocab_size_multiple: int = 16,
    d_state: int = 128,
    d_conv: int = 4,
    expand: int = 2,
    headdim: int = 64,
    ngroups: int = 1,
    chunk_size: int = 256,
    tie_embeddings: bool = True,
    residual_in_fp32: bool = True,
) -> "Mamba2Config":
    """A Mamba-2 configuration from the names that `state-spaces/mamba2-*` uses in config.json."""
    from transformers import Mamba2Config

    return Mamba2Config(
        vocab_size=_padded(vocab_size, pad_vocab_size_multiple),
        hidden_size=d_model,
        num_hidden_layers=n_layer,
        state_size=d_state,
        conv_kernel=d_conv,
        expand=expand,
        head_dim=headdim,
        num_heads=expand * d_model // headdim,
        n_groups=ngroups,
        chunk_size=chunk_size,
        tie_word_embeddings=tie_embeddings,
        residual_in_fp32=residual_in_fp32,
        bos_token_id=_END_OF_TEXT,
        eos_token_id=_END_OF_TEXT,
        pad_token_id=_END_OF_TEXT,
    )


def _padded(vocab_size: int, multiple: int) -> int:
    return -(-vocab_size // multiple) * multiple
