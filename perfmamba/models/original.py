"""Checkpoints in the layout of the original `state-spaces/*` repositories.

config.json holds `d_model`, `n_layer`, `ssm_cfg`, ...; the weights carry the names of transformers except
for the embedding. Read: such a folder becomes a transformers model. Written: a transformers model becomes
such a folder.
"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from perfmamba.errors import ModelError, reason
from perfmamba.models.shapes import checked_layers, mamba1_config, mamba2_config

if TYPE_CHECKING:
    from transformers import Mamba2Config, MambaConfig, PreTrainedModel

_SHARED_KEYS = ("vocab_size", "pad_vocab_size_multiple", "tie_embeddings", "residual_in_fp32")
_MAMBA1_SSM_KEYS = {"d_state", "d_conv", "expand", "dt_rank"}
_MAMBA2_SSM_KEYS = {"d_state", "d_conv", "expand", "headdim", "ngroups", "chunk_size"}
_FIXED = {"hidden_act": "silu", "layer_norm_epsilon": 1e-5, "use_bias": False, "use_conv_bias": True}
"""What config.json has no key for, because the original code always does it so."""

_THEIR_EMBEDDING, _OUR_EMBEDDING = "backbone.embedding.", "backbone.embeddings."


def is_original_config(config: dict[str, Any]) -> bool:
    """Whether a config.json is of the original layout: it has `ssm_cfg` and no `model_type`."""
    return "ssm_cfg" in config and "model_type" not in config


def load_original(
    folder: Path, config: dict[str, Any], *, name: str, layers: int | None, dtype: torch.dtype
) -> tuple["PreTrainedModel", int]:
    """Load a `state-spaces/*` checkpoint as a transformers model.

    Returns:
        The model and the number of blocks that the whole checkpoint has.

    Raises:
        ModelError: if the configuration asks for parts that a pure Mamba model lacks, or the weights do
            not fit it.
    """
    from transformers import Mamba2ForCausalLM, MambaForCausalLM

    full_layers, n_layer = _layer_counts(config, layers, name)
    transformers_config = convert_config(config, n_layer=n_layer, name=name)
    weights = {
        _transformers_name(key): value.to(dtype)
        for key, value in _read_weights(folder, name).items()
        if _layer_of(key) < n_layer
    }
    model_class: Any = Mamba2ForCausalLM if transformers_config.model_type == "mamba2" else MambaForCausalLM
    with torch.device("meta"):
        model: PreTrainedModel = model_class(transformers_config)
    if transformers_config.tie_word_embeddings:
        weights.setdefault("lm_head.weight", weights.get("backbone.embeddings.weight", torch.empty(0)))
    try:
        model.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        raise ModelError(f"{name}: the weights do not fit config.json: {error}") from error
    model.tie_weights()
    return model, full_layers


def convert_config(config: dict[str, Any], *, n_layer: int, name: str) -> "MambaConfig | Mamba2Config":
    """The transformers configuration that an original config.json stands for, with `n_layer` blocks.

    Raises:
        ModelError: if it describes layers that are neither Mamba-1 nor Mamba-2.
    """
    for key, meaning in (("attn_layer_idx", "attention layers"), ("d_intermediate", "MLP layers")):
        if config.get(key):
            raise ModelError(
                f"{name}: config.json asks for {meaning} ({key}={config[key]!r}): not a pure Mamba"
            )
    if not config.get("rms_norm", True):
        raise ModelError(
            f"{name}: config.json asks for LayerNorm (rms_norm=false); only RMSNorm is supported"
        )
    ssm = dict(config["ssm_cfg"] or {})
    kind = ssm.pop("layer", "Mamba1")
    known = {"Mamba1": _MAMBA1_SSM_KEYS, "Mamba2": _MAMBA2_SSM_KEYS}.get(kind)
    if known is None:
        raise ModelError(f"{name}: ssm_cfg.layer is {kind!r}; only Mamba1 and Mamba2 are supported")
    if unknown := set(ssm) - known:
        raise ModelError(
            f"{name}: ssm_cfg holds {', '.join(sorted(unknown))}, which {kind} here does not know"
        )
    shared = {key: config[key] for key in _SHARED_KEYS if key in config}
    make = mamba1_config if kind == "Mamba1" else mamba2_config
    return make(d_model=config["d_model"], n_layer=n_layer, **shared, **ssm)


def _layer_counts(config: dict[str, Any], layers: int | None, name: str) -> tuple[int, int]:
    for key in ("d_model", "n_layer"):
        if not isinstance(config.get(key), int):
            raise ModelError(f"{name}: config.json has no integer {key}")
    full_layers = int(config["n_layer"])
    return full_layers, checked_layers(layers, full_layers)


def _read_weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    try:
        if safe.is_file():
            from safetensors.torch import load_file

            return load_file(safe)
        if pickled.is_file():
            weights: dict[str, torch.Tensor] = torch.load(pickled, map_location="cpu", weights_only=True)
            return weights
    except Exception as error:
        # a cut or foreign file raises SafetensorError, UnpicklingError, RuntimeError, EOFError or OSError
        raise ModelError(f"{name}: the weights cannot be read safely: {reason(error)}") from error
    raise ModelError(f"{name}: no model.safetensors and no pytorch_model.bin in this folder")


def _transformers_name(key: str) -> str:
    return key.replace(_THEIR_EMBEDDING, _OUR_EMBEDDING)


def _layer_of(key: str) -> int:
    """The block that a weight belongs to; -1 for the weights outside the blocks."""
    _, found, rest = key.partition(".layers.")
    return int(rest.split(".", 1)[0]) if found else -1


def original_config(model: "PreTrainedModel") -> dict[str, Any]:
    """Return the config.json of a model in the original layout.

    It leaves out what has the original code's default value.

    Raises:
        ModelError: if the original code has no such model.
    """
    config: Any = model.config
    if config.model_type not in {"mamba", "mamba2"}:
        raise ModelError(f"format mamba_ssm has no {config.model_type}; use --format transformers")
    for name, value in _FIXED.items():
        if getattr(config, name) != value:
            raise ModelError(
                f"format mamba_ssm: {name} is {getattr(config, name)!r} in this model and always {value!r} "
                "there; use --format transformers"
            )
    if tuple(getattr(config, "time_step_limit", (0.0, math.inf))) != (0.0, math.inf):
        raise ModelError(
            f"format mamba_ssm has no time_step_limit; this model's is {tuple(config.time_step_limit)}: "
            "use --format transformers"
        )
    return {
        "d_model": config.hidden_size,
        "n_layer": config.num_hidden_layers,
        "vocab_size": config.vocab_size,
        "ssm_cfg": _ssm_config(config),
        "rms_norm": True,
        "residual_in_fp32": config.residual_in_fp32,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 1,  # vocab_size counts the padding already
        "tie_embeddings": config.tie_word_embeddings,
    }


def _ssm_config(config: Any) -> dict[str, Any]:
    shared = {"d_state": config.state_size, "d_conv": config.conv_kernel, "expand": config.expand}
    if config.model_type == "mamba":
        return {**shared, "dt_rank": config.time_step_rank}
    return {
        "layer": "Mamba2",
        **shared,
        "headdim": config.head_dim,
        "ngroups": config.n_groups,
        "chunk_size": config.chunk_size,
    }


def write_original(model: "PreTrainedModel", config: dict[str, Any], folder: Path) -> None:
    """Write config.json and pytorch_model.bin, the only kind of weights that the original loader reads.

    Args:
        model: a transformers Mamba-1 or Mamba-2 model.
        config: what `original_config(model)` returned.
        folder: where to; it exists.
    """
    weights = {
        name.replace(_OUR_EMBEDDING, _THEIR_EMBEDDING): weight for name, weight in model.state_dict().items()
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    try:
        with (folder / "pytorch_model.bin").open("wb") as file:
            torch.save(weights, file)
    except RuntimeError as error:  # torch closes the file that it could not write, and so hides the reason
        raise error.__context__ if isinstance(error.__context__, OSError) else error from None
