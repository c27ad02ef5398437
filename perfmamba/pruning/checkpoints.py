"""Pruned models as checkpoint folders, written whole or not at all.

In: a model, a card and a folder that is not there yet. Out: that folder, in the layout of transformers (a
stock checkpoint, unless a Mamba-2 has a bridge) or in that of the original `state-spaces/*` repositories.
"""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from perfmamba.errors import InputError, ModelError
from perfmamba.files import make_folder
from perfmamba.models import DTYPES, PUBLISHED_SHAPES
from perfmamba.models.tokenizing import TOKENIZER_FILES
from perfmamba.pruning.card import Card, is_pruned_checkpoint, write_card

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOKENIZER_FILES = (*TOKENIZER_FILES, "chat_template.jinja", "chat_template.json")

_NO_LIMIT = 65504.0
"""What stands for no limit where infinity cannot be written: the largest number of float16."""

_ORIGINAL_FIXED = {"hidden_act": "silu", "layer_norm_epsilon": 1e-5, "use_bias": False, "use_conv_bias": True}
"""What the original layout cannot say, and the original code takes for granted."""


def save_pruned(
    model: "PreTrainedModel", folder: Path, card: Card, *, tokenizer: Path | None = None, force: bool = False
) -> None:
    """Write a pruned model, its tokenizer and its card.

    Args:
        model: what `perfmamba.pruning.surgery.pruned` gave.
        folder: the checkpoint; its parents are made.
        card: what was done; `card.format` is the layout to write.
        tokenizer: a folder whose tokenizer files are copied.
        force: replace a pruned checkpoint that is there; anything else is left alone.

    Raises:
        InputError: if something is there already, or the operating system refuses. Nothing new is left behind
            then, nor on Ctrl-C.
        ModelError: if the model cannot be written in this format.
    """
    original = original_config(model) if card.format == "mamba_ssm" else None
    with building(folder, force=force) as partial:
        if original is None:
            model.save_pretrained(partial)
            _make_portable(partial / "config.json", model.config)
        else:
            _write_original(model, original, partial)
        for name in _TOKENIZER_FILES:
            if tokenizer is not None and (tokenizer / name).is_file():
                shutil.copyfile(tokenizer / name, partial / name)
        write_card(card, partial)


def tokenizer_folder(source: str) -> Path | None:
    """Where the tokenizer files of a model are, if it has any.

    Args:
        source: as `load_model` takes it; those of a hub id are fetched.
    """
    if source in PUBLISHED_SHAPES:
        return None
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, allow_patterns=[*_TOKENIZER_FILES, "config.json"]))


def stored_dtype(folder: Path | None) -> torch.dtype:
    """The dtype that config.json names for the weights of a checkpoint folder; float32 if it names none."""
    if folder is None:
        return torch.float32
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return DTYPES.get(config.get("dtype") or config.get("torch_dtype"), torch.float32)


def check_free(folder: Path, *, force: bool) -> None:
    """Make sure that a folder may be written.

    Raises:
        InputError: if something is there that must not be replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_pruned_checkpoint(folder):
        raise InputError(f"{folder} exists and is not a pruned checkpoint; give another folder")
    if not force:
        raise InputError(f"{folder} exists; give another folder, or --force to replace it")


@contextmanager
def building(folder: Path, *, force: bool) -> Iterator[Path]:
    """Yield a new folder beside `folder` to fill; it takes its place when the block succeeds.

    Raises:
        InputError: as `save_pruned`.
    """
    from safetensors import SafetensorError

    check_free(folder, force=force)
    make_folder(folder.parent)
    partial, old = (folder.with_name(f".{folder.name}.{part}") for part in ("partial", "old"))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        _swap(partial, folder, old)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {folder}: {reason}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Put `new` in the place of `folder`, which may be there."""
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _make_portable(path: Path, config: Any) -> None:
    """Take infinity out of config.json.

    JSON has no infinity. transformers writes one in a way of its own, which older versions of it read as a
    dictionary and fail on. Where it is the default, it goes without saying.
    """
    values = json.loads(path.read_text(encoding="utf-8"))
    limits = getattr(config, "time_step_limit", None)
    if limits is None or all(map(math.isfinite, limits)):
        return
    if tuple(limits) == tuple(type(config)().time_step_limit):
        del values["time_step_limit"]
    else:
        values["time_step_limit"] = [limit if math.isfinite(limit) else _NO_LIMIT for limit in limits]
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def check_writable(model: "PreTrainedModel", checkpoint_format: str, bridge: str) -> None:
    """See that a model, once it is pruned, can be written in a format.

    Raises:
        ModelError: if it cannot.
    """
    if checkpoint_format != "mamba_ssm":
        return
    original_config(model)
    if bridge != "none" and model.config.model_type == "mamba2":
        raise ModelError(f"format mamba_ssm has no bridge {bridge} for Mamba-2; use --format transformers")


def original_config(model: "PreTrainedModel") -> dict[str, Any]:
    """The config.json of a model in the original layout; what it leaves out is the original code's default.

    Raises:
        ModelError: if the original code has no such model.
    """
    config: Any = model.config
    if config.model_type not in {"mamba", "mamba2"}:
        raise ModelError(f"format mamba_ssm has no {config.model_type}; use --format transformers")
    for name, value in _ORIGINAL_FIXED.items():
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


def _write_original(model: "PreTrainedModel", config: dict[str, Any], folder: Path) -> None:
    """config.json and pytorch_model.bin, the one kind of weights that the original loader reads."""
    weights = {
        name.replace("backbone.embeddings.", "backbone.embedding."): weight
        for name, weight in model.state_dict().items()
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    try:
        with (folder / "pytorch_model.bin").open("wb") as file:
            torch.save(weights, file)
    except RuntimeError as error:  # torch, closing what it could not write, hides why
        raise error.__context__ if isinstance(error.__context__, OSError) else error from None
