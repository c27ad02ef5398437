"""The folder of a model that was trained here, as transformers loads it.

In: a model, what to say about it, and its tokenizer if it has one. Out: files, each written at once.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from perfmamba.files import make_folder, replacing

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

Precision = Literal["float32", "float16"]


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
        model: a language model whose output layer is its embedding.
        folder: where to; it is made if it is not there.
        card: the text of README.md.
        precision: the weights' dtype in the file.
        tokenizer: makes the model's tokens; adds tokenizer.json and tokenizer_config.json.

    Raises:
        InputError: if the folder or a file cannot be written.
    """
    from safetensors.torch import save_file

    make_folder(folder)
    dtype: torch.dtype = getattr(torch, precision)
    weights = {
        name: value.to(dtype) for name, value in model.state_dict().items() if name != "lm_head.weight"
    }
    with replacing(folder / "model.safetensors") as partial:
        save_file(weights, partial, metadata={"format": "pt"})  # transformers asks for this entry
    texts = {"config.json": _config_text(model, precision), "README.md": card}
    if tokenizer is not None:
        texts |= {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": _TOKENIZER_CONFIG}
    for name, text in texts.items():
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


_TOKENIZER_CONFIG = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}, indent=2) + "\n"


def _config_text(model: "PreTrainedModel", precision: Precision) -> str:
    """The config.json of a model."""
    values = json.loads(model.config.to_json_string())
    # its default, infinity, which JSON has not and older versions of transformers cannot read as written
    values.pop("time_step_limit", None)
    values |= {"architectures": [type(model).__name__], "dtype": precision}
    return json.dumps(values, indent=2) + "\n"
