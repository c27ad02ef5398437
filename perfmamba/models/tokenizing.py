"""From text to the token ids of a model.

In: a model's folder or hub id, and text files. Out: token ids, block by block: no file is read as a whole.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from perfmamba.errors import InputError, reason
from perfmamba.models.shapes import PUBLISHED_SHAPES

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "vocab.txt",
)
"""What a tokenizer is saved as. A folder that has none of these files has no tokenizer."""

CHAT_FILES = ("chat_template.jinja", "chat_template.json")
"""What can be saved beside a tokenizer."""

BYTES = 256
BLOCK_CHARACTERS = 1 << 16


@dataclass(frozen=True)
class TextEncoder:
    """How text becomes token ids.

    Attributes:
        name: `tokenizer of NAME`, or `bytes`.
        encode: gives the token ids of a text, without special tokens.
    """

    name: str
    encode: Callable[[str], list[int]]


def text_encoder(source: str, *, vocabulary: int) -> TextEncoder:
    """The tokenizer of a model; where it has none, every byte of UTF-8 is a token.

    Args:
        source: as `load_model` takes it, or a folder that holds no more than a tokenizer.
        vocabulary: the token ids that the model knows.

    Raises:
        InputError: if the tokenizer cannot be loaded, or there is none and the vocabulary is too small for
            bytes.
    """
    folder = tokenizer_folder(source)
    if folder is not None and any((folder / name).is_file() for name in TOKENIZER_FILES):
        tokenizer = _load(folder)
        return TextEncoder(
            f"tokenizer of {folder.resolve().name if Path(source).is_dir() else source}",
            lambda text: list(tokenizer.encode(text, add_special_tokens=False)),
        )
    if vocabulary < BYTES:
        raise InputError(
            f"{source} has no tokenizer, and a vocabulary of {vocabulary} is too small for bytes as tokens; "
            "give a tokenizer, or token arrays (.npy)"
        )
    return TextEncoder("bytes", lambda text: list(text.encode()))


def tokenizer_folder(source: str) -> Path | None:
    """Return the folder of a model's tokenizer files and config.json; None for a published shape.

    Args:
        source: as `load_model` takes it; the files of a hub id are downloaded.

    Raises:
        InputError: if the hub cannot be reached, or has no such model.
    """
    if source in PUBLISHED_SHAPES:
        return None
    return Path(source) if Path(source).is_dir() else _download(source)


def encoded_blocks(path: Path, encoder: TextEncoder) -> Iterator[list[int]]:
    """The token ids of a UTF-8 text file, some thousand at a time.

    Raises:
        InputError: if the file cannot be read as UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from map(encoder.encode, text_blocks(file))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name} is not UTF-8 text ({error.reason} at byte {error.start}); "
            "token arrays are files that end in .npy"
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from error


def text_blocks(file: TextIO) -> Iterator[str]:
    """A text in blocks, each cut before a space or line break, so that words stay whole."""
    rest = ""
    while read := file.read(BLOCK_CHARACTERS):
        text = rest + read
        cut = max(text.rfind(" "), text.rfind("\n"))
        cut = cut if cut > 0 else len(text)
        yield text[:cut]
        rest = text[cut:]
    if rest:
        yield rest


def _load(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        # transformers raises ValueError, OSError, KeyError, ImportError and tokenizers' own for bad files
        raise InputError(
            f"the tokenizer in {folder.resolve().name} cannot be loaded: {reason(error)}"
        ) from error


def _download(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, allow_patterns=[*TOKENIZER_FILES, *CHAT_FILES, "config.json"]))
    except Exception as error:
        # huggingface_hub raises its own, httpx's and the operating system's errors here
        raise InputError(f"cannot get the tokenizer of {repo_id!r} from the hub: {reason(error)}") from error
