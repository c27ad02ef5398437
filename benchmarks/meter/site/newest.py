"""The newest result of every cell, for each setting that asv keeps a history of.

In: result files, with the notes beside them. Out: histories, from which a page asks for cells.

A cell that the newest commit does not have (it was not selected, or its commit has not been measured yet on
this machine) is taken from the newest commit that has it.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from asv.results import Results, iter_results_paths
from asv.util import UserError

from benchmarks.meter.asv_plugins.records import read_notes

Benchmarks = Mapping[str, dict[str, Any]]
"""Definitions by full name, as asv's `Benchmarks`."""

Combination = tuple[str, ...]
"""The values of a benchmark's parameters in their order, as asv writes them (`repr`)."""


@dataclass(frozen=True)
class Run:
    """What one file of results holds.

    Attributes:
        results: asv's.
        revision: the commit's place in the order of commits.
        file: where it was read from; the notes stand beside it.
        definitions: of the benchmarks; results of other versions of them do not count.
    """

    results: Results
    revision: int
    file: Path
    definitions: Benchmarks

    @property
    def commit(self) -> str:
        """The hash of the commit."""
        return self.results.commit_hash

    @cached_property
    def values(self) -> dict[str, dict[Combination, float | None]]:
        """Every cell by benchmark: a value, NaN (not measured), or None (failed)."""
        found = {}
        for name in self.results.get_result_keys(self.definitions):
            grid = self.results.get_result_params(name)
            if len(grid) == len(self.definitions[name]["params"]):
                values = self.results.get_result_value(name, grid)
                found[name] = dict(zip(itertools.product(*grid), values, strict=True))
        return found

    @cached_property
    def notes(self) -> dict[tuple[str, str, Combination], dict[str, Any]]:
        """The newest note of each (kind, benchmark, combination)."""
        return {
            (note["kind"], note.get("benchmark", ""), tuple(note.get("params", ()))): note
            for note in read_notes(self.file)
        }

    @property
    def versions(self) -> dict[str, Any]:
        """Versions of driver, torch and so on, the last recorded; empty where none were."""
        found = self.notes.get(("versions", "", ()), {})
        return {name: version for name, version in found.items() if name != "kind" and version}


@dataclass(frozen=True)
class Cell:
    """The newest result of a cell.

    Attributes:
        value: in the benchmark's unit; None where there is none.
        failed: the benchmark raised an error or ran out of time.
        skipped: why the cell cannot be measured; empty where it was.
        throttled: what slowed the device down while it was measured; empty if nothing did.
        run: where the result is from.
    """

    value: float | None
    failed: bool
    skipped: str
    throttled: str
    run: Run


@dataclass(frozen=True)
class History:
    """All results of one setting, newest first.

    Attributes:
        setting: machine, its fields, Python, environment variables: what asv keeps one history for.
        runs: newest first.
        definitions: of the benchmarks.
    """

    setting: Mapping[str, str]
    runs: tuple[Run, ...]
    definitions: Benchmarks

    def newest_run(self, *benchmarks: str) -> Run | None:
        """The newest run that measured any of the benchmarks."""
        for run in self.runs:
            values = [value for name in benchmarks for value in run.values.get(name, {}).values()]
            if any(map(_is_measured, values)):
                return run
        return None

    def measured(self, benchmark: str) -> set[Combination]:
        """Every combination of a benchmark that some run measured."""
        return {
            combination
            for run in self.runs
            for combination, value in run.values.get(benchmark, {}).items()
            if _is_measured(value)
        }

    def axes(self, benchmark: str) -> dict[str, list[str]]:
        """The parameters of a benchmark with their values, as asv writes them; empty if it is unknown."""
        definition = self.definitions.get(benchmark, {"param_names": [], "params": []})
        return dict(zip(definition["param_names"], definition["params"], strict=True))

    def sheets(self, benchmark: str, *shown: str) -> list[dict[str, str]]:
        """Every combination of the parameters that a table does not show along its sides."""
        axes = {name: values for name, values in self.axes(benchmark).items() if name not in shown}
        return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]

    def cell(self, benchmark: str, **parameters: str) -> Cell | None:
        """The newest result of a cell; None if no commit has one.

        Args:
            benchmark: its full name.
            parameters: a value for each of its parameters, as asv writes it.
        """
        combination = tuple(parameters[name] for name in self.axes(benchmark))
        cells = (_cell(run, benchmark, combination) for run in self.runs)
        return next(filter(None, cells), None)


def _cell(run: Run, benchmark: str, combination: Combination) -> Cell | None:
    """What a run says of a cell; None if the run did not measure it."""
    value = run.values.get(benchmark, {}).get(combination, math.nan)
    if _is_measured(value):
        noted = run.notes.get(("cell", benchmark, combination), {})
        throttled = ", ".join(noted["throttle"]) if noted.get("marked") else ""
        return Cell(value, failed=False, skipped="", throttled=throttled, run=run)
    if value is None:
        return Cell(None, failed=True, skipped="", throttled="", run=run)
    skipped = run.notes.get(("skipped", benchmark, combination))
    return Cell(None, failed=False, skipped=skipped["reason"], throttled="", run=run) if skipped else None


def _is_measured(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def newest_results(conf: Any, repo: Any, benchmarks: Benchmarks, revisions: dict[str, int]) -> list[History]:
    """The histories on the branches that the site shows, one for each setting, sorted by machine.

    Args:
        conf: asv's configuration.
        repo: asv's repository.
        benchmarks: definitions by name.
        revisions: the place in history of each commit.
    """
    shown = {commit for branch in conf.branches for commit in repo.get_branch_commits(branch)} & set(
        revisions
    )
    runs: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for root, name, machine in iter_results_paths(conf.results_dir):
        file = Path(root, name)
        try:
            results = Results.load(str(file), machine_name=machine)
        except UserError:
            continue  # asv itself warns of the file when it publishes
        if results.commit_hash in shown:
            run = Run(results, revisions[results.commit_hash], file, benchmarks)
            runs.setdefault(tuple(sorted(_setting(results).items())), []).append(run)
    return [
        History(dict(setting), tuple(sorted(found, key=lambda run: -run.revision)), benchmarks)
        for setting, found in sorted(runs.items(), key=lambda item: (dict(item[0])["machine"], item[0]))
    ]


def _setting(results: Results) -> dict[str, str]:
    """What tells asv's histories apart, under the names that its addresses use."""
    variables = {f"env-{name}": value for name, value in results.env_vars.items()}
    return {name: value or "" for name, value in (results.params | variables).items()}


def address(history: History, histories: Iterable[History]) -> dict[str, str | None]:
    """What a link must name to show this history only: the machine, and what varies on that machine."""
    machine = history.setting["machine"]
    others = [other.setting for other in histories if other.setting["machine"] == machine]
    names = sorted({name for setting in others for name in setting})
    varying = [name for name in names if len({setting.get(name) for setting in others}) > 1]
    return {name: history.setting.get(name) for name in ("machine", *varying)}
