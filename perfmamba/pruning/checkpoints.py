"""Pruned models as checkpoint folders: what may be written, and what may be replaced.

In: a model, a card and a folder that is not there yet. Out: that folder, in the layout of transformers (a
stock checkpoint, unless a Mamba-2 has a bridge) or in that of the original `state-spaces/*` repositories.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from perfmamba.errors import InputError, ModelError
from perfmamba.models.original import original_config
from perfmamba.models.saving import CheckpointFormat, saving
from perfmamba.pruning.bridge import bridge_named
from perfmamba.pruning.card import Card, is_pruned_checkpoint, write_card

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def save_pruned(
    model: "PreTrainedModel", folder: Path, card: Card, *, tokenizer: Path | None = None, force: bool = False
) -> None:
    """Write a pruned model, its tokenizer and its card.

    Args:
        model: what `perfmamba.pruning.surgery.pruned` returned.
        folder: the checkpoint; its parents are made.
        card: what was done; `card.format` is the layout to write.
        tokenizer: a folder whose tokenizer files are copied.
        force: replace a pruned checkpoint that is there. Nothing else is ever replaced.

    Raises:
        InputError: if something is there already, or the operating system refuses. The folder is then as it
            was before, as it is after Ctrl-C.
        ModelError: if the model cannot be written in this format.
    """
    check_free(folder, force=force)
    with saving(model, folder, checkpoint_format=card.format, tokenizer=tokenizer) as partial:
        write_card(card, partial)


def check_free(folder: Path, *, force: bool) -> None:
    """Check that a folder may be written.

    Raises:
        InputError: if something is there that must not be replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_pruned_checkpoint(folder):
        raise InputError(f"{folder} exists and is not a pruned checkpoint; give another folder")
    if not force:
        raise InputError(f"{folder} exists; give another folder, or --force to replace it")


def check_writable(model: "PreTrainedModel", checkpoint_format: CheckpointFormat, bridge: str) -> None:
    """Check that a model can be written in a format once it is pruned.

    Raises:
        ModelError: if it cannot.
    """
    if checkpoint_format != "mamba_ssm":
        return
    original_config(model)
    if bridge_named(bridge).mixes and model.config.model_type == "mamba2":
        raise ModelError(f"format mamba_ssm has no bridge {bridge} for Mamba-2; use --format transformers")
