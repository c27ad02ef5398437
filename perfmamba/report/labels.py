"""What asv's suites call the models that they measure, and the ways in which states were taken from them."""

import re
from collections.abc import Iterable
from typing import NamedTuple

_CUT = re.compile(r"(?P<name>.+)-(?P<layers>\d+)layers")
_CONFIGURATIONS = {"pruned": "states removed", "masked": "states zeroed, and still computed"}
_BRIDGED = "states removed, the others read through this bridge"


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


def configuration_note(names: Iterable[str]) -> str:
    """What configurations are, in a sentence."""
    return "; ".join(f"{name}: {_CONFIGURATIONS.get(name, _BRIDGED)}" for name in names) + "."
