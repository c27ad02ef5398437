"""The newest result of every cell that asv's suites measured, with what was noted beside it.

In: a machine's folder of results as asv keeps it: a JSON file for each commit and environment, and beside
`X.json` the notes of the meter in `X.notes.jsonl`. Out: a `ResultHistory` for each setting, from which tables
ask for cells. asv itself is not needed.

The newest commit is the last in git's history of what is checked out; where git knows none of the commits,
it is the one with the latest date. A cell that the newest commit does not have (it was not selected, or was
not measured yet on this machine) is taken from the newest commit that has it.
"""

import json
import math
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, TypeGuard

from perfmamba.errors import InputError, reason

Definitions = Mapping[str, Mapping[str, Any]]
"""What asv knows of each benchmark, by full name: `param_names`, `params`, `version`, `unit` and more."""

Combination = tuple[str, ...]
"""The values of a benchmark's parameters in their order, as asv writes them (`repr`)."""

Note = Mapping[str, Any]

DEFINITIONS_FILE = "benchmarks.definitions"
_NOT_RESULTS = {"machine.json", "benchmarks.json"}


@dataclass(frozen=True)
class StoredResults:
    """What one file of results holds.

    Attributes:
        file: where it was read from.
        stored: asv's JSON.
        definitions: of the benchmarks; results of other versions of them do not count.
        place: in the order of commits.
    """

    file: Path
    stored: Mapping[str, Any]
    definitions: Definitions
    place: int

    @property
    def commit(self) -> str:
        """The hash of the commit."""
        return str(self.stored["commit_hash"])

    @property
    def date_ms(self) -> int:
        """The commit's date, in milliseconds since 1970."""
        return int(self.stored["date"])

    @property
    def recency(self) -> tuple[int, int]:
        """What is larger for a newer commit."""
        return self.place, self.date_ms

    @property
    def where(self) -> dict[str, str]:
        """What tells asv's histories apart, under the names that its addresses use."""
        variables = {f"env-{name}": value for name, value in self.stored.get("env_vars", {}).items()}
        named = {"machine": self.file.parent.name, **self.stored.get("params", {}), **variables}
        return {name: value or "" for name, value in named.items()}

    @cached_property
    def values(self) -> dict[str, dict[Combination, float | None]]:
        """Every cell by benchmark: a value, NaN (not measured), or None (failed)."""
        found = {}
        for name, row in self.stored.get("results", {}).items():
            result = dict(zip(self.stored["result_columns"], row, strict=False))
            definition = self.definitions.get(name)
            axes = result.get("params") or []
            if (
                definition
                and _is_of_version(result, definition)
                and len(axes) == len(definition["param_names"])
            ):
                cells = list(product(*axes))
                found[name] = dict(zip(cells, result.get("result") or [None] * len(cells), strict=True))
        return found

    @cached_property
    def notes(self) -> dict[tuple[str, str, Combination], Note]:
        """The last note of each (kind, benchmark, combination)."""
        return {
            (note["kind"], note.get("benchmark", ""), tuple(note.get("params", ()))): note
            for note in _read_notes(self.file.with_name(f"{self.file.stem}.notes.jsonl"))
        }

    @property
    def versions(self) -> dict[str, Any]:
        """Versions of driver, torch and so on, the last recorded; empty where none were."""
        found = self.notes.get(("versions", "", ()), {})
        return {name: version for name, version in found.items() if name != "kind" and version}


@dataclass(frozen=True)
class NewestResult:
    """The newest result of a cell.

    Attributes:
        value: in the benchmark's unit; None where there is none.
        failed: the benchmark raised an error or ran out of time.
        skipped: why the cell cannot be measured; empty where it was.
        throttled: what slowed the device down while it was measured; empty if nothing did.
        source: where the result is from.
    """

    value: float | None
    failed: bool
    skipped: str
    throttled: str
    source: StoredResults


@dataclass(frozen=True)
class ResultHistory:
    """All results of one setting.

    Attributes:
        where: machine, its fields, Python, environment variables: what asv keeps one history for.
        commits: newest first.
        definitions: of the benchmarks.
    """

    where: Mapping[str, str]
    commits: tuple[StoredResults, ...]
    definitions: Definitions

    def newest_commit(self, *benchmarks: str) -> StoredResults | None:
        """The newest commit that has a value of any of the benchmarks."""
        for results in self.commits:
            values = [value for name in benchmarks for value in results.values.get(name, {}).values()]
            if any(map(_is_measured, values)):
                return results
        return None

    def axes(self, benchmark: str) -> dict[str, list[str]]:
        """The parameters of a benchmark with their values, as asv writes them; empty if it is unknown."""
        definition = self.definitions.get(benchmark, {"param_names": [], "params": []})
        return dict(zip(definition["param_names"], definition["params"], strict=True))

    def sheets(self, benchmark: str, *shown: str) -> list[dict[str, str]]:
        """Every combination of the parameters that a table does not show along its sides."""
        axes = {name: values for name, values in self.axes(benchmark).items() if name not in shown}
        return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]

    def combinations(self, benchmark: str) -> list[Combination]:
        """Every combination that some commit has a result of, or a reason why there is no result."""
        cells = [cell for results in self.commits for cell in results.values.get(benchmark, {})]
        return [cell for cell in dict.fromkeys(cells) if self.result(benchmark, cell)]

    def result(self, benchmark: str, combination: Combination) -> NewestResult | None:
        """The newest result of a cell; None if no commit has one."""
        found = (_result(results, benchmark, combination) for results in self.commits)
        return next(filter(None, found), None)

    def result_at(self, benchmark: str, **parameters: str) -> NewestResult | None:
        """The newest result of a cell by its parameters' names, values as asv writes them."""
        return self.result(benchmark, tuple(parameters[name] for name in self.axes(benchmark)))


def _result(results: StoredResults, benchmark: str, combination: Combination) -> NewestResult | None:
    """What a commit says of a cell; None if it was not measured there."""
    value = results.values.get(benchmark, {}).get(combination, math.nan)
    if _is_measured(value):
        noted = results.notes.get(("cell", benchmark, combination), {})
        throttled = ", ".join(noted["throttle"]) if noted.get("marked") else ""
        return NewestResult(value, failed=False, skipped="", throttled=throttled, source=results)
    if value is None:
        return NewestResult(None, failed=True, skipped="", throttled="", source=results)
    note = results.notes.get(("skipped", benchmark, combination))
    if note is None:
        return None
    return NewestResult(None, failed=False, skipped=note["reason"], throttled="", source=results)


def _is_measured(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_of_version(result: Mapping[str, Any], definition: Mapping[str, Any]) -> bool:
    versions = {result.get("version"), definition.get("version")} - {None}
    return len(versions) <= 1


def read_definitions(machine_folder: Path) -> Definitions:
    """What the benchmarks of a machine's last run are.

    Raises:
        InputError: if the file cannot be read.
    """
    found: dict[str, dict[str, Any]] = _read_json(machine_folder / DEFINITIONS_FILE)
    return {name: definition for name, definition in found.items() if isinstance(definition, dict)}


def read_histories(
    machine_folder: Path,
    definitions: Definitions,
    order: Mapping[str, int],
    *,
    pass_over_unreadable: bool = False,
) -> tuple[ResultHistory, ...]:
    """The histories of one machine, one for each setting.

    Args:
        machine_folder: a folder within asv's `results_dir`.
        definitions: of the benchmarks.
        order: the place in history of the commits that count, as `git_order` gives it. If no result is of
            such a commit, all count, by their dates.
        pass_over_unreadable: leave out files that cannot be read.

    Raises:
        InputError: if a file cannot be read.
    """
    found = list(_read_commits(machine_folder, definitions, order, pass_over_unreadable))
    counted = [results for results in found if results.place >= 0] or found
    by_setting: dict[tuple[tuple[str, str], ...], list[StoredResults]] = {}
    for results in sorted(counted, key=lambda results: results.recency, reverse=True):
        by_setting.setdefault(tuple(sorted(results.where.items())), []).append(results)
    return tuple(
        ResultHistory(dict(where), tuple(commits), definitions)
        for where, commits in sorted(by_setting.items())
    )


def git_order(folder: Path) -> dict[str, int]:
    """The place of each commit in the history of what is checked out; empty where there is no git."""
    command = ["git", "rev-list", "--first-parent", "--reverse", "HEAD"]
    try:
        done = subprocess.run(  # noqa: S603  # fixed arguments, the git of the user's PATH
            command, cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {commit: place for place, commit in enumerate(done.stdout.split())}


def _read_commits(
    folder: Path, definitions: Definitions, order: Mapping[str, int], pass_over: bool
) -> Iterator[StoredResults]:
    for file in sorted(folder.glob("*.json")):
        if file.name in _NOT_RESULTS:
            continue
        try:
            stored = _read_results(file)
        except InputError:
            if not pass_over:
                raise
            continue
        yield StoredResults(file, stored, definitions, order.get(stored["commit_hash"], -1))


def _read_results(path: Path) -> dict[str, Any]:
    stored = _read_json(path)
    wanted = {"commit_hash", "date", "result_columns", "results"}
    if not isinstance(stored, dict) or not wanted <= set(stored):
        raise InputError(f"{path} does not hold results of asv; move it elsewhere")
    return stored


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from error


def _read_notes(path: Path) -> Iterable[Note]:
    """The notes in a file; a line cut short by a kill is passed over, as the meter does."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        try:
            note = json.loads(line)
        except ValueError:
            continue
        if isinstance(note, dict) and isinstance(note.get("kind"), str):
            yield note
