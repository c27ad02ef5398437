"""The names under which asv's suites store what they measured of models."""

import re
from typing import NamedTuple

_CUT = re.compile(r"(?P<name>.+)-(?P<layers>\d+)layers")


class SuiteModel(NamedTuple):
    """A model of the suites.

    Attributes:
        name: the whole model, such as `mamba-130m`.
        layers: how many of its blocks were kept; None if all were.
    """

    name: str
    layers: int | None


def suite_model(label: str) -> SuiteModel:
    """The model of a label: `mamba-130m-2layers` is the first two blocks of `mamba-130m`."""
    cut = _CUT.fullmatch(label)
    return SuiteModel(cut["name"], int(cut["layers"])) if cut else SuiteModel(label, None)
