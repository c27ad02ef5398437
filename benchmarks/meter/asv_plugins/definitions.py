"""What the benchmarks of each machine are, beside that machine's results.

asv keeps one benchmarks.json, that of the last run. Suites define other grids on other machines (what does
not fit on a CPU is left out), so after a run on a laptop asv would drop the results of the GPU box from the
site. Here each machine keeps its own definitions, and asv's commands see all of them united.
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

# no .json at its end: asv takes every other *.json for a result
FILE_NAME = "benchmarks.definitions"

Definition = dict[str, Any]
"""What asv knows of a benchmark: its name, version, param_names, params (a list of reprs an axis), unit."""

_discovered_here: set[Path] = set()


def install() -> None:
    """Make asv's commands read the definitions of all machines, and note those that this process finds."""
    patches.apply(
        {
            patches.BENCHMARKS_SAVE: _save,
            patches.BENCHMARKS_LOAD: classmethod(_load),
            patches.SHOW_FORMAT: _format_own_grid,
        }
    )


def save_discovered(results_dir: str | os.PathLike[str], machine: str) -> None:
    """Keep what this process discovered for a machine that it saved results of; nothing if it is kept."""
    folder = Path(results_dir).resolve()
    if folder in _discovered_here:
        found = util.load_json(Benchmarks.get_benchmark_file_path(folder), api_version=Benchmarks.api_version)
        save_definitions(folder, machine, found)
        _discovered_here.discard(folder)


def save_definitions(
    results_dir: str | os.PathLike[str], machine: str, found: Mapping[str, Definition]
) -> None:
    """Keep the definitions of a machine's last run.

    Values of an axis that an earlier run had, in another profile say, stay; benchmarks that it had go.
    """
    path = Path(results_dir, machine, FILE_NAME)
    stored = _read(path)
    kept = {name: united(found[name], stored.get(name)) for name in sorted(found)}
    if kept != stored:
        with replacing(path) as partial:
            partial.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def united(definition: Definition, other: Definition | None) -> Definition:
    """The definition with the other's axis values added, if both are of one version and the same axes."""
    if other is None or any(definition[key] != other[key] for key in ("version", "param_names")):
        return definition
    axes = zip(definition["params"], other["params"], strict=True)
    return {**definition, "params": [_united_axis(*values) for values in axes]}


def _united_axis(values: list[str], others: list[str]) -> list[str]:
    """All values; numbers in their order, or else asv's graphs would run back and forth."""
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
        return util.load_json(path)
    except util.UserError as error:
        log.warning(f"the benchmarks of {path.parent.name} are unknown until it runs again: {error}")
        return {}


def _save(self: Benchmarks) -> None:
    patches.BENCHMARKS_SAVE.stock(self)
    _discovered_here.add(Path(self._conf.results_dir).resolve())


def _load(cls: type[Benchmarks], conf: Any, regex: str | list[str] | None = None) -> Benchmarks:
    """Stand-in for `Benchmarks.load`: the last run's definitions, and those of every machine."""
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
    """Stand-in for the formatter of `asv show`: cells that only other machines have did not fail here."""
    own = result.get_result_params(benchmark["name"])
    if len(own) == len(benchmark["params"]):
        axes = zip(benchmark["params"], own, strict=True)
        benchmark = {**benchmark, "params": [[v for v in values if v in mine] for values, mine in axes]}
    return patches.SHOW_FORMAT.stock(result, benchmark)
