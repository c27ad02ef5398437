"""The checkpoint folder of a model that was trained here.

In: a model, the text of its card and, if it has one, its tokenizer. Out: a folder that transformers loads.
"""

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from perfmamba.errors import InputError
from perfmamba.models.saving import saving

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

Precision = Literal["float32", "float16"]

_FILES = {"config.json", "model.safetensors", "README.md", "tokenizer.json", "tokenizer_config.json"}
_TOKENIZER_CONFIG = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}, indent=2) + "\n"


def save_checkpoint(
    model: "PreTrainedModel",
    folder: Path,
    card: str,
    *,
    precision: Precision = "float32",
    tokenizer: "Tokenizer | None" = None,
) -> None:
    """Write config.json, model.safetensors and README.md; an older checkpoint is replaced.

    Args:
        model: a language model.
        folder: where to; it is made if it does not exist.
        card: the text of README.md.
        precision: the weights' dtype in the file.
        tokenizer: makes the model's tokens; adds tokenizer.json and tokenizer_config.json.

    Raises:
        InputError: if the folder holds other files, or cannot be written.
    """
    if others := sorted({path.name for path in folder.glob("*")} - _FILES):
        raise InputError(f"{folder} holds {others[0]}, which is no part of a checkpoint; give another folder")
    texts = {"README.md": card}
    if tokenizer is not None:
        texts |= {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": _TOKENIZER_CONFIG}
    dtype: torch.dtype = getattr(torch, precision)
    with saving(nn.Module.to(copy.deepcopy(model), dtype), folder) as partial:
        (partial / "generation_config.json").unlink()  # it repeats config.json
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8")
