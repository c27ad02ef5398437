"""The folder of a study: what it measures, and a line of JSON for each result.

Each line is written as soon as its result is known. A study that was stopped, by whatever, continues behind
the last whole line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from perfmamba.errors import InputError, reason
from perfmamba.evaluation.measures import MeasureName
from perfmamba.evaluation.study import Variant, VariantResult
from perfmamba.files import make_folder, replacing

SETTINGS, RESULTS = "study.json", "results.jsonl"


@dataclass(frozen=True)
class Settings:
    """What all results of a study have in common.

    Attributes:
        measure: the name of the measure.
        about: how it was calibrated and measured.
        generation: 1 for Mamba-1, 2 for Mamba-2.
        layers: Mamba blocks of each model.
        states: N of each.
    """

    measure: MeasureName
    about: dict[str, str]
    generation: int
    layers: int
    states: int


def open_study(folder: Path, settings: Settings) -> tuple[VariantResult, ...]:
    """Begin a study in a folder, or continue the one that is there.

    Returns:
        The results that it has already.

    Raises:
        InputError: if the folder holds a study of something else, or its files cannot be read or written.
    """
    if (folder / SETTINGS).exists():
        found, results = read_study(folder)
        if found != settings:
            raise InputError(f"{folder} holds a study of something else: {found}; name another folder")
        _drop_torn_line(folder / RESULTS)
        return results
    make_folder(folder)
    with replacing(folder / SETTINGS) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(settings)) + b"\n")
    return ()


def read_study(folder: Path) -> tuple[Settings, tuple[VariantResult, ...]]:
    """Read what a study measures, and its results so far.

    Raises:
        InputError: if the folder holds no study, or its files cannot be read.
    """
    try:
        settings = msgspec.json.decode((folder / SETTINGS).read_bytes(), type=Settings)
        lines = _whole_lines(folder / RESULTS)
        return settings, tuple(msgspec.json.decode(line, type=VariantResult) for line in lines)
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no study (no {SETTINGS})") from error
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"cannot read the study in {folder}: {reason(error)}") from error


def append_result(folder: Path, result: VariantResult) -> None:
    """Add the line of a result.

    Raises:
        InputError: if the operating system refuses.
    """
    path = folder / RESULTS
    try:
        with path.open("ab") as file:
            file.write(msgspec.json.encode(result) + b"\n")
    except OSError as error:
        raise InputError(f"cannot write {path}: {reason(error)}") from error


def missing(
    grid: Sequence[Variant], results: Sequence[VariantResult], *, model: str, weights: str
) -> tuple[Variant, ...]:
    """The variants of a grid that a study has not measured yet on a model.

    Raises:
        InputError: if the study has results of a model of this name with other weights.
    """
    own = [result for result in results if result.model == model]
    if any(result.weights != weights for result in own):
        raise InputError(
            f"the study holds results of a model {model} with other weights; name another folder"
        )
    done = {result.variant for result in own}
    return tuple(variant for variant in grid if variant not in done)


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file, without a last one whose end was never written."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith(b"\n")]


def _drop_torn_line(path: Path) -> None:
    whole = b"".join(_whole_lines(path))
    if path.exists() and len(whole) < path.stat().st_size:
        with replacing(path) as partial:
            partial.write_bytes(whole)
