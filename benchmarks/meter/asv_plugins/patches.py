"""Every attribute of asv that the meter replaces, and the one function that replaces them.

asv has plugins, but no hooks for what the plugins of this folder need, so they put a function of their own in
the place of one of asv's. The functions stand in the module of their subject; what they replace, why, and
since which asv, stands here and in PATCHES.md. Nothing else in the meter assigns to an attribute of asv.

asv loads plugins in its main process alone, and `benchmarks.meter.run` loads the same ones. The processes
that run benchmarks import asv_runner instead of asv, and nothing is replaced there.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from asv import util
from asv.benchmarks import Benchmarks
from asv.commands import show
from asv.machine import Machine
from asv.results import Results

CHECKED = "0.6.6"
"""The release of asv whose functions were read and replaced when this was written."""


class Patch:
    """An attribute of asv that is replaced.

    Args:
        owner: the class or module that has it.
        name: of the attribute.
        parameters: the names of its parameters in the `CHECKED` release, without `self` or `cls`.
        why: what the stand-in adds.

    Attributes:
        stock: asv's own function; of a class method, bound to the class. None if this asv has no such one.
    """

    def __init__(self, owner: Any, name: str, parameters: str, why: str) -> None:
        self.owner = owner
        self.name = name
        self.parameters = parameters.split()
        self.why = why
        self.stock: Any = getattr(owner, name, None)

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}".removeprefix("asv.")

    def check(self) -> None:
        """Stop if this asv is not the one that the stand-in was written for.

        Raises:
            UserError: if the function is gone, or takes other parameters.
        """
        found = _parameters(self.stock) if self.stock else None
        if found != self.parameters:
            has = f"{self}({', '.join(found)})" if found is not None else f"no {self}"
            raise util.UserError(
                f"asv {version('asv')} has {has}; the meter replaces {self}({', '.join(self.parameters)}) of "
                f"asv {CHECKED}. Install asv {CHECKED}, or see benchmarks/meter/asv_plugins/PATCHES.md"
            )


MACHINE_NAME = Patch(
    Machine,
    "get_unique_machine_name",
    "",
    "results are filed under a name made of the hardware's, not under the host's",
)
MACHINE_LOAD = Patch(
    Machine,
    "load",
    "interactive force_interactive _path machine_name use_defaults kwargs",
    "the machine is described with its GPU, with no question asked and no file in the home directory",
)
WRITE_JSON = Patch(
    util,
    "write_json",
    "path data api_version compact",
    "a file is written whole or not at all, so that a kill does not lose earlier results",
)
RESULTS_SAVE = Patch(
    Results,
    "save",
    "result_dir",
    "the notes of the benchmarks and the versions of the packages are kept beside the results",
)
RESULTS_REMOVE = Patch(
    Results,
    "rm",
    "result_dir",
    "removing results removes the notes beside them",
)
BENCHMARKS_SAVE = Patch(
    Benchmarks,
    "save",
    "",
    "the benchmarks that a run discovered can be kept for its machine",
)
BENCHMARKS_LOAD = Patch(
    Benchmarks,
    "load",
    "conf regex",
    "the site has the benchmarks of every machine, not only those of the last run",
)
SHOW_FORMAT = Patch(
    show,
    "format_benchmark_result",
    "results benchmark",
    "`asv show` does not call cells failed that only another machine has",
)

PATCHES = (
    MACHINE_NAME,
    MACHINE_LOAD,
    WRITE_JSON,
    RESULTS_SAVE,
    RESULTS_REMOVE,
    BENCHMARKS_SAVE,
    BENCHMARKS_LOAD,
    SHOW_FORMAT,
)


def apply(stand_ins: Mapping[Patch, Any]) -> None:
    """Replace attributes of asv; doing it again changes nothing.

    Args:
        stand_ins: what takes the place of each: a function, `classmethod` or `staticmethod`.

    Raises:
        UserError: if this asv has another function there than the one that was replaced so far. Then
            nothing is replaced.
    """
    for patch in stand_ins:
        patch.check()
    for patch, stand_in in stand_ins.items():
        setattr(patch.owner, patch.name, stand_in)


def _parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]
