"""The definitions of the benchmarks of each machine, kept beside the results of that machine.

asv keeps one benchmarks.json, that of the last run. Suites define smaller grids on a CPU than on a GPU, so
after a run on a laptop asv would drop the results of the GPU box from the site. Here each machine keeps its
own definitions, and asv's commands see the union of all.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asv import util
from asv.benchmarks import Benchmarks
from asv.console import log
from asv.results import Results

from benchmarks.meter.asv_plugins import patches
from benchmarks.meter.host import replacing

# the name must not end in .json: asv takes every such file, except its own, for a result
FILE_NAME = "benchmarks.definitions"

Definition = dict[str, Any]
"""What asv knows about a benchmark: name, version, unit, param_names, params (for each a list of reprs)."""

_discovered_here: set[Path] = set()


def install() -> None:
    """Make asv's commands read the definitions of all machines, and remember those of this run."""
    patches.apply(
        {
            patches.BENCHMARKS_SAVE: _save,
            patches.BENCHMARKS_LOAD: classmethod(_load),
            patches.SHOW_FORMAT: _format_own_grid,
        }
    )


def save_discovered(results_dir: str | os.PathLike[str], machine: str) -> None:
    """Keep the benchmarks that this process discovered for a machine whose results it saves."""
    folder = Path(results_dir).resolve()
    if folder in _discovered_here:
        found = util.load_json(Benchmarks.get_benchmark_file_path(folder), api_version=Benchmarks.api_version)
        save_definitions(folder, machine, found)
        _discovered_here.discard(folder)


def save_definitions(
    results_dir: str | os.PathLike[str], machine: str, found: Mapping[str, Definition]
) -> None:
    """Keep the definitions of a machine's last run.

    Values of parameters that an earlier run had stay; benchmarks that only the earlier run had go.
    """
    path = Path(results_dir, machine, FILE_NAME)
    stored = _read(path)
    kept = {name: united(found[name], stored.get(name)) for name in sorted(found)}
    if kept != stored:
        with replacing(path) as partial:
            partial.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def united(definition: Definition, other: Definition | None) -> Definition:
    """Return a definition with the parameter values of another one added.

    If the other has another version or other parameters, nothing is added.
    """
    if other is None or any(definition[key] != other[key] for key in ("version", "param_names")):
        return definition
    axes = zip(definition["params"], other["params"], strict=True)
    return {**definition, "params": [_united_axis(*values) for values in axes]}


def _united_axis(values: list[str], others: list[str]) -> list[str]:
    """The union of values. Numbers are sorted, or else the lines of asv's graphs would run back and forth."""
    every = list(dict.fromkeys([*values, *others]))
    if len(every) == len(values):
        return values
    try:
        return sorted(every, key=float)
    except ValueError:
        return every


def _read(path: Path) -> dict[str, Definition]:
    if not path.is_file():
        return {}
    try:
        found: dict[str, Definition] = util.load_json(path)
    except util.UserError as error:
        log.warning(f"the benchmarks of {path.parent.name} are unknown until it runs again: {error}")
        return {}
    return found


def _save(self: Benchmarks) -> None:
    patches.BENCHMARKS_SAVE.stock(self)
    _discovered_here.add(Path(self._conf.results_dir).resolve())


def _load(cls: type[Benchmarks], conf: Any, regex: str | list[str] | None = None) -> Benchmarks:
    """Stand-in for `Benchmarks.load`: the definitions of the last run and those of every machine."""
    every: dict[str, Definition] = {}
    if Path(cls.get_benchmark_file_path(conf.results_dir)).is_file():
        every.update(patches.BENCHMARKS_LOAD.stock(conf))
    for path in sorted(Path(conf.results_dir).glob(f"*/{FILE_NAME}")):
        for name, definition in _read(path).items():
            every[name] = united(every.get(name, definition), definition)
    if not every:
        return patches.BENCHMARKS_LOAD.stock(conf, regex)
    return cls(conf, every.values(), regex=regex)


def _format_own_grid(result: Results, benchmark: Definition) -> tuple[str | None, str | None]:
    """Stand-in for the formatter of `asv show`: leave out cells that only other machines have."""
    own = result.get_result_params(benchmark["name"])
    if len(own) == len(benchmark["params"]):
        axes = zip(benchmark["params"], own, strict=True)
        benchmark = {**benchmark, "params": [[v for v in values if v in mine] for values, mine in axes]}
    shown: tuple[str | None, str | None] = patches.SHOW_FORMAT.stock(result, benchmark)
    return shown
