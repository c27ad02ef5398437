"""Data sets of the package `datasets`: from a name to the tokens or the text of a data set, row by row.

In: `hub:NAME[:CONFIG[:SPLIT]]`, where NAME is a data set of the hub or a folder that `datasets` can read.
Out: a `DataSet`. Rows are streamed: only the rows that are used are fetched.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from perfmamba.errors import InputError, reason

HUB = "hub:"
HUB_FORM = f"{HUB}OWNER/NAME[:CONFIG[:SPLIT]]"

Column = Literal["input_ids", "text"]
_KINDS: dict[Column, str] = {"input_ids": "lists of integers", "text": "text"}


@dataclass(frozen=True, eq=False)
class DataSet:
    """One column of a data set.

    Attributes:
        name: the name as it was given; for a folder, without its path.
        column: `input_ids` or `text`.
        values: lists of token ids, or texts, in the order of the rows. They can be read once.
    """

    name: str
    column: Column
    values: Iterator[Any]


@dataclass(frozen=True)
class _Address:
    """The arguments for `datasets`; `source` is what the user wrote."""

    source: str
    place: str
    config: str
    split: str

    @property
    def name(self) -> str:
        """The source without the path of a folder."""
        own = Path(self.place).resolve().name if Path(self.place).is_dir() else self.place
        return HUB + own + self.source.removeprefix(HUB + self.place)


def open_data_set(source: str) -> DataSet:
    """Find the column of a data set that calibration can use.

    Args:
        source: `hub:NAME[:CONFIG[:SPLIT]]`; the split is `train` if it is not named.

    Raises:
        InputError: if the package `datasets` is not installed, the data set cannot be loaded, or it has
            neither a column `input_ids` nor `text`. A value of a wrong type raises an InputError when it is
            read.
    """
    address = _address(source)
    rows = _rows(address)
    first = next(rows, {})
    for column in _KINDS:
        if column in first:
            return DataSet(address.name, column, _values(address, column, chain([first], rows)))
    columns = ", ".join(first) or "no rows"
    raise InputError(f"{source} has {columns}; a column input_ids or text is needed")


def _address(source: str) -> _Address:
    """The parts of a source, separated by colons. The path of a folder may contain colons, too."""
    parts = source.removeprefix(HUB).split(":")
    starts = [":".join(parts[:end]) for end in range(len(parts), 0, -1)]
    place = next((start for start in starts if start and Path(start).is_dir()), parts[0])
    config, split, *more = (*parts[place.count(":") + 1 :], "", "")
    if not place or any(more):
        raise InputError(f"no data set {source!r}: give {HUB_FORM}")
    return _Address(source, place, config, split or "train")


def _rows(address: _Address) -> Iterator[dict[str, Any]]:
    try:
        datasets = import_module("datasets")
    except ImportError:
        raise InputError(
            f"{address.source}: the package datasets is needed; pip install 'perfmamba[data]'"
        ) from None
    try:
        with _quiet_retries():
            found = datasets.load_dataset(
                address.place, address.config or None, split=address.split, streaming=True
            )
        yield from found
    except Exception as error:
        # datasets raises its own, huggingface_hub's, the network's and the operating system's errors here
        raise InputError(
            f"cannot get the data set {address.source}: {reason(error)}; check {HUB_FORM} and the network, "
            "or give a file"
        ) from error


@contextmanager
def _quiet_retries() -> Iterator[None]:
    """Silence huggingface_hub, which without a network prints two lines for each of six tries."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _values(address: _Address, column: Column, rows: Iterator[dict[str, Any]]) -> Iterator[Any]:
    """The values of a column, without rows in which it is empty."""
    fits = _is_text if column == "text" else _is_ids
    for value in (row[column] for row in rows):
        if value is None:
            continue
        if not fits(value):
            raise InputError(
                f"{address.name}: the column {column} must hold {_KINDS[column]}; one is {value!r:.40}"
            )
        yield value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(token, int) for token in value)
