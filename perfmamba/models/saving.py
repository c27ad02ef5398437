"""Checkpoint folders, written whole or not at all.

In: a model and a folder. Out: the folder, in the layout of transformers or in that of the original
`state-spaces/*` repositories (see `perfmamba.models.original`).
"""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from perfmamba.errors import InputError, reason
from perfmamba.files import make_folder
from perfmamba.models.original import original_config, write_original
from perfmamba.models.tokenizing import CHAT_FILES, TOKENIZER_FILES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CheckpointFormat = Literal["transformers", "mamba_ssm"]
"""The layout of a checkpoint folder: that of transformers, or that of the original `mamba_ssm` code."""

_NO_LIMIT = 65504.0
"""The largest number of float16. It stands for "no limit" in config.json, because JSON has no infinity."""


@contextmanager
def saving(
    model: "PreTrainedModel",
    folder: Path,
    *,
    checkpoint_format: CheckpointFormat = "transformers",
    tokenizer: Path | None = None,
) -> Iterator[Path]:
    """Write a model as a checkpoint folder, to which the block can add files.

    The block gets the folder under construction. It takes the place of `folder` when the block succeeds, and
    everything that was there before is gone then: the caller decides whether it may go.

    Args:
        model: a transformers model.
        folder: the checkpoint; its parents are made.
        checkpoint_format: the layout to write.
        tokenizer: a folder whose tokenizer files are copied, if it has any.

    Raises:
        InputError: if the operating system refuses to write. `folder` is then as it was before, as it is
            after Ctrl-C.
        ModelError: if the format has no such model.
    """
    original = original_config(model) if checkpoint_format == "mamba_ssm" else None
    with _replacing(folder) as partial:
        if original is None:
            model.save_pretrained(partial)
            _make_portable(partial / "config.json", model.config)
        else:
            write_original(model, original, partial)
        if tokenizer is not None:
            _copy_tokenizer(tokenizer, partial)
        yield partial


def _copy_tokenizer(source: Path, folder: Path) -> None:
    for name in (*TOKENIZER_FILES, *CHAT_FILES):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, which takes its place when the block succeeds."""
    from safetensors import SafetensorError

    place = folder.resolve()  # so that "." and a link to a folder have a name and a place beside them
    make_folder(place.parent)
    partial, old = (place.with_name(f".{place.name}.{part}") for part in ("partial", "old"))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        _swap(partial, place, old)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or reason(error)
        raise InputError(f"cannot write {folder}: {why}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Put `new` in the place of `folder`, which may exist."""
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
    """Take infinity out of a config.json that transformers wrote.

    transformers writes it in a form of its own, which older versions read as a dictionary and then fail.
    The default limits are left out, because every version knows them.
    """
    limits = getattr(config, "time_step_limit", None)
    if limits is None or all(map(math.isfinite, limits)):
        return
    values = json.loads(path.read_text(encoding="utf-8"))
    if tuple(limits) == tuple(type(config)().time_step_limit):
        del values["time_step_limit"]
    else:
        values["time_step_limit"] = [limit if math.isfinite(limit) else _NO_LIMIT for limit in limits]
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
